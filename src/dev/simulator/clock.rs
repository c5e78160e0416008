//! The simulator's time: the machine's wall clock plus an offset that a test may push forward, so that tokens expire
//! without anyone sleeping.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;

#[derive(Debug, Default)]
pub struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    pub fn now(&self) -> Millis {
        wall_ms().saturating_add(self.offset_ms.load(Ordering::Relaxed))
    }

    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX / 4);
        self.offset_ms.fetch_add(by, Ordering::Relaxed);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator plays somebody else's machine: it has a clock of its own, not the service's"
)]
fn wall_ms() -> Millis {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// Whole seconds, as JWT dates and RFC 6749 lifetimes count them.
pub fn seconds(millis: Millis) -> i64 {
    millis.div_euclid(1000)
}
