//! Whether this node is fit to be asked.

use std::{sync::atomic::Ordering, time::Duration};

use super::OAuthManager;
use crate::{ports::store::StoreError, readiness::Readiness};

/// Longest `/ready` waits for the database: whoever asks does not wait long either.
const READY_PATIENCE: Duration = Duration::from_millis(1500);
/// Least pause between two looks, however much fails.
const DOUBT_PAUSE: Duration = Duration::from_millis(500);

impl OAuthManager {
    /// Whether each part is ready. Whether the database takes writes is what the last [`look`](Self::look_whether_ready) found.
    pub async fn ready(&self) -> Readiness {
        let store = tokio::time::timeout(READY_PATIENCE, self.shared.ports.records.ready()).await;
        let fitness = &self.shared.fitness;
        Readiness {
            database: matches!(store, Ok(Ok(()) | Err(StoreError::Inconsistent { .. }))),
            unwritable: self.shared.database.unwritable().map(|found| found.cause),
            migrations: matches!(store, Ok(Ok(()))),
            keys: !fitness.keys_missing.load(Ordering::Relaxed),
            actors: self.registry.get().is_some() && fitness.actors_down.load(Ordering::Relaxed) == 0,
            stopping: fitness.leaving.load(Ordering::Relaxed) || self.shared.effects.stopping(),
        }
    }

    /// Looks whether each part is ready, tries to write, and tells the operator what has changed since the last look.
    pub async fn look_whether_ready(&self) -> Readiness {
        let database = &self.shared.database;
        let (node, was_full) = (self.shared.settings.node, database.may_be_full());
        // One that cannot be asked says nothing of whether it would take writes: what was known stands.
        if let Ok(found) = self.shared.ports.records.try_write(node, was_full).await {
            database.tried(found);
        }
        let readiness = self.ready().await;
        self.shared.told.look(&readiness, database.unwritable().as_ref());
        readiness
    }

    /// Waits for this long, or until a statement fails, and then it is worth a look at once.
    pub async fn until_doubt(&self, interval: Duration) {
        let doubted = async {
            tokio::time::sleep(DOUBT_PAUSE.min(interval)).await;
            self.shared.database.doubted().await;
        };
        let _ = tokio::time::timeout(interval, doubted).await;
    }
}
