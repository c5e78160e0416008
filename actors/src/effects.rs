//! Effects: everything that takes time runs as a tracked task beside the actors, and reports back as a message.
//!
//! No handler awaits I/O (a token still valid is served while its refresh is under way), and no task is untracked: a
//! graceful stop waits for what is in flight, because a refresh that has reached its provider must reach the database.

use std::{future::Future, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

/// Spawns tracked tasks. Cheap to clone; all clones share one tracker.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    tracker: TaskTracker,
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Effects {
    /// Runs this beside the actors. It must end by itself; loops look at [`stopping`](Self::stopping) or
    /// [`hard_stop`](Self::hard_stop).
    pub fn spawn(&self, effect: impl Future<Output = ()> + Send + 'static) {
        // The span of the message that caused it goes along, so that the log of a refresh names its integration.
        self.tracker.spawn(effect.in_current_span());
    }

    /// The same, for an effect somebody waits for: `failed` runs if it ends without having run to its end, which is a defect
    /// in it (a panic). Whoever waits would wait for ever.
    pub fn spawn_or(
        &self,
        failed: impl FnOnce() + Send + 'static,
        effect: impl Future<Output = ()> + Send + 'static,
    ) {
        let unfinished = Unfinished(Some(failed));
        self.spawn(async move {
            effect.await;
            unfinished.finish();
        });
    }

    /// Whether no new work should begin.
    pub fn stopping(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Ends when no new work should begin.
    pub async fn soft_stopped(&self) {
        self.soft.cancelled().await;
    }

    /// The same, as a signal to hold on to.
    pub fn soft_stop_signal(&self) -> &CancellationToken {
        &self.soft
    }

    /// Ends when even unfinished work must give up.
    pub fn hard_stop(&self) -> &CancellationToken {
        &self.hard
    }

    /// From now on nothing new begins.
    pub fn soft_stop(&self) {
        self.soft.cancel();
        self.tracker.close();
    }

    /// Waits for what is in flight, at most this long, then tells the rest to give up. `true`: all of it ended by itself.
    pub async fn drain(&self, grace: Duration) -> bool {
        self.soft_stop();
        let drained = tokio::time::timeout(grace, self.tracker.wait()).await.is_ok();
        self.hard.cancel();
        drained
    }

    /// How many are in flight.
    pub fn in_flight(&self) -> usize {
        self.tracker.len()
    }
}

/// An effect that has not run to its end.
struct Unfinished<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Unfinished<F> {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl<F: FnOnce()> Drop for Unfinished<F> {
    fn drop(&mut self) {
        if let Some(failed) = self.0.take() {
            failed();
        }
    }
}
