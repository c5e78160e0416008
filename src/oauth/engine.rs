//! [`Engine`]: the registrations, the transport and the two caches, behind the port. Each call has its own file.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::SignedDuration;
use oauth_manager_actors::{
    domain::{
        ids::ProviderKey,
        provider::{Provider, RefreshClass},
        provider_problem::ProviderProblem,
        reason::ReasonCode,
        token::TokenAnswer,
    },
    ports::{
        clock::Clock,
        oauth::{
            AuthorizationUrlRequest, CallbackIssuer, ExchangeRequest, Exchanged, FailureKind, OAuth,
            ProbeRequest, Probed, ProviderFailure, RefreshRequest, RevocationRequest, Revoked,
        },
    },
};
use tokio::time::Instant;
use url::Url;

use super::{
    classify::Verdict,
    discovery::Discovered,
    problems::Problems,
    registration::Registration,
    settings::{EngineSettings, InvalidSettings, ProviderKind, ProviderSettings},
    transport::Transport,
};
use crate::jose::{CachedByUrl, KeySet, Rules};

/// Endpoints hardly ever move.
const DISCOVERY_MAX_AGE: SignedDuration = SignedDuration::from_hours(24);
/// Keys rotate over days; an unknown key id is looked up at once anyway.
const KEYS_MAX_AGE: SignedDuration = SignedDuration::from_hours(1);
/// At most one look-up out of turn in this time and per key set.
const KEYS_AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// The provider engine.
pub struct Engine {
    providers: Vec<Arc<Provider>>,
    registrations: HashMap<ProviderKey, Registration>,
    pub(super) transport: Transport,
    pub(super) clock: Arc<dyn Clock>,
    deadline: Duration,
    pub(super) documents: CachedByUrl<Discovered>,
    pub(super) key_sets: CachedByUrl<KeySet>,
    pub(super) problems: Problems,
}

impl Engine {
    /// An engine for these providers. Built-in ones that are not among them are known, and unconfigured.
    pub fn new(
        mut settings: EngineSettings,
        providers: Vec<ProviderSettings>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, InvalidSettings> {
        for (index, provider) in providers.iter().enumerate() {
            if providers[..index].iter().any(|other| other.key == provider.key) {
                return Err(InvalidSettings::new(&provider.key, "is declared twice"));
            }
        }
        let mut all = Vec::new();
        for kind in ProviderKind::BUILT_IN {
            if let Ok(key) = kind.as_str().parse::<ProviderKey>() {
                let given = providers.iter().find(|provider| provider.key == key).cloned();
                all.push(given.unwrap_or_else(|| ProviderSettings::new(key, kind)));
            }
        }
        let is_built_in = |key: &ProviderKey| {
            ProviderKind::BUILT_IN
                .iter()
                .any(|kind| kind.as_str() == key.as_str())
        };
        all.extend(
            providers
                .into_iter()
                .filter(|provider| !is_built_in(&provider.key)),
        );

        let mut listed = Vec::new();
        let mut registrations = HashMap::new();
        for provider in all {
            let key = provider.key.clone();
            let registration = Registration::new(provider)?;
            listed.push(registration.provider.clone());
            registrations.insert(key, registration);
        }
        settings.connect_timeout = connect_timeout(&settings, &listed);
        Ok(Self {
            providers: listed,
            transport: Transport::new(&settings, registrations.values().map(|known| known.policy))?,
            registrations,
            clock,
            deadline: settings.deadline,
            documents: CachedByUrl::new(Rules {
                max_age: DISCOVERY_MAX_AGE,
                again_after: KEYS_AGAIN_AFTER,
                is_of_use: |_| true,
            }),
            key_sets: CachedByUrl::new(Rules {
                max_age: KEYS_MAX_AGE,
                again_after: KEYS_AGAIN_AFTER,
                is_of_use: KeySet::is_usable,
            }),
            problems: Problems::default(),
        })
    }

    /// When a call begun now must be over.
    pub(super) fn deadline(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// When a refresh begun now must be over: its claim lasts as long as the provider's class allows.
    pub(super) fn refresh_deadline(&self, class: RefreshClass) -> Instant {
        Instant::now() + class.deadline(self.deadline)
    }

    /// The registration of a provider that can be spoken to.
    pub(super) fn registration(&self, key: &ProviderKey) -> Result<&Registration, ProviderFailure> {
        let refused =
            |reason: &str| ProviderFailure::new(key.clone(), FailureKind::Operator, ReasonCode::new(reason));
        let registration = self
            .registrations
            .get(key)
            .ok_or_else(|| refused("unknown_provider"))?;
        if registration.provider.configured {
            Ok(registration)
        } else {
            Err(refused("not_configured"))
        }
    }
}

/// How long a connection may take to stand: over before the shortest refresh would be, so that a request that never left is
/// not taken for one whose answer was lost.
fn connect_timeout(settings: &EngineSettings, providers: &[Arc<Provider>]) -> Duration {
    let refreshes = providers
        .iter()
        .map(|provider| provider.refresh_class.deadline(settings.deadline));
    let shortest = refreshes.min().unwrap_or(settings.deadline);
    settings.connect_timeout.min(shortest * 2 / 3)
}

impl Registration {
    /// A failure at this provider.
    pub(super) fn failure(&self, verdict: Verdict) -> ProviderFailure {
        ProviderFailure {
            provider: self.provider.key.clone(),
            kind: verdict.kind,
            reason: ReasonCode::new(verdict.reason),
            retry_after: verdict.retry_after,
            salvaged: None,
            upstream_tenant: None,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.providers.iter().map(|provider| &provider.key);
        f.debug_struct("Engine")
            .field("providers", &keys.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl OAuth for Engine {
    fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    async fn callback_issuer(
        &self,
        provider: &ProviderKey,
    ) -> Result<Option<CallbackIssuer>, ProviderFailure> {
        self.expected_issuer(self.registration(provider)?).await
    }

    async fn authorization_url(
        &self,
        provider: &ProviderKey,
        request: AuthorizationUrlRequest,
    ) -> Result<Url, ProviderFailure> {
        self.authorize(self.registration(provider)?, request).await
    }

    async fn exchange(
        &self,
        provider: &ProviderKey,
        request: ExchangeRequest,
    ) -> Result<Exchanged, ProviderFailure> {
        self.exchange_code(self.registration(provider)?, request).await
    }

    async fn refresh(
        &self,
        provider: &ProviderKey,
        request: RefreshRequest,
    ) -> Result<TokenAnswer, ProviderFailure> {
        let registration = self.registration(provider)?;
        let tenant = registration.dialect.upstream_tenant(&request.metadata);
        let upstream_tenant = tenant.map(Arc::from);
        let refreshed = self.refresh_once(registration, request).await;
        refreshed.map_err(|failure| ProviderFailure {
            upstream_tenant,
            ..failure
        })
    }

    fn client_secret_in_use(&self, provider: &ProviderKey) -> Option<&'static str> {
        self.registrations
            .get(provider)
            .and_then(|registration| registration.secrets.shown())
    }

    fn problem(&self, provider: &ProviderKey) -> Option<ProviderProblem> {
        self.problems.of(provider)
    }

    async fn probe(&self, provider: &ProviderKey, request: ProbeRequest) -> Result<Probed, ProviderFailure> {
        self.probe_feature(self.registration(provider)?, request).await
    }

    async fn revoke(
        &self,
        provider: &ProviderKey,
        request: RevocationRequest,
    ) -> Result<Revoked, ProviderFailure> {
        self.revoke_grant(self.registration(provider)?, request).await
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
