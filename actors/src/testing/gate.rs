//! Gates: a test holds work at a known place, sees it arrive, and lets it go. Signals, not sleeps.

use std::sync::Arc;

use tokio::sync::watch;

/// A gate, closed until opened. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Ends>);

#[derive(Debug)]
struct Ends {
    arrived: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self(Arc::new(Ends {
            arrived: watch::Sender::new(0),
            open: watch::Sender::new(false),
        }))
    }

    /// Comes to the gate and waits until it is open.
    pub async fn pass(&self) {
        self.0.arrived.send_modify(|arrived| *arrived += 1);
        // The sender lives as long as this gate: waiting cannot fail.
        let _ = self.0.open.subscribe().wait_for(|open| *open).await;
    }

    /// Waits until this many came to the gate.
    pub async fn arrived(&self, many: usize) {
        let _ = self
            .0
            .arrived
            .subscribe()
            .wait_for(|arrived| *arrived >= many)
            .await;
    }

    /// How many came to it.
    pub fn count(&self) -> usize {
        *self.0.arrived.borrow()
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.open.send_replace(true);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
