//! Browsers' sessions.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreResult;
use crate::domain::{audit::AuditEntry, sealed::Digest, session::Session};

/// Sessions of browsers with us.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a one-time link.
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        session: &Session,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()>;

    /// Uses a link up and opens the session it stands for; `None`: unknown, used or expired.
    async fn open(&self, link: &Digest, cookie: &Digest, lifetime: Duration) -> StoreResult<Option<Session>>;

    /// The session of this cookie, unless it is over.
    async fn find(&self, cookie: &Digest) -> StoreResult<Option<Session>>;

    /// Ends a session.
    async fn end(&self, cookie: &Digest) -> StoreResult<()>;
}
