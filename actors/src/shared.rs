//! What every actor and effect of one system shares: ports, settings, the effects tracker, the providers' egress.

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::SignedDuration;

use crate::{
    audit::AuditHandle,
    domain::{Timestamp, ids::ProviderKey, provider::Provider},
    effects::Effects,
    integration::answers::Answers,
    provider::{egress::Egress, load::Load},
    scheduler::given::Given,
    settings::{Ports, Settings},
    shelf::Shelf,
};

/// Shared by everything in one system.
pub(crate) struct Shared {
    pub(crate) ports: Ports,
    pub(crate) settings: Settings,
    pub(crate) effects: Effects,
    pub(crate) audit: AuditHandle,
    pub(crate) answers: Answers,
    pub(crate) providers: Vec<Arc<Provider>>,
    egress: HashMap<ProviderKey, Arc<Egress>>,
    shelves: HashMap<ProviderKey, Shelf>,
    loads: HashMap<ProviderKey, Load>,
    /// Due work this node was given lately.
    pub(crate) given: Given,
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
        Self {
            ports,
            settings,
            effects,
            audit,
            answers: Answers::default(),
            providers,
            egress: egress.into_iter().collect(),
            shelves,
            loads,
            given: Given::default(),
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
