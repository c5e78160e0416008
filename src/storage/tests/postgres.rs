//! A database per test, in the test binary's own Postgres, cloned from a migrated one.

use std::time::Duration;

use tokio::sync::OnceCell;

use crate::{
    dev::postgres::{PrivatePostgres, shared_test_postgres},
    storage::{Storage, StorageOptions},
};

const TEMPLATE: &str = "storage_template";

/// A database for one test.
pub(crate) struct TestDatabase {
    pub(crate) url: String,
}

/// A migrated, empty database, reached as a role that row-level security binds.
pub(crate) async fn database() -> TestDatabase {
    static MIGRATED: OnceCell<()> = OnceCell::const_new();
    let postgres = server().await;
    let migrate = || async {
        postgres.create_database(TEMPLATE).await.unwrap();
        let storage = connect(&postgres.url(TEMPLATE), 2);
        storage.migrate().await.unwrap();
        // A template must have no connection to it.
        storage.close();
    };
    MIGRATED.get_or_init(migrate).await;
    let name = name();
    postgres.create_database_from(TEMPLATE, &name).await.unwrap();
    TestDatabase {
        url: postgres.url(&name),
    }
}

/// A database without any table.
pub(crate) async fn empty_database() -> TestDatabase {
    let (postgres, name) = (server().await, name());
    postgres.create_database(&name).await.unwrap();
    TestDatabase {
        url: postgres.url(&name),
    }
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

async fn server() -> &'static PrivatePostgres {
    shared_test_postgres().await.unwrap()
}

fn name() -> String {
    format!("storage_{}", uuid::Uuid::now_v7().simple())
}
