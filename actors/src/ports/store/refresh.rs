//! What the refresh protocol writes: claims, new tokens, failures.

use std::time::Duration;

use crate::domain::{
    Timestamp,
    audit::AuditEntry,
    ids::{AttemptId, IntegrationId, NodeId},
    integration::{Claim, Standing, StoredIntegration},
    scope::ScopeSet,
    sealed::Sealed,
};

/// A wish to refresh: the write-ahead intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation the caller knows; another one refuses the claim.
    pub generation: i64,
    /// The attempt: the fence of the writes that follow.
    pub attempt: AttemptId,
    /// Where it runs.
    pub node: NodeId,
    /// How long it keeps others off, by the database's clock.
    pub lease: Duration,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// Held, and durable. The row is as it was claimed, with the time its work was planned for; `stale` is the claim that had run out before, if any: the
    /// outcome of that attempt is unknown.
    Claimed {
        /// The row, its grant with this claim.
        integration: Box<StoredIntegration>,
        /// The attempt that vanished.
        stale: Option<Claim>,
    },
    /// Somebody else holds it; the row says who and until when.
    Held(Box<StoredIntegration>),
    /// The row has moved on: this is how it is now.
    Moved(Box<StoredIntegration>),
    /// There is nothing to refresh any more.
    Gone,
}

/// A claim on its way back: its call was never begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimReturn {
    /// Which integration.
    pub id: IntegrationId,
    /// The claim that must still be in the row.
    pub attempt: AttemptId,
    /// What it had found in its place: a claim that ran out says that an outcome is unknown, and goes on saying so.
    pub stale: Option<Claim>,
    /// What was planned before it was claimed, and is again.
    pub planned_at: Option<Timestamp>,
}

/// How the commit of an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concluded {
    /// Stored, and this is the row now.
    Stored(Box<StoredIntegration>),
    /// The row has moved on (another generation, another claim, another state): nothing was written.
    Fenced,
}

/// How an answer that comes late was received by its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed {
    /// Stored, and this is the row now. If the row held another attempt's claim, run out though it was, the tokens are in
    /// doubt: the row is degraded ([`ANSWER_LATE`](crate::domain::reason::ANSWER_LATE)) and due at once.
    Stored(Box<StoredIntegration>),
    /// Another attempt is under way: its outcome decides.
    Held,
    /// The row has moved on, for good.
    Fenced,
}

/// New tokens on their way into the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefreshCommit {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation the tokens were refreshed from; the row's must be equal.
    pub generation: i64,
    /// The claim that must still be in the row.
    pub attempt: AttemptId,
    /// The access token, sealed for `generation + 1`.
    pub access_token: Sealed,
    /// The refresh token to keep, sealed for `generation + 1`.
    pub refresh_token: Option<Sealed>,
    /// `Bearer`.
    pub token_type: String,
    /// When the access token was obtained.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends, if the provider said; `None`: unchanged.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// When the next refresh falls due.
    pub next_refresh_at: Option<Timestamp>,
    /// Granted scopes from now on.
    pub scopes: ScopeSet,
    /// How the integration stands afterwards.
    pub standing: Standing,
    /// Whether an access token was really obtained (a salvaged refresh token alone is none): sets `last_refreshed_at`.
    pub refreshed: bool,
    /// Failures in a row from now on.
    pub failures: u32,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}

/// A failed attempt on its way into the row; gives the claim back.
#[derive(Debug, Clone)]
pub struct FailureCommit {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation that was tried; the row's must be equal.
    pub generation: i64,
    /// The claim that must still be in the row.
    pub attempt: AttemptId,
    /// How the integration stands afterwards.
    pub standing: Standing,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again; `None`: not by itself.
    pub next_refresh_at: Option<Timestamp>,
    /// Whether the tokens are forgotten: the provider said for good that they are dead.
    pub forget_tokens: bool,
    /// Whether the claim stays in the row as one that has run out: the outcome is unknown and must be remembered.
    pub keep_claim: bool,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}
