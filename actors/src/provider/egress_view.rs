//! What an operator sees of a budget.

use serde::Serialize;
use tokio::time::Instant;

use super::{breaker::OpenCause, egress::Egress};
use crate::{
    domain::{
        Timestamp,
        ids::ProviderKey,
        provider::BudgetKey,
        reason::{ReasonCode, WhoMustAct},
    },
    ports::store::FaultKind,
    shared::{after, before},
};

/// The way out to a provider, as it is on this node.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EgressView {
    /// What calls are counted against.
    pub budget: BudgetKey,
    /// The providers that share it.
    pub providers: Vec<ProviderKey>,
    /// Whether calls go out.
    pub breaker: BreakerState,
    /// Whose fault it is that none do: `operator`, `outage`.
    pub cause: Option<FaultKind>,
    /// The provider's code, or ours.
    pub reason: Option<ReasonCode>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// When the next probe may go, from whichever node.
    pub next_probe_at: Option<Timestamp>,
    /// Calls under way on this node.
    pub in_flight: usize,
    /// How many may be, now: less than `max_concurrency` while a backlog is taken up again.
    pub allowed_at_once: usize,
    /// How many may be in ordinary times.
    pub max_concurrency: usize,
    /// Who waits for a call on this node.
    pub queued: usize,
    /// Those of them that somebody waits for.
    pub queued_waited_for: usize,
    /// Calls per second over all nodes, where they are capped.
    pub rate_per_second: Option<f64>,
    /// Repetitions that may go out now.
    pub retries_left: u32,
}

/// Whether calls go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They do, more and more of them: it was open a moment ago.
    Recovering,
    /// They do not.
    Open,
    /// One does, to find out.
    HalfOpen,
}

impl EgressView {
    /// Whether calls are held off, but for a probe.
    pub(crate) fn holds_off(&self) -> bool {
        matches!(self.breaker, BreakerState::Open | BreakerState::HalfOpen)
    }

    /// Whose move it is, while calls are held off.
    pub(crate) fn who_must_act(&self) -> Option<WhoMustAct> {
        self.cause.map(|cause| match cause {
            FaultKind::Operator => WhoMustAct::Operator,
            FaultKind::Outage => WhoMustAct::Nobody,
        })
    }
}

impl Egress {
    /// As it is now.
    pub(crate) fn view(&self, wall: Timestamp) -> EgressView {
        let (now, mut inner) = (Instant::now(), self.lock());
        let opened = inner
            .breaker
            .opened()
            .map(|(cause, since, probe_at)| (cause.clone(), since, probe_at));
        let breaker = match &opened {
            Some(_) if inner.breaker.is_probing() => BreakerState::HalfOpen,
            Some(_) => BreakerState::Open,
            None if !inner.ramp.is_full() => BreakerState::Recovering,
            None => BreakerState::Closed,
        };
        EgressView {
            budget: self.budget.clone(),
            providers: self.providers.clone(),
            breaker,
            cause: opened.as_ref().map(|(cause, ..)| match cause {
                OpenCause::Operator(_) => FaultKind::Operator,
                OpenCause::Outage(_) => FaultKind::Outage,
            }),
            reason: opened.as_ref().map(|(cause, ..)| cause.reason().clone()),
            since: opened
                .as_ref()
                .map(|(_, since, _)| before(wall, now.saturating_duration_since(*since))),
            next_probe_at: opened
                .as_ref()
                .map(|(.., at)| after(wall, at.saturating_duration_since(now))),
            in_flight: inner.in_flight,
            allowed_at_once: inner.ramp.allowed(),
            max_concurrency: inner.max_concurrency,
            queued: inner.backlog.len(),
            queued_waited_for: inner.backlog.waited_for(),
            rate_per_second: inner.turns.as_ref().map(super::limits::Turns::rate),
            retries_left: inner.retries.left(now),
        }
    }

    /// Why the breaker is open, if it is.
    pub(crate) fn open_reason(&self) -> Option<String> {
        let inner = self.lock();
        inner
            .breaker
            .opened()
            .map(|(cause, ..)| cause.reason().to_string())
    }
}
