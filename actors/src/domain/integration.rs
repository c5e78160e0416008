//! An integration: one connected account, as stored and as shown.

use std::{collections::BTreeSet, str::FromStr};

use serde::Serialize;

use super::{
    Timestamp,
    account::Account,
    consent::{Agreement, Agreements, Lapse, WordingVersion},
    error::ServiceError,
    feature::{FeatureKey, FeatureSpec, FeatureState, FeatureStatus},
    ids::{AttemptId, IntegrationId, InvalidId, NodeId, Subject, UserId},
    provider::Provider,
    reason::{ReasonCode, WhoMustAct},
    scope::ScopeSet,
    sealed::{KeyContext, SealContext, Sealed, SealedColumn, WrappedKey},
};

/// The key in an integration's metadata that says what kind of account it is, where a dialect can tell.
pub const ACCOUNT_KIND: &str = "account_kind";
/// A person's own account, which no organisation administers.
pub const PERSONAL: &str = "personal";
/// An account at work or school.
pub const WORK: &str = "work";

/// How an integration stands (design, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Being connected.
    Pending,
    /// Works.
    Active,
    /// The last refresh failed and is retried; the token may still be good.
    Degraded,
    /// The provider refused for good; the user must reconnect.
    ReauthRequired,
    /// The operator's or an administrator's fault; nothing the user could mend.
    Paused,
    /// Taken back.
    Revoked,
}

impl Status {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::ReauthRequired => "reauth_required",
            Self::Paused => "paused",
            Self::Revoked => "revoked",
        }
    }
}

impl FromStr for Status {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        [
            Self::Pending,
            Self::Active,
            Self::Degraded,
            Self::ReauthRequired,
            Self::Paused,
            Self::Revoked,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
        .ok_or(InvalidId {
            what: "integration status",
        })
    }
}

/// A status with its reason and whose move it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The status.
    pub status: Status,
    /// Why, unless all is well.
    pub reason: Option<ReasonCode>,
    /// Whose move it is, unless all is well.
    pub who_must_act: Option<WhoMustAct>,
}

impl Standing {
    /// All is well.
    pub fn active() -> Self {
        Self {
            status: Status::Active,
            reason: None,
            who_must_act: None,
        }
    }

    /// Something is not, for this reason.
    pub fn because(status: Status, reason: ReasonCode, who_must_act: WhoMustAct) -> Self {
        Self {
            status,
            reason: Some(reason),
            who_must_act: Some(who_must_act),
        }
    }
}

/// Who owns an integration: the row's key for sealing, the subject for everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's row.
    pub user_id: UserId,
    /// The user's name in the application.
    pub subject: Subject,
}

/// A claim on a refresh: the write-ahead intent (design, section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Which attempt holds it.
    pub attempt: AttemptId,
    /// On which node.
    pub node: NodeId,
    /// When it was taken, by the database's clock.
    pub since: Timestamp,
    /// Since when the refresh token may have been presented, by the database's clock: when the first of the attempts took
    /// its claim that vanished or lost its answer, one taking over from the other; this one's `since` if there was none.
    pub unsettled_since: Timestamp,
    /// Until when it keeps others off, by the database's clock.
    pub until: Timestamp,
    /// Whether it had run out when the row was read, by the database's clock.
    pub stale: bool,
}

/// The sealed grant of an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    /// One more with every change of tokens; the fence of every write.
    pub generation: i64,
    /// The integration's data key, wrapped.
    pub data_key: WrappedKey,
    /// The access token, sealed for this generation.
    pub access_token: Sealed,
    /// The refresh token, if the provider gave one, sealed for this generation.
    pub refresh_token: Option<Sealed>,
    /// `Bearer`.
    pub token_type: String,
    /// When the access token was obtained.
    pub issued_at: Timestamp,
    /// When the access token ends; `None`: unknown.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends; `None`: unknown.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// Since when that end is known.
    pub refresh_token_since: Option<Timestamp>,
    /// When a token was last asked for, to the hour.
    pub last_used_at: Timestamp,
    /// When work falls due: a refresh, or (revoked) telling the provider. `None`: never by itself.
    pub next_refresh_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// The claim on it, live or stale.
    pub claim: Option<Claim>,
}

/// An integration as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredIntegration {
    /// Which.
    pub id: IntegrationId,
    /// Whose.
    pub owner: Owner,
    /// At the provider.
    pub account: Account,
    /// How it stands.
    pub standing: Standing,
    /// Granted scopes, normalised.
    pub scopes: ScopeSet,
    /// What the user switched on.
    pub features: BTreeSet<FeatureKey>,
    /// What stands agreed to for it.
    pub agreements: Agreements,
    /// What a dialect needs later (tenant, workspace, bot); bounded, never secret.
    pub metadata: serde_json::Value,
    /// When it was first connected.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When a token was last obtained by refreshing.
    pub last_refreshed_at: Option<Timestamp>,
    /// Its tokens; `None` once forgotten.
    pub grant: Option<StoredGrant>,
}

impl StoredIntegration {
    /// Whose data key its secrets are sealed with.
    pub fn key_context(&self) -> KeyContext {
        KeyContext {
            record: self.id.uuid,
            user: self.owner.user_id,
            provider: self.id.provider.clone(),
        }
    }

    /// What stands agreed to for a feature that is on.
    pub fn agreement(&self, feature: &FeatureKey) -> Option<Agreement> {
        // Switched on before versions were kept: to the first words there were.
        let first = Agreement {
            wording: WordingVersion::FIRST,
            expires_at: None,
            withdrawn: false,
        };
        let is_on = self.features.contains(feature);
        is_on.then(|| self.agreements.features.get(feature).copied().unwrap_or(first))
    }

    /// Why what was agreed to for this feature does not hold at this moment, if so.
    pub fn lapse(&self, feature: &FeatureSpec, now: Timestamp) -> Option<Lapse> {
        match self.agreement(&feature.key) {
            Some(agreement) => agreement.lapse(feature.wording_version, now),
            None => Some(Lapse::Withdrawn),
        }
    }

    /// Whether this account can have the feature at all.
    ///
    /// # Errors
    /// It is a personal one, and the feature is for work and school accounts only.
    pub fn may_have(&self, feature: &FeatureSpec) -> Result<(), ServiceError> {
        let is_personal = self.metadata.get(ACCOUNT_KIND).and_then(|kind| kind.as_str()) == Some(PERSONAL);
        if feature.notes.work_account_only && is_personal {
            return Err(ServiceError::invalid(format!(
                "{} needs a work or school account, and this one is personal: connect another account for it",
                feature.key
            )));
        }
        Ok(())
    }

    /// Where a secret of this generation belongs.
    pub fn seal_context(&self, column: SealedColumn, generation: i64) -> SealContext {
        SealContext {
            key: self.key_context(),
            column,
            generation,
        }
    }
}

/// An integration as shown to its owner and to services (design, section 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrationView {
    /// External id.
    pub id: IntegrationId,
    /// Provider key.
    pub provider: super::ids::ProviderKey,
    /// The account at the provider.
    pub account: Account,
    /// How it stands.
    pub status: Status,
    /// Why.
    pub status_reason: Option<ReasonCode>,
    /// Whose move it is; absent when all is well.
    pub who_must_act: Option<WhoMustAct>,
    /// What is switched on, and how each stands.
    pub features: Vec<FeatureState>,
    /// Granted scopes.
    pub scopes: ScopeSet,
    /// First connected.
    pub created_at: Timestamp,
    /// Last changed.
    pub updated_at: Timestamp,
    /// Last refreshed.
    pub last_refreshed_at: Option<Timestamp>,
    /// End of the access token.
    pub access_token_expires_at: Option<Timestamp>,
    /// When the next refresh is planned.
    pub next_refresh_at: Option<Timestamp>,
}

impl IntegrationView {
    /// What is shown of this row.
    pub fn of(stored: &StoredIntegration, provider: Option<&Provider>, now: Timestamp) -> Self {
        let grant = stored
            .grant
            .as_ref()
            .filter(|_| stored.standing.status != Status::Revoked);
        Self {
            id: stored.id.clone(),
            provider: stored.id.provider.clone(),
            account: stored.account.clone(),
            status: stored.standing.status,
            status_reason: stored.standing.reason.clone(),
            who_must_act: stored.standing.who_must_act,
            features: stored
                .features
                .iter()
                .map(|key| feature_state(stored, provider, key, now))
                .collect(),
            scopes: stored.scopes.clone(),
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            last_refreshed_at: stored.last_refreshed_at,
            access_token_expires_at: grant.and_then(|grant| grant.expires_at),
            next_refresh_at: grant.and_then(|grant| grant.next_refresh_at),
        }
    }
}

/// How one switched-on feature stands for this integration: active exactly when the provider granted its scopes and what
/// its user agreed to still holds.
fn feature_state(
    stored: &StoredIntegration,
    provider: Option<&Provider>,
    key: &FeatureKey,
    now: Timestamp,
) -> FeatureState {
    let spec = provider.and_then(|provider| provider.feature(key));
    let missing_scopes = spec
        .map(|feature| feature.missing_scopes(&stored.scopes))
        .unwrap_or_default();
    let lapse = spec.and_then(|feature| stored.lapse(feature, now));
    let status = match stored.standing.status {
        Status::ReauthRequired => FeatureStatus::ReauthRequired,
        Status::Revoked => FeatureStatus::Inactive,
        Status::Pending | Status::Active | Status::Degraded | Status::Paused => match lapse {
            _ if !missing_scopes.is_empty() => FeatureStatus::MissingScopes,
            Some(_) => FeatureStatus::ConsentRequired,
            None => FeatureStatus::Active,
        },
    };
    FeatureState {
        key: key.clone(),
        status,
        missing_scopes,
        consent_expires_at: stored.agreement(key).and_then(|agreement| agreement.expires_at),
        consent_lapse: lapse,
    }
}
