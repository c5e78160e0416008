//! Whether a node runs, stands still or is dead. Nothing leaves a node and nothing reaches it but through its ports, and
//! every port asks here first: so a node dies, or stops, between any two steps of anything it does.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// SIGSTOP: time goes on, the process does not.
    Paused,
    /// SIGKILL: for good.
    Dead,
}

/// One process.
#[derive(Debug)]
pub(super) struct Pulse {
    life: Mutex<Life>,
    /// Wakes in the order of waiting, the same in every run (a watch channel wakes in a random one).
    changed: Notify,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self {
            life: Mutex::new(Life::Running),
            changed: Notify::new(),
        }
    }

    pub(super) fn set(&self, life: Life) {
        let mut present = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing raises the dead.
        if *present != Life::Dead {
            *present = life;
            self.changed.notify_waiters();
        }
    }

    pub(super) fn get(&self) -> Life {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn runs(&self) -> bool {
        self.get() == Life::Running
    }

    /// Goes on when the process does: at once, later, or never.
    pub(super) async fn beat(&self) {
        while !self.runs() {
            self.changed.notified().await;
        }
    }
}
