//! Everything about one user: read out, and erased.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    audit::AuditEntry,
    erasure::ErasureStatus,
    ids::Subject,
    page::{Page, PageRequest},
};

/// Everything about one user.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// What is kept about this user, page by page: each item an object with `kind` and the fields of that kind. Never a
    /// token, a key or a digest of either.
    async fn export(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<serde_json::Value>>;

    /// Notes durably that this user is to be erased; once, however often it is asked. The audit row is of the same
    /// transaction.
    async fn begin_erasure(&self, owner: &Subject, audit: &AuditEntry) -> StoreResult<()>;

    /// Erases a user whose erasure was begun, in one transaction and with its own audit row, unless an account is not taken
    /// back yet or its provider has to be told: then nothing changes. After `quiet`, by the database's clock, it is done
    /// once more, for records that came late, and the user's name is forgotten.
    async fn erase(&self, owner: &Subject, quiet: Duration) -> StoreResult<ErasureStatus>;

    /// Users whose erasure can go on, the longest waiting first.
    async fn unfinished_erasures(&self, quiet: Duration, limit: u32) -> StoreResult<Vec<Subject>>;
}
