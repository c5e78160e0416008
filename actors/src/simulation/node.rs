//! A node: one run of the real system on its own ports, and its ear for what other nodes change.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use jiff::SignedDuration;
use tokio::{sync::Notify, time::Instant};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{
    dice::Dice,
    land::Land,
    post::Post,
    pulse::{Life, Pulse},
};
use crate::{
    domain::ids::NodeId,
    handle::{OAuthManager, Observation},
    settings::{Ports, Settings},
    system::{Shutdown, start},
    testing::{rng::SeededRng, spool::MemorySpool},
};

/// How often a node asks what changed lately…
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// …and how far back it looks, beyond the last time it could.
const LOOK_BACK: Duration = Duration::from_secs(8);

/// How often hand-outs are written.
const AUDIT_FLUSH_INTERVAL: Duration = Duration::from_secs(4);

/// Messages of an account's actor whose handler may have a defect.
const MESSAGES: [&str; 8] = [
    "ask",
    "refresh",
    "due",
    "found",
    "reload",
    "reloaded",
    "refreshed",
    "revocation_stored",
];

/// A running node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) manager: OAuthManager,
    pub(super) post: Arc<Post>,
    shutdown: Mutex<Option<Shutdown>>,
}

impl Node {
    /// Starts the next run of the program at this place, on the disk the last one left.
    pub(super) async fn start(
        land: &Arc<Land>,
        place: usize,
        index: usize,
        spool: &MemorySpool,
    ) -> Arc<Self> {
        let dice = land.dice.fork();
        let skew_max = SignedDuration::try_from(land.swarm.skew_max).unwrap_or_default();
        let skew = SignedDuration::from_millis(((dice.unit() * 2.0 - 1.0) * skew_max.as_millis_f64()) as i64);
        let rng = Arc::new(SeededRng::new(dice.seed()));
        let id = NodeId(Uuid::now_v7());
        let post = Arc::new_cyclic(|me| Post {
            me: me.clone(),
            land: Arc::clone(land),
            place,
            index,
            id,
            pulse: Pulse::new(),
            cut: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            changed: Notify::new(),
            killed: Notify::new(),
            skew,
            dice,
        });
        let store = Arc::new(land.store.over(Arc::clone(&post) as _));
        let ports = Ports {
            integrations: store.clone(),
            authorizations: store.clone(),
            records: store.clone(),
            clients: store.clone(),
            egress: store.clone(),
            overview: store.clone(),
            users: store.clone(),
            sessions: store,
            oauth: post.clone(),
            spool: Arc::new(spool.clone()),
            vault: land.vault.clone(),
            clock: post.clone(),
            rng,
        };
        let mut settings = Settings::new(id, "https://oauth.example.com".parse().unwrap());
        settings.forced_refresh_interval = std::time::Duration::ZERO;
        settings.idle_after = land.swarm.idle_after;
        settings.poll_interval = land.swarm.poll_interval;
        // Ticks of idle nodes are most of what a simulation costs.
        settings.audit_flush_interval = AUDIT_FLUSH_INTERVAL;
        let (manager, shutdown) = start(ports, settings).await.unwrap();
        post.tell("runs");
        land.checker().place_recovers(place, land.now());
        let node = Arc::new(Self {
            manager,
            post,
            shutdown: Mutex::new(Some(shutdown)),
        });
        TaskTracker::new().spawn(bury(Arc::clone(&node)));
        TaskTracker::new().spawn(listen(Arc::clone(&node)));
        TaskTracker::new().spawn(poll(Arc::clone(&node)));
        node
    }

    fn land(&self) -> &Land {
        &self.post.land
    }

    fn take(&self) -> Option<Shutdown> {
        self.shutdown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    /// A defect in some handler of an account's actor.
    pub(super) fn fail(&self, dice: &Dice) {
        if self.manager.trap_left() > 0 || !self.runs() {
            return;
        }
        let kind = *dice.pick(&MESSAGES);
        self.post.tell(kind);
        self.land().checker().defect(self.post.index);
        self.manager.set_trap(kind, 1);
    }

    /// What a provider's supervisor says of itself.
    pub(super) async fn observed(&self, provider: &str) -> Option<Observation> {
        self.manager.observe(&provider.parse().ok()?).await.ok()
    }

    pub(super) fn runs(&self) -> bool {
        self.post.pulse.runs()
    }

    pub(super) fn lives(&self) -> bool {
        self.post.pulse.get() != Life::Dead
    }

    /// SIGTERM: it ends by itself, and takes as long as it may.
    pub(super) async fn stop(&self) {
        let Some(shutdown) = self.take() else { return };
        self.post.tell("is told to end");
        let stopped = shutdown.graceful().await;
        self.post.pulse.beat().await;
        if !self.lives() {
            return;
        }
        if !stopped.drained || !stopped.audit_written {
            // What it could not finish is cut off: it is as if it had been killed.
            let now = self.land().now();
            self.land()
                .checker()
                .node_killed(self.post.place, self.post.index, now);
        }
        let now = self.land().now();
        self.land().checker().place_empty(self.post.place, now);
        self.post.pulse.set(Life::Dead);
        self.post.tell("ended");
    }
}

/// A killed process leaves nothing behind.
async fn bury(node: Arc<Node>) {
    node.post.killed.notified().await;
    if let Some(shutdown) = node.take() {
        shutdown.kill();
    }
}

async fn listen(node: Arc<Node>) {
    let mut announced = node.land().announced.subscribe();
    loop {
        let heard = announced.recv().await;
        if !node.lives() {
            return;
        }
        let Ok(id) = heard else { continue };
        node.post.pulse.beat().await;
        if node.post.hears() {
            node.manager.changed(&id);
        } else {
            // Polling takes over until it hears again, and looks as far back as it has not heard.
            node.post.changed.notify_one();
        }
    }
}

async fn poll(node: Arc<Node>) {
    let mut looked_at = Instant::now();
    loop {
        // While notifications come, polling finds nothing that is not known already, and is left out.
        if node.post.hears() {
            node.post.changed.notified().await;
        } else {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        node.post.pulse.beat().await;
        if !node.post.reaches_database() {
            continue;
        }
        for id in node.land().recent_changes(LOOK_BACK + looked_at.elapsed()) {
            node.manager.changed(&id);
        }
        looked_at = Instant::now();
    }
}
