//! Time is a port: nothing else in this crate asks what time it is.

use crate::domain::Timestamp;

/// The wall clock. Timers run on tokio's clock, which tests pause; a test clock derives this from that.
pub trait Clock: Send + Sync {
    /// Now, in UTC.
    fn now(&self) -> Timestamp;
}
