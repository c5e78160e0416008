//! What every actor and effect of one system shares: ports, settings, the effects tracker, the providers' egress.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use jiff::SignedDuration;
use tokio::sync::Semaphore;

use crate::{
    audit::AuditHandle,
    database::Database,
    domain::{Timestamp, ids::ProviderKey, provider::Provider},
    effects::Effects,
    integration::answers::Answers,
    made::Made,
    measure::Measures,
    provider::{egress::Egress, load::Load},
    readiness::Told,
    scheduler::given::Given,
    settings::{Ports, Settings},
    shelf::Shelf,
};

/// Refreshes and revocations wished for at once, from all callers: twice as many as requests are answered at once.
const WISHES_MAX: usize = 4_096;

/// Why a node may not be fit to be asked, beside the database.
#[derive(Debug, Default)]
pub(crate) struct Fitness {
    /// It is told to stop soon: who is asked now should be another.
    pub(crate) leaving: AtomicBool,
    /// Rows need a key that is not configured here, or it is not known yet whether any does.
    pub(crate) keys_missing: AtomicBool,
    /// Permanent actors that have ended and are not back yet.
    pub(crate) actors_down: AtomicUsize,
}

/// When due work was last looked for, and whether it could be seen.
#[derive(Debug, Default)]
pub(crate) struct Sight(Mutex<Option<Look>>);

/// One look for due work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Look {
    /// When it ended.
    pub at: Timestamp,
    /// How much was found; `None`: the database could not be asked.
    pub found: Option<usize>,
}

impl Sight {
    pub(crate) fn looked(&self, look: Look) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(look);
    }

    pub(crate) fn last(&self) -> Option<Look> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shared by everything in one system.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) effects: Effects,
    pub(crate) audit: AuditHandle,
    pub(crate) answers: Answers,
    /// Whether the database is there, as far as this node has noticed.
    pub(crate) database: Database,
    pub(crate) providers: Vec<Arc<Provider>>,
    egress: HashMap<ProviderKey, Arc<Egress>>,
    measures: HashMap<ProviderKey, Measures>,
    /// What tests make fail.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) trap: crate::testing::trap::Trap,
    /// Leave to wish for refreshes and revocations.
    pub(crate) wishes: Arc<Semaphore>,
    /// Why this node may not be fit to be asked, beside the database.
    pub(crate) fitness: Fitness,
    /// What the Scheduler last saw, for operators.
    pub(crate) sight: Sight,
    /// What the operator was told last of whether this node is ready.
    pub(crate) told: Told,
    shelves: HashMap<ProviderKey, Shelf>,
    loads: HashMap<ProviderKey, Load>,
    /// Due work this node was given lately.
    pub(crate) given: Given,
    /// Secrets of links and states this node has lately made.
    pub(crate) made: Made,
}

impl Shared {
    pub(crate) fn new(ports: Ports, settings: Settings, audit: AuditHandle) -> Self {
        let providers = ports.oauth.providers().to_vec();
        let effects = Effects::default();
        let egress = Egress::of_providers(
            &providers,
            settings.breaker_interval,
            settings.node,
            &ports.egress,
            &ports.rng,
            &effects,
        );
        let shelves = providers
            .iter()
            .map(|provider| (provider.key.clone(), Shelf::default()))
            .collect();
        let loads = providers
            .iter()
            .map(|provider| (provider.key.clone(), Load::default()))
            .collect();
        let measures = providers
            .iter()
            .map(|provider| (provider.key.clone(), Measures::of(&provider.key)))
            .collect();
        Self {
            ports,
            settings,
            effects,
            audit,
            answers: Answers::default(),
            database: Database::default(),
            providers,
            egress: egress.into_iter().collect(),
            shelves,
            loads,
            given: Given::default(),
            made: Made::default(),
            measures,
            #[cfg(any(test, feature = "testing"))]
            trap: crate::testing::trap::Trap::default(),
            wishes: Arc::new(Semaphore::new(WISHES_MAX)),
            fitness: Fitness::default(),
            sight: Sight::default(),
            told: Told::default(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.ports.clock.now()
    }

    pub(crate) fn provider(&self, key: &ProviderKey) -> Option<&Arc<Provider>> {
        self.providers.iter().find(|provider| provider.key == *key)
    }

    /// Where this provider's accounts lay out what can be taken at once.
    pub(crate) fn shelf(&self, key: &ProviderKey) -> Option<&Shelf> {
        self.shelves.get(key)
    }

    pub(crate) fn egress(&self, key: &ProviderKey) -> Option<&Arc<Egress>> {
        self.egress.get(key)
    }

    pub(crate) fn load(&self, key: &ProviderKey) -> Option<&Load> {
        self.loads.get(key)
    }

    pub(crate) fn measures(&self, key: &ProviderKey) -> Option<&Measures> {
        self.measures.get(key)
    }
}

/// `at + duration`, at the end of time if it would lie beyond.
pub(crate) fn after(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| at.checked_add(duration).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `at - duration`, at the beginning of time if it would lie before.
pub(crate) fn before(at: Timestamp, duration: Duration) -> Timestamp {
    SignedDuration::try_from(duration)
        .ok()
        .and_then(|duration| at.checked_sub(duration).ok())
        .unwrap_or(Timestamp::MIN)
}

/// How long from `now` until `at`; zero if that is past.
pub(crate) fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO)
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
