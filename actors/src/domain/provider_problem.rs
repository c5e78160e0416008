//! What stands between this service and a provider before anything is asked about an account: for the operator to mend.

use serde::Serialize;

use super::{Timestamp, reason::ReasonCode};

/// Why a provider cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProviderProblem {
    /// What is the matter: `discovery_issuer_mismatch`, `jwks_unreadable`, …
    pub what: ReasonCode,
    /// What there is, where that can be told: bounded, and made safe to show.
    pub found: Option<String>,
    /// What there should be.
    pub expected: Option<String>,
    /// Since when this node knows.
    pub since: Timestamp,
}
