//! The circuit breaker of one provider, as a pure state machine.
//!
//! It opens at once on the operator's faults (a wrong client secret must not be tried once per user) and after a run of
//! outages; while open, one probe per interval goes through, and its outcome decides.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::reason::ReasonCode;

/// Outages in a row that open it. One lost answer is weather; this many is an outage.
const OUTAGES_MAX: u32 = 5;

/// Why a breaker is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenCause {
    /// The provider refuses our registration: the operator must act.
    Operator(ReasonCode),
    /// The provider has trouble: wait.
    Outage(ReasonCode),
}

/// The breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    interval: Duration,
    outages: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone)]
struct Open {
    cause: OpenCause,
    since: Instant,
    probe_at: Instant,
}

/// Whether a call may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Go,
    /// It may not; come again after this long.
    Wait(OpenCause, Duration),
}

impl Breaker {
    /// Closed.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            outages: 0,
            open: None,
        }
    }

    /// Asks to make a call. Whoever is admitted reports how it went.
    pub fn admit(&mut self, now: Instant) -> Admission {
        let Some(open) = &mut self.open else {
            return Admission::Go;
        };
        if now >= open.probe_at {
            // The next one waits a whole interval even if this probe never reports.
            open.probe_at = now + self.interval;
            return Admission::Go;
        }
        Admission::Wait(open.cause.clone(), open.probe_at.duration_since(now))
    }

    /// The provider answered, whatever it said about one user: it works. `true`: the breaker was open until now.
    pub fn answered(&mut self) -> bool {
        self.outages = 0;
        self.open.take().is_some()
    }

    /// The provider refuses us. `true`: the breaker was not open for this cause until now, so this is news.
    pub fn refused_operator(&mut self, now: Instant, reason: ReasonCode) -> bool {
        self.open_for(now, OpenCause::Operator(reason))
    }

    /// The provider has trouble. `true`: this opened the breaker.
    pub fn outage(&mut self, now: Instant, reason: ReasonCode, retry_after: Option<Duration>) -> bool {
        self.outages = self.outages.saturating_add(1);
        let held_off = retry_after.is_some();
        if self.outages < OUTAGES_MAX && !held_off && self.open.is_none() {
            return false;
        }
        let news = self.open_for(now, OpenCause::Outage(reason));
        if let (Some(open), Some(wait)) = (&mut self.open, retry_after) {
            open.probe_at = open.probe_at.max(now + wait);
        }
        news
    }

    fn open_for(&mut self, now: Instant, cause: OpenCause) -> bool {
        let probe_at = now + self.interval;
        let news = match &self.open {
            None => true,
            Some(open) => std::mem::discriminant(&open.cause) != std::mem::discriminant(&cause),
        };
        let since = self.open.as_ref().map_or(now, |open| open.since);
        self.open = Some(Open {
            cause,
            since,
            probe_at,
        });
        news
    }

    /// Since when it is open and when the next probe may go out, if it is open.
    pub fn open_times(&self) -> Option<(Instant, Instant)> {
        self.open.as_ref().map(|open| (open.since, open.probe_at))
    }

    /// Why it is open, if it is.
    pub fn open_cause(&self) -> Option<&OpenCause> {
        self.open.as_ref().map(|open| &open.cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn reason(code: &str) -> ReasonCode {
        ReasonCode::new(code)
    }

    #[tokio::test(start_paused = true)]
    async fn an_operators_fault_opens_it_at_once_and_is_news_once() {
        let mut breaker = Breaker::new(INTERVAL);
        assert_eq!(breaker.admit(Instant::now()), Admission::Go);
        assert!(breaker.refused_operator(Instant::now(), reason("invalid_client")));
        assert!(!breaker.refused_operator(Instant::now(), reason("invalid_client")));
        let cause = OpenCause::Operator(reason("invalid_client"));
        assert_eq!(breaker.admit(Instant::now()), Admission::Wait(cause, INTERVAL));
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_per_interval_goes_through_and_a_good_answer_closes_it() {
        let mut breaker = Breaker::new(INTERVAL);
        breaker.refused_operator(Instant::now(), reason("invalid_client"));
        tokio::time::advance(INTERVAL).await;
        assert_eq!(breaker.admit(Instant::now()), Admission::Go);
        assert!(
            matches!(breaker.admit(Instant::now()), Admission::Wait(..)),
            "the probe is out"
        );
        assert!(breaker.answered());
        assert_eq!(breaker.admit(Instant::now()), Admission::Go);
        assert!(!breaker.answered(), "closing is news once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_outage_is_weather_and_a_run_of_them_opens_it() {
        let mut breaker = Breaker::new(INTERVAL);
        for _ in 1..OUTAGES_MAX {
            assert!(!breaker.outage(Instant::now(), reason("timeout"), None));
            assert_eq!(breaker.admit(Instant::now()), Admission::Go);
        }
        assert!(breaker.outage(Instant::now(), reason("timeout"), None));
        assert!(matches!(
            breaker.admit(Instant::now()),
            Admission::Wait(OpenCause::Outage(_), _)
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_obeyed_beyond_the_interval() {
        let mut breaker = Breaker::new(INTERVAL);
        breaker.outage(
            Instant::now(),
            reason("rate_limited"),
            Some(Duration::from_secs(120)),
        );
        tokio::time::advance(Duration::from_secs(119)).await;
        assert!(matches!(breaker.admit(Instant::now()), Admission::Wait(..)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(breaker.admit(Instant::now()), Admission::Go);
    }
}
