//! Behind PgBouncer, as Debian ships it: a pooler that keeps sessions is as good as none, one that does not is refused.

use std::{net::TcpListener, os::unix::fs::MetadataExt as _, path::PathBuf, process::Stdio};

use oauth_manager::storage::{ConnectionProblem, Storage, StorageOptions};
use tokio::{net::TcpStream, process::Child};

use crate::configuration::sound;
use crate::harness::{Folder, Program, Service, ServiceOptions, eventually, fresh_database};

/// A pooler in front of one database.
struct Pooler {
    url: String,
    _folder: Folder,
    _process: Child,
}

impl Pooler {
    /// `settings`: lines of its own section.
    async fn start(database_url: &str, settings: &str) -> Self {
        let url: url::Url = database_url.parse().unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let name = url.path().trim_start_matches('/');
        let folder = Folder::new();
        let configuration = folder.write(
            "pgbouncer.ini",
            &format!(
                "[databases]\n{name} = host=127.0.0.1 port={} user={} password={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = any\n{settings}\n",
                url.port().unwrap(),
                url.username(),
                url.password().unwrap(),
            ),
        );
        let mut command = tokio::process::Command::new(program());
        if std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0) {
            // It refuses root, as Postgres does.
            command.args(["-u", "nobody"]);
        }
        let process = command
            .arg(configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("pgbouncer is installed");
        eventually("the pooler listens", || async {
            TcpStream::connect(("127.0.0.1", port)).await.ok()
        })
        .await;
        let mut pooled = url;
        pooled.set_port(Some(port)).unwrap();
        Self {
            url: pooled.into(),
            _folder: folder,
            _process: process,
        }
    }
}

/// Debian puts it where root alone looks.
fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    programs
        .find(|program| program.is_file())
        .expect("pgbouncer is installed (apt-get install pgbouncer)")
}

fn storage(url: &str) -> Storage {
    let second = std::time::Duration::from_secs(1);
    let options = StorageOptions {
        url: url.to_owned(),
        max_connections: 4,
        wait_timeout: 20 * second,
        connect_timeout: 20 * second,
        statement_timeout: 20 * second,
    };
    Storage::connect(options).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_refused_with_what_to_do() {
    let database = fresh_database().await;
    let pooler = Pooler::start(&database, "pool_mode = transaction").await;
    let program = Program::new(&sound(&pooler.url));
    for command in [&["migrate"][..], &["clients", "list"][..]] {
        let line = program.run(command).await.expect_refusal(78);
        assert!(
            line.contains("database.url") && line.contains("pool_mode = session"),
            "{line}"
        );
    }
    let ran = program.run(&["serve"]).await;
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let log = format!("{}{}", ran.stdout, ran.stderr);
    let told = log
        .lines()
        .filter(|line| line.contains("pool_mode = session"))
        .count();
    assert_eq!(told, 1, "{log}");
}

/// However it orders its servers, however few it has, and whether it cleans them or not.
#[tokio::test(flavor = "multi_thread")]
async fn no_setting_of_a_pooler_hides_that_sessions_do_not_last() {
    let database = fresh_database().await;
    for settings in [
        "pool_mode = transaction",
        "pool_mode = transaction\nserver_round_robin = 1",
        "pool_mode = transaction\nmin_pool_size = 2\nserver_round_robin = 1",
        "pool_mode = transaction\nmin_pool_size = 5\nserver_round_robin = 1",
        "pool_mode = transaction\nserver_reset_query_always = 1",
        "pool_mode = transaction\ndefault_pool_size = 2",
        "pool_mode = statement",
    ] {
        let pooler = Pooler::start(&database, settings).await;
        let storage = storage(&pooler.url);
        // Also once its servers are there already.
        for _ in 0..3 {
            let found = storage.check_connection().await;
            assert!(
                matches!(found, Err(ConnectionProblem::ShortSessions)),
                "{settings}: {found:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_and_postgres_itself_work() {
    let database = fresh_database().await;
    let pooler = Pooler::start(&database, "pool_mode = session\ndefault_pool_size = 20").await;
    for url in [&database, &pooler.url] {
        storage(url).check_connection().await.unwrap();
        let service = Service::start_with(ServiceOptions {
            database_url: Some(url.clone()),
            ..ServiceOptions::default()
        })
        .await;
        service.connect("ada", "google").await;
        let consumer = service.service(&["*:*"]).await;
        consumer
            .get("/users/ada/token?provider=google")
            .await
            .expect_status(200);
        service.stop().await;
    }
}
