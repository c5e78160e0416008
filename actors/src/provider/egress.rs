//! The way out to one budget (a token endpoint and our client id there): who may call it now. Refreshes, exchanges,
//! revocations and probes all pass here.
//!
//! This node's part is in memory: calls under way, who waits ([`Backlog`]), the breaker. What all nodes must agree on is in
//! one row of the database: whether the breaker is open and until when, whose turn the probe is, the turns of a capped
//! rate. The row is read before a call if it was last read [`FRESH`] ago or longer, so a busy node reads it a few times a
//! second and an idle one never. If the database is away no refresh begins anyway (its claim cannot be stored), and a
//! breaker that is open stays so.
//!
//! Concurrency is per node, the rate is over all nodes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use uuid::Uuid;

use super::{
    backlog::{BACKLOG_MAX, Backlog, Wish},
    breaker::{Admission, Breaker, OpenCause},
    limits::{Ramp, RetryBudget, Turns},
    sharing::Change,
    suspicion::Suspicion,
};
use crate::{
    domain::{
        ids::{NodeId, ProviderKey},
        provider::{BudgetKey, Provider},
        reason::ReasonCode,
    },
    effects::Effects,
    ports::{rng::Rng, store::EgressStore},
};

/// How old a reading of the shared row may be before a call: so long another node may call into what this one was told to
/// leave alone.
pub(super) const FRESH: Duration = Duration::from_millis(25);
/// How old it may be before somebody is refused for what it said.
pub(super) const FRESH_WHILE_OPEN: Duration = Duration::from_secs(1);
/// How soon to come again who was sent away for want of room or of the retry budget; plus as much again at random.
const COME_AGAIN: Duration = Duration::from_secs(2);

/// The budget.
pub(crate) struct Egress {
    pub(super) budget: BudgetKey,
    /// Who share it, for logs and metrics.
    pub(super) providers: Vec<ProviderKey>,
    pub(super) interval: Duration,
    pub(super) node: NodeId,
    pub(super) store: Arc<dyn EgressStore>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) effects: Effects,
    /// Something changed that the pump may act on.
    pub(super) moved: Notify,
    inner: Mutex<Inner>,
}

/// What this node knows.
pub(super) struct Inner {
    pub(super) breaker: Breaker,
    pub(super) ramp: Ramp,
    pub(super) retries: RetryBudget,
    pub(super) turns: Option<Turns>,
    pub(super) suspicion: Suspicion,
    pub(super) backlog: Backlog<Waiter>,
    pub(super) in_flight: usize,
    pub(super) max_concurrency: usize,
    /// Whether somebody works on the backlog.
    pub(super) pumping: bool,
    pub(super) looked_at: Option<Instant>,
    /// What the database has not been told yet.
    pub(super) changes: Vec<(u64, Change)>,
    /// Counts what this node found out by itself: a reading begun before the last of it is older than what is known.
    pub(super) version: u64,
    pub(super) sharing: bool,
}

/// Who waits for leave.
pub(super) type Waiter = oneshot::Sender<Result<Permit, Held>>;

/// No leave: why, and when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    /// Why.
    pub(crate) cause: OpenCause,
    /// When to come again.
    pub(crate) retry_after: Duration,
}

/// Leave to make one call; one of the budget's places until dropped. It is used up by
/// [`report`](Permit::report), and given back by dropping it.
pub(crate) struct Permit {
    pub(super) egress: Arc<Egress>,
    pub(super) is_probe: bool,
    pub(super) began: Instant,
    pub(super) reported: bool,
}

impl Egress {
    /// The budgets of these providers: one for all of the same key. The narrowest of their limits holds.
    pub(crate) fn of_providers(
        providers: &[Arc<Provider>],
        interval: Duration,
        node: NodeId,
        store: &Arc<dyn EgressStore>,
        rng: &Arc<dyn Rng>,
        effects: &Effects,
    ) -> Vec<(ProviderKey, Arc<Self>)> {
        let mut made: Vec<(ProviderKey, Arc<Self>)> = Vec::new();
        for provider in providers {
            let known = made.iter().find(|(_, egress)| egress.budget == provider.budget);
            let egress = if let Some((_, egress)) = known {
                Arc::clone(egress)
            } else {
                let sharing: Vec<_> = providers
                    .iter()
                    .filter(|other| other.budget == provider.budget)
                    .collect();
                let max_concurrency = sharing.iter().map(|one| one.max_concurrency).min();
                let rate = sharing.iter().filter_map(|one| one.rate).reduce(f64::min);
                Arc::new(Self {
                    budget: provider.budget.clone(),
                    providers: sharing.iter().map(|one| one.key.clone()).collect(),
                    interval,
                    node,
                    store: Arc::clone(store),
                    rng: Arc::clone(rng),
                    effects: effects.clone(),
                    moved: Notify::new(),
                    inner: Mutex::new(Inner::new(max_concurrency.unwrap_or(1), rate, interval)),
                })
            };
            made.push((provider.key.clone(), egress));
        }
        made
    }

    /// Asks for leave to make one call, and waits for it as long as it takes.
    pub(crate) async fn admit(self: &Arc<Self>, wish: Wish) -> Result<Permit, Held> {
        let answer = {
            let (waiter, answer) = oneshot::channel();
            let mut inner = self.lock();
            if inner.may_go_at_once(Instant::now(), &wish) && !self.effects.stopping() {
                return Ok(self.permit(&mut inner, &wish, false));
            }
            let sent_away = inner.backlog.push(wish, waiter);
            let begin = !std::mem::replace(&mut inner.pumping, true);
            drop(inner);
            if let Some(sent_away) = sent_away {
                let _ = sent_away.send(Err(self.come_again("too_many_wait")));
            }
            if begin {
                self.effects.spawn(Arc::clone(self).pump());
            }
            // Otherwise the pump looks when something moves, and one more who waits moves nothing: except when it waits
            // for a turn of its own making.
            answer
        };
        // The pump answers everybody before it ends; were it to fail, coming again is right.
        answer
            .await
            .unwrap_or_else(|_| Err(self.come_again("interrupted")))
    }

    /// Somebody waits for this account from now on.
    pub(crate) fn hurry(&self, account: Uuid, until: Instant) {
        self.lock().backlog.hurry(account, until);
    }

    pub(super) fn permit(self: &Arc<Self>, inner: &mut Inner, wish: &Wish, is_probe: bool) -> Permit {
        let now = Instant::now();
        inner.in_flight += 1;
        inner.retries.called(now, wish.is_retry);
        Permit {
            egress: Arc::clone(self),
            is_probe,
            began: now,
            reported: false,
        }
    }

    /// Sent away, not for the provider's sake.
    pub(super) fn come_again(&self, reason: &str) -> Held {
        Held {
            cause: OpenCause::Outage(ReasonCode::new(reason)),
            retry_after: COME_AGAIN.mul_f64(1.0 + self.rng.unit()),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding it leaves counts that are still counts.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl Inner {
    fn new(max_concurrency: usize, rate: Option<f64>, interval: Duration) -> Self {
        Self {
            breaker: Breaker::new(interval),
            ramp: Ramp::new(max_concurrency),
            retries: RetryBudget::default(),
            turns: rate.map(Turns::new),
            suspicion: Suspicion::default(),
            backlog: Backlog::new(BACKLOG_MAX),
            in_flight: 0,
            max_concurrency,
            pumping: false,
            looked_at: None,
            changes: Vec::new(),
            version: 0,
            sharing: false,
        }
    }

    /// The usual case, without a detour: nobody waits and nothing is wrong.
    fn may_go_at_once(&mut self, now: Instant, wish: &Wish) -> bool {
        !self.pumping
            && self.turns.is_none()
            && self.in_flight < self.ramp.allowed()
            && self.breaker.admission(now) == Admission::Go
            && self.has_looked_within(now, FRESH)
            && (!wish.is_retry || self.retries.left(now) > 0)
    }

    pub(super) fn has_looked_within(&self, now: Instant, age: Duration) -> bool {
        self.looked_at.is_some_and(|at| now < at + age)
    }
}

// === impl Permit ===

impl Permit {
    /// Whether the same call may be made once more: it counts as a repetition, and is one of the budget's.
    pub(crate) fn may_repeat(&self) -> bool {
        let (now, mut inner) = (Instant::now(), self.egress.lock());
        let may = inner.retries.left(now) > 0;
        if may {
            inner.retries.called(now, true);
        }
        may
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut inner = self.egress.lock();
        inner.in_flight = inner.in_flight.saturating_sub(1);
        if self.is_probe && !self.reported {
            if std::thread::panicking() {
                inner.breaker.probe_vanished();
            } else {
                // No call was made: the next in line probes.
                inner.breaker.probe_returned();
            }
        }
        drop(inner);
        self.egress.moved.notify_one();
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Permit")
            .field("budget", &self.egress.budget)
            .field("is_probe", &self.is_probe)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "egress_tests.rs"]
mod tests;
