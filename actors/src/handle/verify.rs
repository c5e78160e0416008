//! Whether each feature of an account works, tried out with the smallest read there is.

use serde::Serialize;
use tokio::time::Instant;

use super::{OAuthManager, ServiceResult};
use crate::{
    authorization::held,
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        consent::Lapse,
        error::ServiceError,
        feature::{FeatureKey, FeatureSpec},
        ids::{IntegrationId, Subject},
        integration::{IntegrationView, Status, StoredIntegration},
        provider::Provider,
        reason::{ReasonCode, WhoMustAct},
        scope::ScopeSet,
    },
    integration::opened::{self, Opened},
    ports::oauth::{FailureKind, ProbeRequest, Probed},
    provider::backlog::Wish,
    records::store_error,
    shared::Shared,
};

/// How a feature was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It works.
    Works,
    /// The token is accepted; nothing small reads what the feature is about.
    Unproven,
    /// The user has not allowed it.
    MissingScopes,
    /// What the user agreed to does not hold any more.
    ConsentRequired,
    /// The provider refuses the token, also a fresh one.
    TokenRejected,
    /// An administrator at the provider has switched it off.
    BlockedByAdmin,
    /// The operator's registration with the provider may not use it.
    NotConfigured,
    /// The provider does not offer it to this account.
    Unavailable,
    /// The provider wants to be asked later.
    RateLimited,
    /// The provider cannot be reached, or has trouble.
    ProviderUnavailable,
}

impl Health {
    fn who_must_act(self) -> Option<WhoMustAct> {
        match self {
            Self::Works | Self::Unproven => None,
            Self::MissingScopes | Self::ConsentRequired | Self::TokenRejected => Some(WhoMustAct::User),
            Self::BlockedByAdmin => Some(WhoMustAct::Admin),
            Self::NotConfigured => Some(WhoMustAct::Operator),
            Self::Unavailable | Self::RateLimited | Self::ProviderUnavailable => Some(WhoMustAct::Nobody),
        }
    }
}

/// What came of trying one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureHealth {
    /// Which.
    pub feature: FeatureKey,
    /// How it was found.
    pub status: Health,
    /// Whose move it is, unless it works.
    pub who_must_act: Option<WhoMustAct>,
    /// What is missing when it stands at `missing_scopes`.
    pub missing_scopes: ScopeSet,
    /// Why it has to be agreed to again.
    pub consent_lapse: Option<Lapse>,
    /// The provider's word on it.
    pub reason: Option<ReasonCode>,
    /// When to try again, in seconds.
    pub retry_after: Option<u64>,
}

/// What came of trying an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The account as it is now.
    pub integration: IntegrationView,
    /// Each feature that is switched on.
    pub features: Vec<FeatureHealth>,
    /// When it was tried.
    pub verified_at: Timestamp,
}

impl OAuthManager {
    /// Tries every feature of an account that is on. A token the provider refuses is refreshed once.
    ///
    /// # Errors
    /// Not found, or somebody else's; why there is no token to try with.
    pub async fn verify(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<Verification> {
        let mut opened = self.to_try(owner, id, &context).await?;
        let mut features = self.try_all(&opened).await?;
        if features.iter().any(|found| found.status == Health::TokenRejected) {
            // As if a service had reported it. Where it cannot be refreshed, the first finding stands.
            if self.refresh(owner, id, context.clone()).await.is_ok() {
                opened = self.open_own(owner, id).await?;
                features = self.try_all(&opened).await?;
            }
        }
        let failing = features.iter().find(|found| found.who_must_act.is_some());
        let outcome = failing.map_or(AuditOutcome::Success, |_| AuditOutcome::Failure);
        let mut audit = AuditEntry::new(AuditAction::Verify, outcome, context).with_integration(id, owner);
        audit.error = failing.map(|found| ReasonCode::new(found.status.as_str()));
        let recorded = self.shared.ports.records.append(&[audit]).await;
        recorded.map_err(|error| store_error(&error))?;
        Ok(Verification {
            integration: self.view(&opened.stored),
            features,
            verified_at: self.shared.now(),
        })
    }

    /// The account with a token that has not ended.
    async fn to_try(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: &RequestContext,
    ) -> ServiceResult<Box<Opened>> {
        let opened = self.open_own(owner, id).await?;
        let now = self.shared.now();
        let grant = opened.stored.grant.as_ref();
        if grant.is_some_and(|grant| grant.expires_at.is_none_or(|end| end > now)) {
            return Ok(opened);
        }
        self.refresh(owner, id, context.clone()).await?;
        self.open_own(owner, id).await
    }

    async fn open_own(&self, owner: &Subject, id: &IntegrationId) -> ServiceResult<Box<Opened>> {
        let not_found = ServiceError::not_found("integration");
        let opened = opened::load(&self.shared, id).await?.ok_or(not_found.clone())?;
        if opened.stored.id != *id || !opened::owned(&opened.stored, Some(owner)) {
            return Err(not_found);
        }
        match (opened.stored.standing.status, &opened.stored.standing.reason) {
            (Status::Revoked, _) => Err(not_found),
            (Status::ReauthRequired, reason) => Err(ServiceError::ReauthRequired {
                reason: reason.clone().unwrap_or_else(|| ReasonCode::new("unknown")),
                integration_id: id.clone(),
            }),
            _ => Ok(opened),
        }
    }

    /// One after the other: it is one user's budget at the provider.
    async fn try_all(&self, opened: &Opened) -> ServiceResult<Vec<FeatureHealth>> {
        let provider = self.shared.provider(&opened.stored.id.provider);
        let provider = provider.ok_or(ServiceError::Internal)?.clone();
        let (stored, token) = (opened.stored.clone(), opened.access_token.clone());
        let on = provider
            .features
            .iter()
            .filter(|spec| stored.features.contains(&spec.key));
        let on: Vec<_> = on.cloned().collect();
        self.run(|shared, _| async move {
            let mut found = Vec::new();
            for spec in on {
                let health = match known(&stored, &spec, shared.now()) {
                    Some(health) => health,
                    None => {
                        let access_token = token.clone().ok_or(ServiceError::NotConnected)?;
                        let request = ProbeRequest {
                            feature: spec.key.clone(),
                            access_token,
                            scopes: stored.scopes.clone(),
                            metadata: stored.metadata.clone(),
                        };
                        tried(&shared, &provider, &spec, request).await
                    }
                };
                found.push(health);
            }
            Ok(found)
        })
        .await
    }
}

impl Health {
    fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Unproven => "unproven",
            Self::MissingScopes => "missing_scopes",
            Self::ConsentRequired => "consent_required",
            Self::TokenRejected => "token_rejected",
            Self::BlockedByAdmin => "blocked_by_admin",
            Self::NotConfigured => "not_configured",
            Self::Unavailable => "unavailable",
            Self::RateLimited => "rate_limited",
            Self::ProviderUnavailable => "provider_unavailable",
        }
    }
}

fn health(feature: &FeatureSpec, status: Health) -> FeatureHealth {
    FeatureHealth {
        feature: feature.key.clone(),
        status,
        who_must_act: status.who_must_act(),
        missing_scopes: ScopeSet::default(),
        consent_lapse: None,
        reason: None,
        retry_after: None,
    }
}

/// What is known of a feature without asking the provider.
fn known(stored: &StoredIntegration, feature: &FeatureSpec, now: Timestamp) -> Option<FeatureHealth> {
    let missing_scopes = feature.missing_scopes(&stored.scopes);
    if !missing_scopes.is_empty() {
        return Some(FeatureHealth {
            missing_scopes,
            ..health(feature, Health::MissingScopes)
        });
    }
    stored.lapse(feature, now).map(|lapse| FeatureHealth {
        consent_lapse: Some(lapse),
        ..health(feature, Health::ConsentRequired)
    })
}

async fn tried(
    shared: &Shared,
    provider: &Provider,
    feature: &FeatureSpec,
    request: ProbeRequest,
) -> FeatureHealth {
    let Some(egress) = shared.egress(&provider.key) else {
        return health(feature, Health::ProviderUnavailable);
    };
    let wish = Wish::waited_for(None, Instant::now() + shared.settings.call_deadline);
    let permit = match egress.admit(wish).await {
        Ok(permit) => permit,
        Err(away) => {
            let (reason, retry_after) = held(away);
            return FeatureHealth {
                reason: Some(reason),
                retry_after: Some(retry_after.as_secs().max(1)),
                ..health(feature, Health::ProviderUnavailable)
            };
        }
    };
    let granted = request.scopes.clone();
    let probed = shared.ports.oauth.probe(&provider.key, request).await;
    // Given back unreported: what a resource answers says nothing of the token endpoint, which the breaker guards.
    drop(permit);
    match probed {
        Ok(probed) => health(feature, health_of(probed, feature, &granted)),
        Err(failure) => FeatureHealth {
            reason: Some(failure.reason),
            retry_after: failure.retry_after.map(|wait| wait.as_secs().max(1)),
            ..health(
                feature,
                match failure.kind {
                    FailureKind::AccountThrottled => Health::RateLimited,
                    FailureKind::Operator => Health::NotConfigured,
                    _ => Health::ProviderUnavailable,
                },
            )
        },
    }
}

fn health_of(probed: Probed, feature: &FeatureSpec, granted: &ScopeSet) -> Health {
    match probed {
        Probed::Works => Health::Works,
        Probed::Unproven => Health::Unproven,
        Probed::TokenRejected => Health::TokenRejected,
        Probed::NotAllowed => Health::MissingScopes,
        // Refused although the scopes are there: then it is not the user who refuses.
        Probed::Forbidden if feature.missing_scopes(granted).is_empty() => Health::BlockedByAdmin,
        Probed::Forbidden => Health::MissingScopes,
        Probed::SwitchedOff => Health::BlockedByAdmin,
        Probed::NotConfigured => Health::NotConfigured,
        Probed::Unavailable => Health::Unavailable,
    }
}
