//! A gate holds requests at an endpoint until a test lets them go on, and tells the test when they have arrived: so a
//! test says "while the refresh is under way" without sleeping.

use std::sync::Arc;

use tokio::sync::watch;

#[derive(Debug, Clone)]
pub struct Gate {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    arrived: watch::Sender<usize>,
    released: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    pub fn new() -> Self {
        let inner = Inner {
            arrived: watch::Sender::new(0),
            released: watch::Sender::new(0),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Waits until the first request stands at the gate.
    pub async fn arrived(&self) {
        self.arrived_at_least(1).await;
    }

    /// Waits until `count` requests have come, those already let through included.
    pub async fn arrived_at_least(&self, count: usize) {
        // The sender lives in `self`, so the channel cannot close while this waits.
        let _ = self
            .inner
            .arrived
            .subscribe()
            .wait_for(|arrived| *arrived >= count)
            .await;
    }

    /// How many requests have come so far.
    pub fn arrivals(&self) -> usize {
        *self.inner.arrived.borrow()
    }

    /// Opens the gate for good.
    pub fn release(&self) {
        self.inner.released.send_replace(usize::MAX);
    }

    /// Lets one more request through, in the order of arrival.
    pub fn release_one(&self) {
        self.inner
            .released
            .send_modify(|released| *released = released.saturating_add(1));
    }

    pub(super) async fn pass(&self) {
        let mut ticket = 0;
        self.inner.arrived.send_modify(|arrived| {
            *arrived += 1;
            ticket = *arrived;
        });
        let _ = self
            .inner
            .released
            .subscribe()
            .wait_for(|released| *released >= ticket)
            .await;
    }
}
