//! What must hold of storage, against a real Postgres, as a role that row-level security binds.

mod authorizations;
mod combining;
mod connections;
mod dispatch;
mod egress;
mod isolation;
mod listing;
mod postgres;
mod records;
mod refresh;
mod scenario;
mod schema;
mod sessions;
mod unstorable;
mod usage;
mod users;

pub(crate) use postgres::{TestDatabase, database, empty_database};

use super::Storage;

/// A storage with connections enough for tests that run many callers at once.
pub(crate) fn storage(database: &TestDatabase) -> Storage {
    postgres::connect(&database.url, 16)
}

/// A migrated database of this test's own.
pub(crate) async fn fresh() -> Storage {
    storage(&database().await)
}
