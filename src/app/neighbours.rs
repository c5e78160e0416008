//! Hearing of what other nodes changed: by notification at once, and by polling in case a notification is lost.

use std::time::Duration;

use oauth_manager_actors::handle::OAuthManager;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::storage::Storage;

/// How often is asked what changed lately. A revocation on another node is obeyed within 5 s even if nobody is told.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How far back is looked: a change shows only when its transaction has ended, and a look may be late.
const LOOK_BACK: Duration = Duration::from_secs(8);
/// Pause before the notification connection is made again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Tells the actors of changes made elsewhere, until it is stopped.
pub(super) async fn hear(storage: Storage, manager: OAuthManager, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = listen(&storage, &manager) => {}
        () = poll(&storage, &manager) => {}
    }
}

async fn listen(storage: &Storage, manager: &OAuthManager) {
    loop {
        let listening = || tracing::debug!("listening for other nodes' changes");
        let heard = |id| manager.changed(&id);
        if let Err(error) = storage.listen(listening, heard).await {
            tracing::debug!(error = %error, "not listening for other nodes' changes; polling for them");
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
    }
}

async fn poll(storage: &Storage, manager: &OAuthManager) {
    let mut heard_at = Instant::now();
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let asked_at = Instant::now();
        // While the database is away there is nothing to hear; the Scheduler says so. What was changed meanwhile by nodes
        // that could reach it is heard when it is back, however long that took.
        let Ok(changes) = storage.recent_changes(LOOK_BACK + heard_at.elapsed()).await else {
            continue;
        };
        for id in changes {
            manager.changed(&id);
        }
        heard_at = asked_at;
    }
}
