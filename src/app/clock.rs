//! The time: the database's, carried by this machine's monotonic clock.
//!
//! Tokens are handed out by several nodes, so all of them must judge expiry by one clock, and that is the database's, as
//! claims are. The machine's own wall clock is looked at once, at the start, for want of anything better; after that a jump
//! of it changes nothing. The rules:
//!
//! - Between samples, time passes as the monotonic clock says.
//! - A sample is the database's time with the moments before it was asked and after it answered. When the answer arrives it
//!   is there between `said` and `said + (heard - asked)`: if our time lies outside, it is set to the nearer end, forward or
//!   back; otherwise it stays. So a slow answer moves nothing by mistake, and a quick one keeps us within its own duration.
//! - An answer that took longer than [`SAMPLE_MAX`] says too little and is dropped.
//! - Without the database nothing is learnt, and time passes on.
//!
//! Users' JWTs are judged by the same clock: every node refuses the same ones. Whoever runs the database keeps its clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use jiff::SignedDuration;
use oauth_manager_actors::{domain::Timestamp, ports::clock::Clock};
use tokio_util::sync::CancellationToken;

use crate::storage::Storage;

/// How often the database is asked: clocks of machines drift apart by seconds a day.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(30);
/// Longest answer that says anything.
const SAMPLE_MAX: Duration = Duration::from_secs(5);
/// A correction of this much is worth a line.
const NOTEWORTHY: SignedDuration = SignedDuration::from_millis(1_000);

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the port's one real implementation"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// Time since some moment; never goes back and never jumps.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// The database's clock, as far as it is known here. Clones are one clock.
#[derive(Clone)]
pub struct SharedClock {
    monotonic: Monotonic,
    /// What to add to the monotonic time, in nanoseconds, to have the time since 1970.
    anchor: Arc<AtomicI64>,
}

impl std::fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedClock").finish_non_exhaustive()
    }
}

impl SharedClock {
    /// By this machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "the port's own source")]
    pub fn of_this_machine() -> Self {
        let started_at = std::time::Instant::now();
        Self::new(SystemClock.now(), Arc::new(move || started_at.elapsed()))
    }

    /// Begins at this time, and goes on as `monotonic` says.
    pub fn new(now: Timestamp, monotonic: Monotonic) -> Self {
        let anchor = nanoseconds(now) - since(&monotonic);
        Self {
            monotonic,
            anchor: Arc::new(AtomicI64::new(anchor)),
        }
    }

    /// The moment before the database is asked.
    pub fn ask(&self) -> Duration {
        (self.monotonic)()
    }

    /// What the database said, to be told at once. Returns by how much the time was set forward (or, negative, back).
    pub fn learn(&self, asked: Duration, said: Timestamp) -> SignedDuration {
        let took = (self.monotonic)().saturating_sub(asked);
        if took > SAMPLE_MAX {
            return SignedDuration::ZERO;
        }
        let heard = since(&self.monotonic);
        let ours = self.anchor.load(Relaxed) + heard;
        let earliest = nanoseconds(said);
        let right = ours.clamp(earliest, earliest + i64::try_from(took.as_nanos()).unwrap_or(0));
        self.anchor.store(right - heard, Relaxed);
        SignedDuration::from_nanos(right - ours)
    }

    /// Asks the database for its time and learns it.
    pub(super) async fn sample(&self, storage: &Storage) {
        let asked = self.ask();
        // While it is away, time passes on.
        if let Ok(said) = storage.now().await {
            let set = self.learn(asked, said);
            if set.abs() >= NOTEWORTHY {
                tracing::warn!(by_ms = set.as_millis(), "the time is set by the database's clock");
            }
        }
    }

    /// Keeps it, until it is stopped.
    pub(super) async fn keep(self, storage: Storage, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(SAMPLE_INTERVAL) => self.sample(&storage).await,
            }
        }
    }
}

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        let nanoseconds = self.anchor.load(Relaxed) + since(&self.monotonic);
        Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or_default()
    }
}

fn since(monotonic: &Monotonic) -> i64 {
    i64::try_from(monotonic().as_nanos()).unwrap_or(i64::MAX)
}

/// Good until the year 2262.
fn nanoseconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    /// A monotonic clock that a test moves, and the clock on it, which begins with what the wall says.
    struct Machine {
        passed_ms: Arc<AtomicU64>,
        clock: SharedClock,
    }

    fn at_ms(ms: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + ms).unwrap()
    }

    impl Machine {
        fn with_wall(ms: i64) -> Self {
            let passed_ms = Arc::new(AtomicU64::new(7_000));
            let source = Arc::clone(&passed_ms);
            let monotonic: Monotonic = Arc::new(move || Duration::from_millis(source.load(Relaxed)));
            Self {
                passed_ms,
                clock: SharedClock::new(at_ms(ms), monotonic),
            }
        }

        fn pass(&self, ms: u64) {
            self.passed_ms.fetch_add(ms, Relaxed);
        }

        /// The database answers after `took_ms`, having looked at its clock when it said this.
        fn hear(&self, took_ms: u64, said: i64) -> i128 {
            let asked = self.clock.ask();
            self.pass(took_ms);
            self.clock.learn(asked, at_ms(said)).as_millis()
        }
    }

    #[test]
    fn time_passes_as_the_monotonic_clock_says_whatever_the_wall_does() {
        let machine = Machine::with_wall(0);
        machine.pass(1_500);
        // The wall clock is not asked again: there is nothing that could jump.
        assert_eq!(machine.clock.now(), at_ms(1_500));
    }

    #[test]
    fn nodes_minutes_apart_agree_once_they_have_heard_the_database() {
        let (ahead, behind) = (Machine::with_wall(300_000), Machine::with_wall(-7_200_000));
        assert_eq!(ahead.hear(0, 5_000), -295_000);
        assert_eq!(behind.hear(0, 5_000), 7_205_000);
        assert_eq!(ahead.clock.now(), behind.clock.now());
    }

    #[test]
    fn a_sample_moves_the_time_no_further_than_it_proves() {
        let machine = Machine::with_wall(0);
        // Between 40 and 60: 20 is too little, and moved to the nearer end.
        assert_eq!(machine.hear(20, 40), 20);
        assert_eq!(machine.clock.now(), at_ms(40));
        // Between 41 and 61, where 60 lies: nothing to correct.
        assert_eq!(machine.hear(20, 41), 0);
        // Between 10 and 30: 80 is too much.
        assert_eq!(machine.hear(20, 10), -50);
        assert_eq!(machine.clock.now(), at_ms(30));
    }

    #[test]
    fn an_answer_that_took_too_long_says_nothing() {
        let machine = Machine::with_wall(0);
        assert_eq!(machine.hear(5_001, 3_600_000), 0);
        assert_eq!(machine.clock.now(), at_ms(5_001));
    }
}
