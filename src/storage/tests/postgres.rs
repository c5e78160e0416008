//! A database per test, in the test binary's own Postgres, cloned from a migrated one.

use std::time::Duration;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::OnceCell,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

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

/// A way to a database that can be cut: what is on it is neither carried on nor closed politely.
pub(super) struct Cut {
    pub(super) url: String,
    cut: CancellationToken,
}

impl Cut {
    /// A way to the database of this URL.
    pub(super) async fn before(url: &str) -> Self {
        let mut detour: url::Url = url.parse().unwrap();
        let server = (detour.host_str().unwrap().to_owned(), detour.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        detour
            .set_port(Some(listener.local_addr().unwrap().port()))
            .unwrap();
        let cut = CancellationToken::new();
        let accepted = cut.clone();
        TaskTracker::new().spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (server, cut) = (server.clone(), accepted.clone());
                TaskTracker::new().spawn(async move {
                    let mut near = near;
                    let mut far = TcpStream::connect(server).await.unwrap();
                    let carry = copy_bidirectional(&mut near, &mut far);
                    let _ = cut.run_until_cancelled(carry).await;
                });
            }
        });
        Self {
            url: detour.into(),
            cut,
        }
    }

    /// Cuts it.
    pub(super) fn now(&self) {
        self.cut.cancel();
    }
}

async fn server() -> &'static PrivatePostgres {
    shared_test_postgres().await.unwrap()
}

fn name() -> String {
    format!("storage_{}", uuid::Uuid::now_v7().simple())
}
