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
