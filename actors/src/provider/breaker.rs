//! The circuit breaker of one budget, as a pure state machine.
//!
//! It opens at once on the operator's faults (a wrong client secret must not be tried once per user), at once when the
//! provider names a time to come again, and after a run of outages. While it is open, one probe per interval goes out over
//! all nodes: this node first wins the right to it in the database, then gives it to exactly one call. Only that call's
//! outcome closes it; what was under way before says nothing about now.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::reason::ReasonCode;

/// Outages in a row that open it. One lost answer is weather; this many is an outage.
pub(super) const OUTAGES_MAX: u32 = 5;
/// The same, if they all are one account's: that may be an account the provider chokes on.
pub(super) const OUTAGES_OF_ONE_MAX: u32 = 10;

/// How long a right to probe may lie unused. Used late, it would come close to the next one, or to a time the provider
/// has named meanwhile.
pub(super) const UNUSED_MAX: Duration = Duration::from_secs(1);

/// Why a breaker is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenCause {
    /// The provider refuses our registration: the operator must act.
    Operator(ReasonCode),
    /// The provider has trouble: wait.
    Outage(ReasonCode),
}

/// How a call went, as far as the breaker cares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The provider answered, whatever it said about one account.
    Answered,
    /// It has trouble, and perhaps said until when.
    Outage {
        reason: ReasonCode,
        retry_after: Option<Duration>,
    },
    /// It refuses our registration.
    Operator(ReasonCode),
    /// What it said to one flow: nothing that others should know.
    Nothing,
}

/// What of it all nodes should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum News {
    /// It opened, or for a graver cause than before: no call before this is over.
    Opened { cause: OpenCause, hold: Duration },
    /// It stays open, at least this long.
    Held { cause: OpenCause, hold: Duration },
    /// It closed.
    Closed,
}

/// The breaker.
#[derive(Debug, Clone)]
pub(crate) struct Breaker {
    interval: Duration,
    run: Run,
    open: Option<Open>,
}

/// Outages since the last answer.
#[derive(Debug, Clone, Default)]
struct Run {
    outages: u32,
    first: Option<Uuid>,
    of_several: bool,
}

#[derive(Debug, Clone)]
struct Open {
    cause: OpenCause,
    since: Instant,
    /// When the next right to probe may be asked for.
    probe_at: Instant,
    probe: Probe,
}

/// The right to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Probe {
    /// Not ours.
    None,
    /// Ours until then, and no call has it yet.
    Won(Instant),
    /// With a call that is under way; if that is not made, ours until then.
    Out(Instant),
}

/// Whether a call may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It may.
    Go,
    /// One may, as the probe.
    Probe,
    /// One may if this node wins the right to it.
    Claim,
    /// The probe is out: its outcome decides.
    AwaitProbe,
    /// It may not; come again after this long.
    Wait(OpenCause, Duration),
}

/// The breaker as another node left it in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) cause: OpenCause,
    pub(crate) open_for: Duration,
    pub(crate) probe_in: Duration,
}

// === impl Breaker ===

impl Breaker {
    /// Closed.
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            run: Run::default(),
            open: None,
        }
    }

    /// Asks to make a call.
    pub(crate) fn admission(&self, now: Instant) -> Admission {
        let Some(open) = &self.open else {
            return Admission::Go;
        };
        match open.probe {
            Probe::Out(_) => Admission::AwaitProbe,
            Probe::Won(until) if now < until => Admission::Probe,
            Probe::Won(_) | Probe::None if now >= open.probe_at => Admission::Claim,
            Probe::Won(_) | Probe::None => {
                Admission::Wait(open.cause.clone(), open.probe_at.duration_since(now))
            }
        }
    }

    /// The right to probe is ours, for a moment; the next one may be asked for in an interval.
    pub(crate) fn probe_won(&mut self, now: Instant) {
        let interval = self.interval;
        if let Some(open) = &mut self.open {
            open.probe = Probe::Won(now + interval.min(UNUSED_MAX));
            open.probe_at = now + interval;
        }
    }

    /// It is not; ask again then.
    pub(crate) fn probe_lost(&mut self, again_at: Instant) {
        if let Some(open) = &mut self.open {
            open.probe = Probe::None;
            open.probe_at = again_at;
        }
    }

    /// A call takes the probe along.
    pub(crate) fn probe_sent(&mut self) {
        if let Some(open) = &mut self.open
            && let Probe::Won(until) = open.probe
        {
            open.probe = Probe::Out(until);
        }
    }

    /// The call that had it was not made: another one may.
    pub(crate) fn probe_returned(&mut self) {
        if let Some(open) = &mut self.open
            && let Probe::Out(until) = open.probe
        {
            open.probe = Probe::Won(until);
        }
    }

    /// Nobody knows whether the call that had it was made: no other one may before the next right.
    pub(crate) fn probe_vanished(&mut self) {
        if let Some(open) = &mut self.open {
            open.probe = Probe::None;
        }
    }

    /// A call ended.
    pub(crate) fn ended(
        &mut self,
        now: Instant,
        was_probe: bool,
        account: Option<Uuid>,
        verdict: Verdict,
    ) -> Option<News> {
        if was_probe && let Some(open) = &mut self.open {
            open.probe = Probe::None;
        }
        match verdict {
            Verdict::Answered if self.open.is_none() || was_probe => {
                self.run = Run::default();
                self.open.take().map(|_| News::Closed)
            }
            // It began before the breaker opened; or it is nobody's but one flow's.
            Verdict::Answered | Verdict::Nothing => None,
            Verdict::Operator(reason) => {
                let hold = self.interval;
                match &self.open {
                    Some(Open {
                        cause: OpenCause::Operator(_),
                        ..
                    }) => None,
                    Some(_) | None => Some(self.open_for(now, OpenCause::Operator(reason), hold)),
                }
            }
            Verdict::Outage { reason, retry_after } => self.outage(now, account, reason, retry_after),
        }
    }

    fn outage(
        &mut self,
        now: Instant,
        account: Option<Uuid>,
        reason: ReasonCode,
        retry_after: Option<Duration>,
    ) -> Option<News> {
        let retry_after = retry_after.filter(|wait| !wait.is_zero());
        if let Some(open) = &mut self.open {
            // Its cause stands until somebody is answered: an outage does not mend the operator's fault.
            let hold = retry_after?;
            open.probe_at = open.probe_at.max(now + hold);
            open.probe = match open.probe {
                Probe::Won(_) => Probe::None,
                other => other,
            };
            let cause = open.cause.clone();
            return Some(News::Held { cause, hold });
        }
        self.run.add(account);
        let cause = OpenCause::Outage(reason);
        match retry_after {
            Some(hold) => Some(self.open_for(now, cause, hold)),
            None if self.run.is_an_outage() => Some(self.open_for(now, cause, self.interval)),
            None => None,
        }
    }

    fn open_for(&mut self, now: Instant, cause: OpenCause, hold: Duration) -> News {
        let (since, probe_at) = match &self.open {
            Some(open) => (open.since, open.probe_at.max(now + hold)),
            None => (now, now + hold),
        };
        let probe = self.open.as_ref().map_or(Probe::None, |open| open.probe);
        self.open = Some(Open {
            cause: cause.clone(),
            since,
            probe_at,
            probe,
        });
        News::Opened { cause, hold }
    }

    /// Takes over what the database says. `true`: it was open until now and somebody else closed it.
    pub(crate) fn adopt(&mut self, now: Instant, seen: Option<Seen>) -> bool {
        let Some(seen) = seen else {
            let was_open = self.open.take().is_some();
            if was_open {
                self.run = Run::default();
            }
            // Closed before and after: nobody else knows of the outages that were counted here.
            return was_open;
        };
        let since = now.checked_sub(seen.open_for).unwrap_or(now);
        let probe_at = now + seen.probe_in;
        let probe = self.open.as_ref().map_or(Probe::None, |open| open.probe);
        self.open = Some(Open {
            cause: seen.cause,
            since,
            probe_at,
            probe,
        });
        false
    }
}

// === impl Run ===

impl Run {
    fn add(&mut self, account: Option<Uuid>) {
        if self.outages > 0 && (account.is_none() || account != self.first) {
            self.of_several = true;
        }
        self.first = self.first.or(account);
        self.outages = self.outages.saturating_add(1);
    }

    fn is_an_outage(&self) -> bool {
        let most = if self.of_several {
            OUTAGES_MAX
        } else {
            OUTAGES_OF_ONE_MAX
        };
        self.outages >= most
    }
}

// === for observers ===

impl Breaker {
    /// Why it is open, since when, and when the next probe may go, if it is.
    pub(crate) fn opened(&self) -> Option<(&OpenCause, Instant, Instant)> {
        self.open
            .as_ref()
            .map(|open| (&open.cause, open.since, open.probe_at))
    }

    /// Whether a probe is under way here.
    pub(crate) fn is_probing(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| matches!(open.probe, Probe::Out(_)))
    }

    /// Whether the operator must act.
    pub(crate) fn is_operators(&self) -> bool {
        matches!(
            self.open,
            Some(Open {
                cause: OpenCause::Operator(_),
                ..
            })
        )
    }
}

// === impl OpenCause ===

impl OpenCause {
    /// The provider's code, or ours.
    pub fn reason(&self) -> &ReasonCode {
        match self {
            Self::Operator(reason) | Self::Outage(reason) => reason,
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
