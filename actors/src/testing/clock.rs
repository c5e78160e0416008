//! A wall clock derived from tokio's: it stands still when that is paused, and moves when that is advanced.

use std::time::Duration;

use tokio::time::Instant;

use crate::{domain::Timestamp, ports::clock::Clock, shared::after};

/// Where its time begins: some day at midnight, so that minutes and hours are easy to read in a failure.
const EPOCH_SECONDS: i64 = 1_800_000_000;

/// The clock. Copies agree, and so do timers.
#[derive(Debug, Clone, Copy)]
pub struct TestClock {
    epoch: Timestamp,
    started_at: Instant,
}

impl TestClock {
    /// Begins now, on tokio's clock.
    pub fn new() -> Self {
        Self {
            epoch: Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default(),
            started_at: Instant::now(),
        }
    }

    /// The time this long from now.
    pub fn later(&self, duration: Duration) -> Timestamp {
        after(self.now(), duration)
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        after(self.epoch, self.started_at.elapsed())
    }
}
