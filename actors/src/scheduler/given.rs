//! What this node was given to do and other nodes leave alone for a while: remembered, so that a node that stops can give
//! it back at once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// What was given, and until when.
#[derive(Debug, Default)]
pub(crate) struct Given(Mutex<HashMap<Uuid, Instant>>);

impl Given {
    /// Remembers these, and forgets what others may take again anyway: memory follows what is taken in one hold.
    pub(super) fn add(&self, integrations: impl Iterator<Item = Uuid>, now: Instant, hold: Duration) {
        let mut given = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        given.retain(|_, until| *until > now);
        given.extend(integrations.map(|integration| (integration, now + hold)));
    }

    /// All of it, and forgets it.
    pub(super) fn take(&self) -> Vec<Uuid> {
        let given = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        given.into_keys().collect()
    }
}
