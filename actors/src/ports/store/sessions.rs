//! Browsers' sessions.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreResult;
use crate::domain::{
    Timestamp,
    audit::AuditEntry,
    ids::Subject,
    sealed::Digest,
    session::{Session, SessionRequest},
};

/// How many openings of a link are remembered; one more takes the place of the oldest. More than one person and their
/// mail's scanners open within minutes, and few enough that a scanner in a loop fills no table.
pub const OPENINGS_MAX: u8 = 32;

/// A browser that opened a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOpening {
    /// Its row, and that of the session it may become.
    pub id: Uuid,
    /// Of the cookie it is given, should it hold none of this link.
    pub pending: Digest,
    /// Of the pending cookies it came with. One that this link has given out stays good, so that two tabs of one
    /// browser do not put each other out.
    pub held: Vec<Digest>,
    /// Of the confirmation that goes to the application.
    pub confirmation: Digest,
    /// How long the application may take.
    pub lifetime: Duration,
}

/// The opening of a link, stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOpening {
    /// The link.
    pub link_id: Uuid,
    /// The pending cookie that counts: the new one, or the one it held.
    pub pending: Digest,
    /// Where it goes.
    pub return_to: url::Url,
    /// Until when it may be confirmed.
    pub expires_at: Timestamp,
}

/// How confirming ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionConfirmed {
    /// It is confirmed, now or before.
    Done,
    /// Another user sits there: the link and all that is pending of it are dead.
    OtherUser,
    /// Unknown, dead, too old, another client's: nothing was changed.
    Gone,
}

/// Who confirms what.
#[derive(Debug, Clone, Copy)]
pub struct SessionConfirmation<'a> {
    /// The link.
    pub link_id: Uuid,
    /// The client that asks.
    pub client: Uuid,
    /// Who sits there, by the application's word.
    pub user: &'a Subject,
    /// Of what the browser brought.
    pub confirmation: &'a Digest,
    /// How long the browser has from now to go in.
    pub lifetime: Duration,
    /// Written if it is confirmed for the first time.
    pub confirmed: &'a AuditEntry,
    /// Written if it is another user; its subject is filled in by the store: whom the link was made for.
    pub refused: &'a AuditEntry,
}

/// Sessions of browsers with us.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a link.
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        request: &SessionRequest,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()>;

    /// Where a living link leads; changes nothing.
    async fn return_address(&self, link: &Digest) -> StoreResult<Option<url::Url>>;

    /// Remembers that a browser opened a living link; `None`: unknown, dead or too old.
    async fn open(&self, link: &Digest, opening: &NewOpening) -> StoreResult<Option<StoredOpening>>;

    /// The application's word on who sits before the browser that opened it.
    async fn confirm(&self, confirmation: SessionConfirmation<'_>) -> StoreResult<SessionConfirmed>;

    /// What the confirmed opening with one of these pending cookies would become.
    async fn confirmed(&self, link_id: Uuid, pending: &[Digest]) -> StoreResult<Option<Session>>;

    /// Makes the session of a confirmed opening, or gives the one it became a new cookie; ends the session `replaced`.
    /// `None`: not confirmed, another browser's, too old, or logged out since.
    async fn enter(
        &self,
        link_id: Uuid,
        pending: &[Digest],
        cookie: &Digest,
        lifetime: Duration,
        replaced: Option<&Digest>,
    ) -> StoreResult<Option<Session>>;

    /// The session of this cookie, unless it is over.
    async fn find(&self, cookie: &Digest) -> StoreResult<Option<Session>>;

    /// Ends a session.
    async fn end(&self, cookie: &Digest) -> StoreResult<()>;
}
