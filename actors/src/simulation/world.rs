//! One simulated world, from its seed to its verdict: connect, chaos, calm, and then everything must be well.

use std::{sync::Arc, time::Duration};

use tokio_util::task::TaskTracker;

use super::{
    dice::Dice,
    history::{Account, History},
    land::{Land, PROVIDERS, Sky},
    node::Node,
    people::Person,
    swarm::Happening,
};
use crate::{domain::integration::Status, testing::spool::MemorySpool};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longest pause the protocol makes before it tries again by itself, and what a try may take.
const RECOVERY_MAX: Duration = Duration::from_secs(960);
/// A minute's hand-outs are on record when it is over and the next flush has succeeded.
const RECORD_PATIENCE: Duration = Duration::from_secs(70);

/// How a world ended.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) violation: Option<String>,
    pub(super) history: History,
}

/// Lives through the world of this seed.
pub(super) fn live(seed: u64) -> Verdict {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let verdict = runtime.block_on(World::live(Dice::new(seed)));
    // Whoever is dead hangs at its ports for ever.
    runtime.shutdown_background();
    verdict
}

struct World {
    land: Arc<Land>,
    dice: Dice,
    nodes: Vec<Arc<Node>>,
    /// One for each place where a node runs.
    disks: Vec<MemorySpool>,
    started: usize,
    accounts: Vec<Account>,
    tasks: TaskTracker,
}

impl World {
    async fn live(dice: Dice) -> Verdict {
        let mut world = Self::begin(dice).await;
        let land = Arc::clone(&world.land);
        tokio::select! {
            () = world.pass() => {}
            // Whoever would go on stands still.
            () = land.ended.notified() => {}
        }
        let mut checker = land.checker();
        Verdict {
            violation: checker.violation().map(Into::into),
            history: std::mem::take(&mut checker.history),
        }
    }

    async fn pass(&mut self) {
        self.chaos().await;
        if self.fine() {
            self.calm().await;
        }
        if self.fine() {
            self.judge().await;
        }
    }

    fn fine(&self) -> bool {
        self.land.checker().violation().is_none()
    }

    async fn begin(dice: Dice) -> Self {
        let land = Land::new(dice.fork());
        let mut world = Self {
            dice,
            nodes: Vec::new(),
            disks: Vec::new(),
            started: 0,
            accounts: Vec::new(),
            tasks: TaskTracker::new(),
            land,
        };
        for slot in 0..world.land.swarm.nodes {
            world.start(slot).await;
        }
        for user in 0..world.land.swarm.users {
            for provider in PROVIDERS {
                let account = Account { provider, user };
                world.accounts.push(account);
                assert!(world.person(account).connect().await, "a calm world connects");
            }
        }
        world
    }

    async fn start(&mut self, slot: usize) {
        if slot == self.disks.len() {
            self.disks.push(MemorySpool::default());
        }
        let node = Node::start(&self.land, slot, self.started, &self.disks[slot]).await;
        self.started += 1;
        if slot < self.nodes.len() {
            self.nodes[slot] = node;
        } else {
            self.nodes.push(node);
        }
    }

    fn person(&self, account: Account) -> Person {
        let running: Vec<_> = self.nodes.iter().filter(|node| node.runs()).collect();
        let node = if running.is_empty() {
            &self.nodes[0]
        } else {
            *self.dice.pick(&running)
        };
        Person {
            node: Arc::clone(node),
            account,
        }
    }

    // === chaos ===

    async fn chaos(&mut self) {
        self.land.set_chaos(true);
        let until = tokio::time::Instant::now() + self.land.swarm.duration;
        while tokio::time::Instant::now() < until && self.fine() {
            let pause = self.dice.between(Duration::ZERO, self.land.swarm.pause * 2);
            tokio::time::sleep(pause).await;
            for slot in 0..self.nodes.len() {
                if !self.nodes[slot].lives() && self.dice.chance(0.3) {
                    self.start(slot).await;
                }
            }
            let happening = self.dice.weighted(&self.land.swarm.happenings);
            self.happen(happening);
        }
    }

    fn happen(&mut self, happening: Happening) {
        let account = *self.dice.pick(&self.accounts);
        let person = self.person(account);
        let node = Arc::clone(self.dice.pick(&self.nodes));
        let a_while = self.dice.between(SECOND, 90 * SECOND);
        let (land, tasks) = (Arc::clone(&self.land), &self.tasks);
        match happening {
            Happening::Ask => drop(tasks.spawn(person.ask(self.min_ttl()))),
            Happening::AskMuch => {
                for _ in 0..8 {
                    let another = self.person(account);
                    tasks.spawn(another.ask(self.min_ttl()));
                }
            }
            Happening::Refresh => drop(tasks.spawn(person.refresh())),
            Happening::Revoke => drop(tasks.spawn(person.revoke())),
            Happening::Reconnect => drop(tasks.spawn(person.connect())),
            Happening::Replace => {
                person.clone().withdraw();
                tasks.spawn(self.person(account).refresh());
                tasks.spawn(person.connect());
            }
            Happening::Withdraw => person.withdraw(),
            Happening::Kill => node.post.kill(),
            Happening::Pause => node.post.pause(a_while),
            Happening::Stop => drop(tasks.spawn(async move { node.stop().await })),
            Happening::DatabaseAway => {
                land.set_database_away(true);
                tasks.spawn(async move {
                    tokio::time::sleep(a_while).await;
                    land.set_database_away(false);
                });
            }
            Happening::DatabaseCut => {
                node.post.set_cut(true);
                tasks.spawn(async move {
                    tokio::time::sleep(a_while).await;
                    node.post.set_cut(false);
                });
            }
            Happening::NotificationsCut => {
                node.post.set_deaf(true);
                tasks.spawn(async move {
                    tokio::time::sleep(a_while).await;
                    node.post.set_deaf(false);
                });
            }
            Happening::ProviderDown => self.weather(account.provider, Sky::Down, a_while * 2),
            Happening::Defect => node.fail(&self.dice),
            Happening::DiskFull => {
                let (disk, place) = (self.disks[node.post.place].clone(), node.post.place);
                land.set_disk_full(&disk, place, true);
                tasks.spawn(async move {
                    tokio::time::sleep(a_while).await;
                    land.set_disk_full(&disk, place, false);
                });
            }
            Happening::ProviderThrottles => {
                self.weather(account.provider, Sky::Throttling(a_while), a_while / 2);
            }
            Happening::ClientRefused => self.weather(account.provider, Sky::ClientRefused, a_while * 2),
        }
    }

    fn weather(&self, provider: &'static str, sky: Sky, a_while: Duration) {
        let land = Arc::clone(&self.land);
        land.set_sky(provider, sky);
        self.tasks.spawn(async move {
            tokio::time::sleep(a_while).await;
            land.set_sky(provider, Sky::Clear);
        });
    }

    fn min_ttl(&self) -> Duration {
        *self.dice.pick(&[
            Duration::ZERO,
            SECOND,
            20 * SECOND,
            self.land.swarm.token_life / 2,
        ])
    }

    // === calm ===

    /// Everything that was broken is mended, and time passes.
    async fn calm(&mut self) {
        self.land.set_chaos(false);
        self.land.set_database_away(false);
        for provider in PROVIDERS {
            self.land.set_sky(provider, Sky::Clear);
        }
        for (place, disk) in self.disks.iter().enumerate() {
            self.land.set_disk_full(disk, place, false);
        }
        for node in &self.nodes {
            node.manager.set_trap("nothing", 0);
            node.post.resume();
            node.post.set_cut(false);
            node.post.set_deaf(false);
        }
        // Who is about to end ends.
        tokio::time::sleep(MINUTE).await;
        for slot in 0..self.nodes.len() {
            if !self.nodes[slot].lives() {
                self.start(slot).await;
            }
        }
        for provider in PROVIDERS {
            // Long tokens: what is well stays so without further ado.
            self.land.provider.set_token_life(provider, Some(60 * MINUTE));
        }
        let patience = if self.dice.chance(0.25) {
            self.land.swarm.token_life
        } else {
            Duration::ZERO
        };
        let mut waited = Duration::ZERO;
        // Nobody recovers before the last token of the chaos has ended and been probed.
        while waited < RECOVERY_MAX + self.land.swarm.token_life && self.fine() {
            tokio::time::sleep(MINUTE).await;
            waited += MINUTE;
            if waited > patience && self.everything_settled().await {
                break;
            }
        }
    }

    /// Nothing is left to recover by itself, and no account is in quarantine.
    async fn everything_settled(&self) -> bool {
        for node in &self.nodes {
            for provider in PROVIDERS {
                if node
                    .observed(provider)
                    .await
                    .is_none_or(|seen| seen.quarantined > 0)
                {
                    return false;
                }
            }
        }
        self.land.store.look(|rows| {
            rows.iter().all(|row| {
                matches!(
                    row.standing.status,
                    Status::Active | Status::Revoked | Status::ReauthRequired
                )
            })
        })
    }

    async fn judge(&self) {
        for node in &self.nodes {
            let mut restarts = 0;
            for provider in PROVIDERS {
                restarts += node.observed(provider).await.map_or(0, |seen| seen.restarts);
            }
            self.land.checker().restarted(node.post.index, restarts);
        }
        for account in &self.accounts {
            let Some(row) = self.land.row_of(*account) else {
                continue;
            };
            self.land.checker().settled(*account, &row, &self.land.provider);
            if row.standing.status == Status::Active {
                for node in &self.nodes {
                    let person = Person {
                        node: Arc::clone(node),
                        account: *account,
                    };
                    let served = person.ask(SECOND).await;
                    if !served && self.fine() {
                        let what = format!("{account} on node {}", node.post.index);
                        self.land
                            .checker()
                            .broken("when all faults are over, every node serves every account", what);
                    }
                }
            }
        }
        tokio::time::sleep(RECORD_PATIENCE).await;
        for account in &self.accounts {
            let recorded = self.land.hand_outs_recorded(*account);
            let mut checker = self.land.checker();
            let expected = checker.hand_outs_on_record(*account, RECORD_PATIENCE);
            if recorded < expected {
                let what = format!("{account}: {recorded} of {expected}");
                checker.broken("every hand-out is on record", what);
            }
        }
    }
}
