//! The world around the nodes: the database, the providers and their weather; and whoever watches all of it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, broadcast};

use super::{
    checker::Checker,
    dice::Dice,
    history::{Account, Event},
    swarm::Swarm,
};
use crate::{
    domain::{Timestamp, audit::AuditAction, ids::IntegrationId, integration::StoredIntegration},
    ports::clock::Clock as _,
    shared::{before, until},
    testing::{
        clock::TestClock,
        oauth::ScriptedProvider,
        spool::MemorySpool,
        store::{MemoryStore, Op},
        universe::{GRACE, SAFE, SINGLE_USE, one_of_each_class},
        vault::TransparentVault,
    },
};

/// The providers, one of each class.
pub(super) const PROVIDERS: [&str; 3] = [SAFE, GRACE, SINGLE_USE];
/// Announcements that may wait for a node to hear them.
const ANNOUNCEMENTS_MAX: usize = 4_096;
/// Statements and calls of one instant that nothing but a circle can explain.
const TURNS_MAX: u32 = 20_000;

/// How a provider is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sky {
    Clear,
    /// Answers nothing useful.
    Down,
    /// Wants to be left alone, by everybody.
    Throttling(Duration),
    /// Refuses our client.
    ClientRefused,
}

#[derive(Debug)]
struct Weather {
    chaos: bool,
    database_away: bool,
    /// When the database was last seen in trouble, for anybody.
    database_trouble_at: Option<Timestamp>,
    skies: HashMap<&'static str, Sky>,
    changes: Vec<(Timestamp, IntegrationId)>,
}

/// The world.
#[derive(Debug)]
pub(super) struct Land {
    pub(super) clock: TestClock,
    pub(super) started_at: Timestamp,
    pub(super) swarm: Swarm,
    pub(super) store: MemoryStore,
    pub(super) provider: ScriptedProvider,
    pub(super) vault: Arc<TransparentVault>,
    /// Seeds of what throws its own dice.
    pub(super) dice: Dice,
    pub(super) announced: broadcast::Sender<IntegrationId>,
    weather: Mutex<Weather>,
    checker: Mutex<Checker>,
    /// How often anybody turned to the world at this instant.
    turns: Mutex<(Timestamp, u32)>,
    /// The verdict has been given.
    pub(super) ended: Notify,
}

impl Land {
    pub(super) fn new(dice: Dice) -> Arc<Self> {
        let clock = TestClock::new();
        let swarm = Swarm::of(&dice);
        let provider = ScriptedProvider::new(clock, one_of_each_class());
        for key in PROVIDERS {
            provider.set_token_life(key, Some(swarm.token_life));
        }
        Arc::new(Self {
            clock,
            started_at: clock.now(),
            store: MemoryStore::new(clock),
            provider,
            vault: Arc::default(),
            dice,
            announced: broadcast::Sender::new(ANNOUNCEMENTS_MAX),
            weather: Mutex::new(Weather {
                chaos: false,
                database_away: false,
                database_trouble_at: None,
                skies: HashMap::new(),
                changes: Vec::new(),
            }),
            checker: Mutex::new(Checker::new(&swarm)),
            turns: Mutex::new((clock.now(), 0)),
            ended: Notify::new(),
            swarm,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever watches.
    pub(super) fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, event: Event) {
        let at = until(self.started_at, self.now());
        self.checker().history.push(at, event);
    }

    /// A node asks something of the world. In a world whose verdict has been given nothing happens any more; and one in
    /// which so much happens at one instant that time cannot go on has its verdict.
    pub(super) async fn turn(&self) {
        let turns = {
            let (now, mut turn) = (
                self.now(),
                self.turns.lock().unwrap_or_else(PoisonError::into_inner),
            );
            *turn = (now, if turn.0 == now { turn.1 + 1 } else { 0 });
            turn.1
        };
        if turns > TURNS_MAX {
            self.checker()
                .broken("time goes on", "the nodes go round in circles");
        }
        let is_over = self.checker().violation().is_some();
        if is_over {
            self.ended.notify_one();
            std::future::pending::<()>().await;
        }
    }

    // === weather ===

    pub(super) fn set_chaos(&self, chaos: bool) {
        self.weather().chaos = chaos;
    }

    pub(super) fn chaos(&self) -> bool {
        self.weather().chaos
    }

    pub(super) fn set_database_away(&self, away: bool) {
        self.weather().database_away = away;
        self.database_trouble();
        let now = self.now();
        self.checker().database_turned(away, now);
        self.tell(Event::World("database", if away { "away" } else { "back" }));
    }

    pub(super) fn database_away(&self) -> bool {
        self.weather().database_away
    }

    /// Somebody has trouble with the database this very instant.
    pub(super) fn database_trouble(&self) {
        let now = self.now();
        self.weather().database_trouble_at = Some(now);
    }

    /// When anybody last had.
    pub(super) fn database_trouble_at(&self) -> Option<Timestamp> {
        let weather = self.weather();
        if weather.database_away {
            return Some(self.now());
        }
        weather.database_trouble_at
    }

    pub(super) fn set_disk_full(&self, disk: &MemorySpool, place: usize, is_full: bool) {
        disk.full(is_full);
        self.checker().disk_turned(place, is_full);
        self.tell(Event::World("a disk", if is_full { "full" } else { "has room" }));
    }

    pub(super) fn set_sky(&self, provider: &'static str, sky: Sky) {
        self.weather().skies.insert(provider, sky);
        let what = match sky {
            Sky::Clear => "clear",
            Sky::Down => "down",
            Sky::Throttling(_) => "throttling",
            Sky::ClientRefused => "refuses our client",
        };
        self.tell(Event::World(provider, what));
    }

    pub(super) fn sky(&self, provider: &str) -> Sky {
        self.weather().skies.get(provider).copied().unwrap_or(Sky::Clear)
    }

    // === rows ===

    /// A statement was carried out: whatever it changed is seen, and announced to the nodes.
    pub(super) fn observe(&self, op: Op) {
        if !matches!(
            op,
            Op::Claim
                | Op::CommitRefresh
                | Op::ReplayRefresh
                | Op::ReturnClaim
                | Op::CommitFailure
                | Op::CommitConnect
                | Op::Revoke
                | Op::FinishRevocation
                | Op::PostponeRevocation
        ) {
            return;
        }
        let (now, at) = (self.now(), until(self.started_at, self.now()));
        let audited = (op == Op::CommitFailure)
            .then(|| self.store.last_audit_row())
            .flatten();
        let mut changed = Vec::new();
        self.store.look(|rows| {
            let mut checker = self.checker();
            for row in rows {
                if checker.row(at, now, op, audited.as_ref(), row, &self.provider) {
                    changed.push(row.id.clone());
                }
            }
        });
        for id in changed {
            self.weather().changes.push((now, id.clone()));
            // Nobody may be listening.
            let _ = self.announced.send(id);
        }
    }

    /// What changed lately, as a node that polls asks.
    pub(super) fn recent_changes(&self, look_back: Duration) -> Vec<IntegrationId> {
        let since = before(self.now(), look_back);
        let weather = self.weather();
        let recent = weather.changes.iter().rev().take_while(|(at, _)| *at >= since);
        let mut ids: Vec<_> = recent.map(|(_, id)| id.clone()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// The account's row, if it was ever connected.
    pub(super) fn row_of(&self, account: Account) -> Option<StoredIntegration> {
        let owner = account.owner();
        self.store.look(|rows| {
            let mut rows = rows.iter();
            rows.find(|row| row.id.provider.as_str() == account.provider && row.account.id == owner)
                .map(|row| (*row).clone())
        })
    }

    pub(super) fn id_of(&self, account: Account) -> Option<IntegrationId> {
        self.row_of(account).map(|row| row.id)
    }

    /// How many hand-outs of this account's tokens the audit counts.
    pub(super) fn hand_outs_recorded(&self, account: Account) -> u64 {
        let owner = account.owner();
        let rows = self.store.audit_rows();
        let of_it = rows.iter().filter(|row| {
            row.action == AuditAction::TokenIssued
                && row
                    .subject
                    .as_ref()
                    .is_some_and(|subject| subject.as_str() == owner)
                && row
                    .integration_id
                    .as_ref()
                    .is_some_and(|id| id.provider.as_str() == account.provider)
        });
        of_it.map(|row| u64::from(row.count)).sum()
    }

    /// Which account this provider's account of this name is.
    pub(super) fn account(provider: &str, name: &str) -> Account {
        let provider = PROVIDERS.into_iter().find(|key| *key == provider).unwrap_or(SAFE);
        Account {
            provider,
            user: name.trim_start_matches('u').parse().unwrap_or_default(),
        }
    }
}
