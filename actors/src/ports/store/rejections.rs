//! What is written when a provider's interface did not accept a token.

use crate::domain::{audit::AuditEntry, ids::IntegrationId};

/// A report that an access token was rejected, on its way into storage.
#[derive(Debug, Clone)]
pub struct RejectionReport {
    /// Of which integration.
    pub id: IntegrationId,
    /// Of which generation the token is; the row's must be equal.
    pub generation: i64,
    /// What the provider demands of the next sign-in.
    pub claims: Option<String>,
    /// The audit row of the same transaction, written for the first report of a generation.
    pub audit: AuditEntry,
}

/// How a report was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// The first of this generation, over all nodes: whoever made it refreshes.
    First,
    /// It was known already.
    Again,
    /// The row has moved on: the token is another by now.
    Moved,
}
