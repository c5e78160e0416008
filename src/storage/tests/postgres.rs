//! A Postgres of the test process's own, started once and gone with it: a shell waits on a pipe that only this process
//! holds, so that even a killed test run leaves nothing behind. A database per test, cloned from a migrated one.

use std::{
    fs,
    io::Write,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::storage::{Storage, StorageOptions};

/// A database for one test.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
}

/// A migrated, empty database, reached as a role that row-level security binds.
pub(crate) async fn database() -> TestDatabase {
    static TEMPLATE: OnceCell<()> = OnceCell::const_new();
    TEMPLATE
        .get_or_init(|| async {
            create("template_app", "template1").await;
            let storage = connect(&server().url("app", "template_app"), 2);
            storage.migrate().await.unwrap();
            storage.close();
        })
        .await;
    new_database("template_app").await
}

/// A database without any table.
pub(crate) async fn empty_database() -> TestDatabase {
    new_database("template1").await
}

pub(super) fn connect(url: &str, max_connections: usize) -> Storage {
    Storage::connect(StorageOptions {
        url: url.into(),
        max_connections,
        wait_timeout: Duration::from_secs(30),
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(20),
    })
    .unwrap()
}

async fn new_database(template: &str) -> TestDatabase {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    create(&name, template).await;
    TestDatabase {
        url: server().url("app", &name),
    }
}

async fn create(name: &str, template: &str) {
    let admin = connect(&server().url("postgres", "postgres"), 2);
    let role = "DO $$ BEGIN CREATE ROLE app LOGIN NOSUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END $$";
    let database = format!("CREATE DATABASE {name} TEMPLATE {template} OWNER app");
    // The server may be starting still, and a template that someone else is copying cannot be copied.
    for _ in 0..200 {
        let created = async {
            let client = admin.system().await?;
            client.batch(role).await?;
            client.batch(&database).await
        };
        if created.await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the test database could not be created");
}

struct Server {
    folder: PathBuf,
    /// Its stdin is the pipe whose end ends the server.
    _watchdog: Child,
}

impl Server {
    fn url(&self, role: &str, database: &str) -> String {
        let socket = self.folder.to_str().unwrap().replace('/', "%2F");
        format!("postgres://{role}@{socket}/{database}")
    }
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(start)
}

fn start() -> Server {
    let bin = binaries();
    let folder = std::env::temp_dir().join(format!("oauth-manager-test-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let data = folder.join("data");
    let user = unprivileged_user(&folder);
    if let Some((uid, gid)) = user {
        chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    let as_user = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir(&folder);
        if let Some((uid, gid)) = user {
            command.uid(uid).gid(gid);
        }
        command
    };
    let made = as_user(&bin.join("initdb"))
        .args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--no-sync", "-D"])
        .arg(&data)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut settings = fs::OpenOptions::new()
        .append(true)
        .open(data.join("postgresql.conf"))
        .unwrap();
    writeln!(
        settings,
        "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 300\nfsync = off\n\
         synchronous_commit = off\nfull_page_writes = off\nshared_buffers = 64MB",
        folder.display()
    )
    .unwrap();
    let script =
        r#""$0" -D "$1" >"$2/log" 2>&1 & server=$!; read -r _; kill -INT $server; wait $server; rm -rf "$2""#;
    let watchdog = as_user(Path::new("/bin/sh"))
        .args(["-c", script])
        .args([bin.join("postgres"), data, folder.clone()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Of its own group: an interrupt from the terminal must reach it through the pipe, in order.
        .process_group(0)
        .spawn()
        .unwrap();
    Server {
        folder,
        _watchdog: watchdog,
    }
}

/// Where `initdb` and `postgres` are.
fn binaries() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).collect::<Vec<_>>();
    let mut installed: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path().join("bin"))
        .collect();
    installed.sort();
    on_path
        .into_iter()
        .chain(installed.into_iter().rev())
        .find(|folder| folder.join("initdb").exists() && folder.join("postgres").exists())
        .expect("install PostgreSQL to run the storage tests")
}

/// Postgres refuses to run as root: when we are, its own user runs it.
fn unprivileged_user(folder: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;

    if fs::metadata(folder).unwrap().uid() != 0 {
        return None;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with("postgres:"));
    let mut fields = line
        .expect("a user `postgres` to run the server as")
        .split(':')
        .skip(2);
    let mut number = || fields.next().unwrap().parse::<u32>().unwrap();
    Some((number(), number()))
}
