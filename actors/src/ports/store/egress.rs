//! What all nodes know of a budget: whether its breaker is open and until when nobody calls, whose turn the probe is, and
//! when the next call may go where calls per second are capped. All of it by the database's clock.

use std::time::Duration;

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{ids::NodeId, provider::BudgetKey, reason::ReasonCode};

/// Whose fault an opened breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The operator's; it stands until the breaker closes.
    Operator,
    /// The provider's.
    Outage,
}

impl FaultKind {
    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Outage => "outage",
        }
    }
}

/// An open breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Whose fault.
    pub fault: FaultKind,
    /// The provider's code, or ours.
    pub reason: ReasonCode,
    /// How long it has been open.
    pub open_for: Duration,
    /// How long until the next probe may be claimed.
    pub probe_in: Duration,
}

/// How asking for the right to probe ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeClaim {
    /// It is ours; nobody else gets it for an interval.
    Won,
    /// Not yet, or somebody else has it.
    Wait(OpenBreaker),
    /// The breaker is closed.
    Closed,
}

/// The table of budgets.
#[async_trait]
pub trait EgressStore: Send + Sync {
    /// The breaker of a budget as it is now; `None`: closed.
    async fn look_at_breaker(&self, budget: &BudgetKey) -> StoreResult<Option<OpenBreaker>>;

    /// Opens it, or holds an open one: no call by anybody before `hold` is over. An operator's fault is not replaced by
    /// an outage. `true`: this is news: it was closed, or open for a lesser fault.
    async fn open_breaker(
        &self,
        budget: &BudgetKey,
        fault: FaultKind,
        reason: &ReasonCode,
        hold: Duration,
    ) -> StoreResult<bool>;

    /// Asks for the right to the next probe; one statement.
    async fn claim_probe(
        &self,
        budget: &BudgetKey,
        node: NodeId,
        interval: Duration,
    ) -> StoreResult<ProbeClaim>;

    /// Closes it, unless it was opened again after this probe began.
    async fn close_breaker(&self, budget: &BudgetKey, probe_began_ago: Duration) -> StoreResult<()>;

    /// Takes the next `calls` turns of a budget of `rate` calls per second: how long until the first of them. The others
    /// follow it one period apart.
    async fn take_turns(&self, budget: &BudgetKey, rate: f64, calls: u32) -> StoreResult<Duration>;
}
