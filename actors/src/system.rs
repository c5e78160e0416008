//! Starting and stopping: `start(ports, settings) -> (OAuthManager, Shutdown)`.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorRef, SpawnErr};
use tokio_util::sync::CancellationToken;

use crate::{
    address::Address,
    audit::AuditHandle,
    handle::{OAuthManager, drain_audit},
    integration::replay,
    root::{Root, RootMsg},
    scheduler::hand_back,
    settings::{Ports, Settings},
    shared::Shared,
};

/// Of the time there is to stop, this share is kept for writing the last hand-out records, and as much for ending the
/// actors…
const LAST_SHARE: u32 = 10;
/// …but no less than this each, however long what is in flight takes.
const LAST_MIN: Duration = Duration::from_secs(1);

/// Ends the system, in order.
#[derive(Debug)]
pub struct Shutdown {
    root: ActorRef<RootMsg>,
    failed: CancellationToken,
    shared: Arc<Shared>,
}

/// How a graceful stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Whether everything in flight ended by itself within the grace period.
    pub drained: bool,
    /// Whether every recorded hand-out is written.
    pub audit_written: bool,
}

/// Starts the tree. Returns when every permanent actor runs.
///
/// # Errors
/// A permanent actor that does not start: a defect.
pub async fn start(ports: Ports, settings: Settings) -> Result<(OAuthManager, Shutdown), SpawnErr> {
    let shared = Arc::new(Shared::new(ports, settings, AuditHandle::new()));
    let left = replay::take(&shared);
    let registry = Address::new();
    let failed = CancellationToken::new();
    let root = Root {
        shared: Arc::clone(&shared),
        registry: registry.clone(),
        failed: failed.clone(),
    };
    let (root, _) = Actor::spawn(None, root, ()).await?;
    let manager = OAuthManager::new(Arc::clone(&shared), registry);
    let hears = manager.clone();
    let offered = replay::run(Arc::clone(&shared), left, move |id| hears.changed(id));
    shared.effects.spawn(offered);
    Ok((manager, Shutdown { root, failed, shared }))
}

// === impl Shutdown ===

impl Shutdown {
    /// Ends when the tree has given up on itself; the process should then exit and be started afresh.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Ends it as a killed process ends: no actor finishes anything. What already runs beside the actors is cut off by
    /// whoever holds the ports.
    #[cfg(any(test, feature = "testing"))]
    pub fn kill(self) {
        self.root.kill();
    }

    /// Ends the system: begins nothing new, waits for what is in flight, writes what was recorded, ends the actors.
    pub async fn graceful(self) -> Stopped {
        let grace = self.shared.settings.shutdown_grace;
        self.graceful_within(grace).await
    }

    /// The same within what is left of the grace.
    pub async fn graceful_within(self, grace: Duration) -> Stopped {
        let last = (grace / LAST_SHARE).max(LAST_MIN);
        self.shared.effects.soft_stop();
        let (drained, ()) = tokio::join!(
            self.shared.effects.drain(grace.saturating_sub(last * 2)),
            hand_back(&self.shared)
        );
        if !drained {
            tracing::warn!(
                in_flight = self.shared.effects.in_flight(),
                "not everything in flight ended in time"
            );
        }
        let audit_written = drain_audit(&self.shared.audit, last).await;
        let stopped = self
            .root
            .stop_and_wait(Some("graceful stop".into()), Some(last))
            .await;
        if let Err(error) = stopped {
            tracing::warn!(error = %error, "the actors did not end in time");
        }
        Stopped {
            drained,
            audit_written,
        }
    }
}
