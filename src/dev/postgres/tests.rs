//! The server's life, with a real server.

use tokio_postgres::NoTls;

use super::*;

fn ephemeral() -> PostgresOptions {
    PostgresOptions {
        data_dir: ephemeral_dir().unwrap(),
        ephemeral: true,
    }
}

async fn ask(url: &str, question: &str) -> String {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let work = async move { client.query_one(question, &[]).await.unwrap().get::<_, String>(0) };
    let (answer, driven) = tokio::join!(work, connection);
    driven.unwrap();
    answer
}

/// Waits for something another process does soon.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn an_ephemeral_server_answers_and_leaves_nothing_behind() {
    let server = PrivatePostgres::start(ephemeral()).await.unwrap();
    server.create_database("one").await.unwrap();
    assert_eq!(ask(&server.url("one"), "SELECT current_user::text").await, ROLE);
    assert_eq!(
        ask(&server.url("one"), "SELECT current_database()::text").await,
        "one"
    );
    let password = server.passwords.role.clone();
    assert!(!format!("{server:?}").contains(&password));
    let dir = server.data_dir().to_path_buf();
    server.stop().await.unwrap();
    assert!(!dir.exists());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn the_role_is_subject_to_row_security_and_owns_its_databases() {
    let server = PrivatePostgres::start(ephemeral()).await.unwrap();
    assert!(server.ensure_database("base").await.unwrap());
    assert!(!server.ensure_database("base").await.unwrap());
    server.create_database_from("base", "copy").await.unwrap();
    let powers = "SELECT rolsuper::text || rolbypassrls::text || rolcreatedb::text || rolcreaterole::text \
                  FROM pg_roles WHERE rolname = current_user";
    assert_eq!(ask(&server.url("copy"), powers).await, "falsefalsefalsefalse");
    let owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()";
    assert_eq!(ask(&server.url("copy"), owner).await, ROLE);
    server.drop_database("copy").await.unwrap();
    assert!(tokio_postgres::connect(&server.url("copy"), NoTls).await.is_err());
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_kept_cluster_serves_again_with_its_data_and_password() {
    let options = PostgresOptions {
        ephemeral: false,
        ..ephemeral()
    };
    let first = PrivatePostgres::start(options.clone()).await.unwrap();
    first.create_database("kept").await.unwrap();
    let password = first.passwords.role.clone();
    first.stop().await.unwrap();
    drop(first);

    let mut second = PrivatePostgres::start(options).await.unwrap();
    assert_eq!(second.passwords.role, password);
    assert_eq!(
        ask(&second.url("kept"), "SELECT current_database()::text").await,
        "kept"
    );
    second.stop().await.unwrap();
    Arc::get_mut(&mut second.directory).unwrap().ephemeral = true;
    second.directory.remove().unwrap();
}

#[tokio::test]
async fn two_live_runs_cannot_share_a_directory() {
    let options = ephemeral();
    let server = PrivatePostgres::start(options.clone()).await.unwrap();
    let second = PrivatePostgres::start(options.clone()).await;
    assert!(matches!(second, Err(PostgresError::InUse { data_dir }) if data_dir == options.data_dir));
    server.stop().await.unwrap();
}

#[tokio::test]
async fn losing_the_holder_of_the_pipe_ends_the_server_and_its_files() {
    let server = PrivatePostgres::start(ephemeral()).await.unwrap();
    let (dir, port) = (server.data_dir().to_path_buf(), server.port());
    // What the kernel does to a process that is killed: the lock and the pipe go, and nobody waits.
    drop(server);
    eventually("the directory goes", || !dir.exists()).await;
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
}

#[tokio::test]
async fn the_next_run_takes_over_from_a_killed_one_that_is_still_stopping() {
    let options = PostgresOptions {
        ephemeral: false,
        ..ephemeral()
    };
    let killed = PrivatePostgres::start(options.clone()).await.unwrap();
    killed.create_database("kept").await.unwrap();
    drop(killed);
    let next = PrivatePostgres::start(options).await.unwrap();
    assert_eq!(
        ask(&next.url("kept"), "SELECT current_database()::text").await,
        "kept"
    );
    next.stop().await.unwrap();
    next.directory.remove().unwrap();
}

#[tokio::test]
async fn a_server_whose_watchdog_was_killed_too_is_stopped_by_the_next_run() {
    let options = PostgresOptions {
        ephemeral: false,
        ..ephemeral()
    };
    let killed = PrivatePostgres::start(options.clone()).await.unwrap();
    let port = killed.port();
    let mut watchdog = killed.watchdog.lock().unwrap().take().unwrap();
    watchdog.kill_for_test();
    drop(killed);
    // `watchdog` still holds the pipe, so that what is left of the shell does not do its work after all.
    // Orphaned: it still listens.
    assert!(std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    let next = PrivatePostgres::start(options).await.unwrap();
    assert!(port == next.port() || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
    next.stop().await.unwrap();
    next.directory.remove().unwrap();
}

#[tokio::test]
async fn a_directory_the_servers_account_cannot_reach_is_replaced() {
    let account = Account::choose().unwrap();
    if account.become_ids.is_none() {
        // Only root runs the server as somebody else.
        return;
    }
    let closed = ephemeral_dir().unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let wanted = closed.join("postgres");
    let options = PostgresOptions {
        data_dir: wanted.clone(),
        ephemeral: true,
    };
    let server = PrivatePostgres::start(options).await.unwrap();
    assert_ne!(server.data_dir(), wanted);
    let dir = server.data_dir().to_path_buf();
    server.stop().await.unwrap();
    assert!(!dir.exists());
    std::fs::remove_dir_all(closed).unwrap();
}

#[test]
fn a_shared_server_outlives_the_runtime_that_started_it() {
    let run = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let url = run().block_on(async { shared_test_postgres().await.unwrap().admin_url() });
    let again = run().block_on(async {
        let server = shared_test_postgres().await.unwrap();
        server.ensure_database("second_runtime").await.unwrap();
        server.admin_url()
    });
    assert_eq!(url, again);
}
