//! Working off the backlog: one task per budget, there only while somebody waits. It decides one step at a time under the
//! lock, and does what takes time (asking the database, waiting for a turn) without it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    breaker::{Admission, OpenCause, Seen},
    egress::{Egress, FRESH, FRESH_WHILE_OPEN, Held, Inner, Permit, Waiter},
    limits::Turn,
};
use crate::ports::store::{FaultKind, OpenBreaker, ProbeClaim};

/// No probe can be claimed while the database is away; ask again then.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// Telling the others is under way; look again then.
const SHARING_PAUSE: Duration = Duration::from_millis(50);

/// What to do next.
enum Step {
    /// Nobody waits.
    End,
    /// Tell them.
    Answer(Vec<(Waiter, Result<Permit, Held>)>),
    /// Read what other nodes know.
    Look,
    /// Ask for the right to probe.
    ClaimProbe,
    /// Take turns of the shared rate.
    TakeTurns { rate: f64, calls: u32 },
    /// Wait until something moves, or this time comes.
    Wait(Option<Instant>),
}

impl Egress {
    pub(super) async fn pump(self: Arc<Self>) {
        loop {
            match self.next_step() {
                Step::End => return,
                // Without the lock: a permit nobody takes is dropped here, and that takes it.
                Step::Answer(answers) => {
                    for (waiter, answer) in answers {
                        let _ = waiter.send(answer);
                    }
                }
                Step::Look => self.look().await,
                Step::ClaimProbe => self.claim_probe().await,
                Step::TakeTurns { rate, calls } => self.take_turns(rate, calls).await,
                Step::Wait(until) => self.wait(until).await,
            }
        }
    }

    fn next_step(self: &Arc<Self>) -> Step {
        let (now, mut guard) = (Instant::now(), self.lock());
        let inner = &mut *guard;
        if inner.backlog.is_empty() {
            inner.pumping = false;
            return Step::End;
        }
        if self.effects.stopping() {
            // What nobody waits for is left to the next start, or to another node.
            let left = inner.backlog.take_background();
            if !left.is_empty() {
                return Step::Answer(refused(left, &self.come_again("stopping")));
            }
        }
        match inner.breaker.admission(now) {
            Admission::Wait(cause, retry_after) => {
                if !inner.has_looked_within(now, FRESH_WHILE_OPEN) && inner.changes.is_empty() {
                    return Step::Look;
                }
                Step::Answer(refused(inner.backlog.take_all(), &Held { cause, retry_after }))
            }
            Admission::AwaitProbe => Step::Wait(None),
            Admission::Claim => Step::ClaimProbe,
            // A probe needs a place too, lest hanging calls add up.
            Admission::Probe if inner.in_flight >= inner.max_concurrency => Step::Wait(None),
            Admission::Probe => self.grant(inner, now, true),
            Admission::Go if inner.in_flight >= inner.ramp.allowed() => Step::Wait(None),
            Admission::Go if !inner.has_looked_within(now, FRESH) && inner.changes.is_empty() => Step::Look,
            Admission::Go => match turn(inner, now) {
                Turn::Now => self.grant(inner, now, false),
                Turn::At(at) => Step::Wait(Some(at)),
                Turn::Take(calls) => Step::TakeTurns {
                    rate: inner.turns.as_ref().map_or(1.0, super::limits::Turns::rate),
                    calls,
                },
            },
        }
    }

    fn grant(self: &Arc<Self>, inner: &mut Inner, now: Instant, is_probe: bool) -> Step {
        let Some((wish, waiter)) = inner.backlog.pop(now) else {
            return Step::Answer(Vec::new());
        };
        if wish.is_retry && !is_probe && inner.retries.left(now) == 0 {
            return Step::Answer(vec![(waiter, Err(self.come_again("retry_budget_spent")))]);
        }
        if is_probe {
            inner.breaker.probe_sent();
        } else if let Some(turns) = &mut inner.turns {
            turns.used();
        }
        Step::Answer(vec![(waiter, Ok(self.permit(inner, &wish, is_probe)))])
    }

    /// Reads the shared row. What cannot be read is taken for unchanged.
    async fn look(&self) {
        let version = self.lock().version;
        let seen = self.store.look_at_breaker(&self.budget).await;
        let (now, mut inner) = (Instant::now(), self.lock());
        inner.looked_at = Some(now);
        // What this node found out meanwhile is newer than what it read.
        if let (Ok(seen), true) = (seen, inner.version == version) {
            self.adopt(&mut inner, now, seen);
        }
    }

    fn adopt(&self, inner: &mut Inner, now: Instant, seen: Option<OpenBreaker>) {
        if inner.breaker.adopt(now, seen.map(Seen::from)) {
            inner.ramp.restart();
        }
        self.show(inner);
    }

    async fn claim_probe(self: &Arc<Self>) {
        // Nobody can claim what the others do not know of.
        self.share().await;
        {
            let mut inner = self.lock();
            if !inner.changes.is_empty() {
                let pause = if inner.sharing {
                    SHARING_PAUSE
                } else {
                    DATABASE_PAUSE
                };
                return inner.breaker.probe_lost(Instant::now() + pause);
            }
        }
        let claim = self
            .store
            .claim_probe(&self.budget, self.node, self.interval)
            .await;
        let (now, mut inner) = (Instant::now(), self.lock());
        match claim {
            Ok(ProbeClaim::Won) => inner.breaker.probe_won(now),
            Ok(ProbeClaim::Wait(seen)) => {
                inner.looked_at = Some(now);
                self.adopt(&mut inner, now, Some(seen));
            }
            Ok(ProbeClaim::Closed) => {
                inner.looked_at = Some(now);
                self.adopt(&mut inner, now, None);
            }
            Err(error) => {
                tracing::debug!(budget = %self.budget, %error, "no probe is claimed");
                inner.breaker.probe_lost(now + DATABASE_PAUSE);
                inner.looked_at = Some(now);
            }
        }
    }

    async fn take_turns(&self, rate: f64, calls: u32) {
        let taken = self.store.take_turns(&self.budget, rate, calls).await;
        let (now, mut inner) = (Instant::now(), self.lock());
        if let Some(turns) = &mut inner.turns {
            match taken {
                Ok(first_in) => turns.taken(now + first_in, calls),
                Err(_) => turns.taken_alone(now),
            }
        }
    }

    async fn wait(&self, until: Option<Instant>) {
        let stopping = self.effects.stopping();
        tokio::select! {
            () = self.moved.notified() => {}
            () = async { match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            } } => {}
            () = self.effects.soft_stop_signal().cancelled(), if !stopping => {}
        }
    }
}

fn turn(inner: &mut Inner, now: Instant) -> Turn {
    let waiting = inner.backlog.len();
    inner
        .turns
        .as_mut()
        .map_or(Turn::Now, |turns| turns.look(now, waiting))
}

fn refused(waiters: Vec<Waiter>, held: &Held) -> Vec<(Waiter, Result<Permit, Held>)> {
    waiters
        .into_iter()
        .map(|waiter| (waiter, Err(held.clone())))
        .collect()
}

impl From<OpenBreaker> for Seen {
    fn from(open: OpenBreaker) -> Self {
        Self {
            cause: match open.fault {
                FaultKind::Operator => OpenCause::Operator(open.reason),
                FaultKind::Outage => OpenCause::Outage(open.reason),
            },
            open_for: open.open_for,
            probe_in: open.probe_in,
        }
    }
}
