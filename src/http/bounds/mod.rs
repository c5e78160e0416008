//! What one address, one user or one service may take of us, so that none of them stops another.
//!
//! Connections are bounded by address ([`open_connections`]), requests and bodies all together ([`admission`]) and by who
//! asks ([`callers`]), refused credentials and stray browsers by address ([`failures`]). Whatever is refused is counted
//! ([`refusals`]), and said once when it begins. A token that is at hand passes none of this but the connection.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::{problem::Problem, settings::Limits};

pub(super) mod address_block;
pub(super) mod admission;
pub(super) mod callers;
pub(super) mod failures;
pub(super) mod open_connections;
pub(super) mod refusals;
mod token_buckets;

use callers::Callers;
use failures::Failures;
use oauth_manager_actors::domain::client::ServiceClient;
use refusals::{Refusal, Refusals};
use token_buckets::TokenBuckets;

/// Every bound that handlers meet.
pub(crate) struct Bounds {
    /// Requests of one user or service.
    pub(crate) callers: Arc<Callers>,
    /// Credentials that do not hold, by address.
    pub(crate) credentials: Failures,
    /// Callbacks and links that lead nowhere, by address.
    pub(crate) strays: Failures,
    service_flows: TokenBuckets<Uuid>,
    refusals: Refusals,
}

impl Bounds {
    pub(super) fn new(limits: &Limits, refusals: &Refusals) -> Self {
        Self {
            callers: Arc::new(Callers::new(limits, refusals.clone())),
            credentials: Failures::new(Refusal::Credentials, limits.failures_per_minute, refusals.clone()),
            strays: Failures::new(Refusal::Strays, limits.failures_per_minute, refusals.clone()),
            service_flows: TokenBuckets::new(limits.service_flows_per_minute),
            refusals: refusals.clone(),
        }
    }

    /// A service begins a connect flow. Users' flows are counted by their rows; a service could name ever other users.
    pub(crate) fn begin_flow(&self, service: &ServiceClient) -> Result<(), Problem> {
        self.service_flows
            .take(&service.id, Instant::now())
            .map_err(|empty| {
                if empty.is_new {
                    tracing::warn!(
                        service.name = service.name,
                        "a service begins more connect flows than it may (limits.service_flows_per_minute)"
                    );
                }
                self.refusals.refuse(Refusal::CallerRate, empty.retry_after)
            })
    }
}
