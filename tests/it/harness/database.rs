//! A database for each test, cloned from one whose schema is migrated once.

use oauth_manager::dev::postgres::{PrivatePostgres, shared_test_postgres};
use tokio::sync::OnceCell;

const TEMPLATE: &str = "template_migrated";

static MIGRATED: OnceCell<()> = OnceCell::const_new();

/// The URL of a fresh database with the present schema.
pub async fn fresh() -> String {
    let postgres = shared_test_postgres().await.expect("a private Postgres");
    MIGRATED.get_or_init(|| migrate(postgres)).await;
    let name = format!("test_{}", uuid::Uuid::now_v7().simple());
    postgres
        .create_database_from(TEMPLATE, &name)
        .await
        .expect("a database of its own");
    postgres.url(&name)
}

async fn migrate(postgres: &PrivatePostgres) {
    postgres.create_database(TEMPLATE).await.expect("the template");
    let storage = oauth_manager::storage::Storage::connect(oauth_manager::storage::StorageOptions {
        url: postgres.url(TEMPLATE),
        max_connections: 2,
        wait_timeout: std::time::Duration::from_secs(10),
        connect_timeout: std::time::Duration::from_secs(10),
        statement_timeout: std::time::Duration::from_secs(30),
    })
    .expect("storage");
    storage.migrate().await.expect("migrations");
    // A template must have no connection to it.
    storage.close();
}

/// A connection to a database as it is, row-level security passed by declaring the system's scope.
pub async fn as_system(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    client
        .batch_execute("SET oauth_manager.scope = 'system'")
        .await
        .unwrap();
    client
}

/// Everything in the database, as text: by `pg_dump` if the machine has one, otherwise row by row.
pub async fn dump(url: &str) -> String {
    let postgres = shared_test_postgres().await.expect("a private Postgres");
    let name = url.rsplit('/').next().unwrap();
    let mut admin: url::Url = postgres.admin_url().parse().unwrap();
    admin.set_path(name);
    match pg_dump(admin.as_str()) {
        Some(dump) => dump,
        None => every_row(admin.as_str()).await,
    }
}

fn pg_dump(url: &str) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut dirs: Vec<_> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        dirs.extend(versions.flatten().map(|entry| entry.path().join("bin")));
    }
    let run = |dir: std::path::PathBuf| {
        let program = dir.join("pg_dump");
        let output = std::process::Command::new(program).arg(url).output().ok()?;
        // An older one than the server refuses.
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    dirs.into_iter().find_map(run)
}

/// As the superuser, whom row-level security lets see everything.
pub async fn every_row(admin_url: &str) -> String {
    let (client, connection) = tokio_postgres::connect(admin_url, tokio_postgres::NoTls)
        .await
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let mut all = String::new();
    for table in client.query(tables, &[]).await.unwrap() {
        let table: String = table.get(0);
        let rows = client
            .query(&format!("SELECT t::text FROM {table} t"), &[])
            .await
            .unwrap();
        for row in rows {
            all.push_str(row.get(0));
            all.push('\n');
        }
    }
    all
}
