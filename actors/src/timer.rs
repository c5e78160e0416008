//! A timer that dies with its actor. ractor's own timers are detached tasks: dropping their handle cancels nothing.

use std::time::Duration;

use ractor::{ActorRef, Message};

/// At most one pending message; arming again replaces it, dropping cancels it.
///
/// A message that was already queued when its timer was re-armed still arrives: receivers compare what it carries with
/// what they wait for, or treat it as a hint to look at the clock.
#[derive(Default)]
pub struct Timer {
    abort: Option<tokio::task::AbortHandle>,
}

impl Timer {
    /// Sends the message to the actor after the delay, instead of whatever was pending.
    pub fn arm<M: Message>(
        &mut self,
        actor: &ActorRef<M>,
        delay: Duration,
        message: impl Fn() -> M + Send + 'static,
    ) {
        self.disarm();
        let actor = actor.clone();
        let handle = actor.send_after(delay, message);
        self.abort = Some(handle.abort_handle());
    }

    /// Forgets what was pending.
    pub fn disarm(&mut self) {
        if let Some(task) = self.abort.take() {
            task.abort();
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.disarm();
    }
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer")
            .field("armed", &self.abort.is_some())
            .finish_non_exhaustive()
    }
}
