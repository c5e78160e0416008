//! What can go wrong for a caller, each with who must act. `http/problem.rs` is the only map from here to HTTP.

use std::time::Duration;

use super::{
    consent::Lapse,
    feature::FeatureKey,
    ids::{IntegrationId, ProviderKey},
    reason::{ReasonCode, WhoMustAct},
    scope::ScopeSet,
};

/// The answer of every call.
pub type ServiceResult<T> = Result<T, ServiceError>;

/// A refusal. Its `Display` is a sentence for whoever must act, and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// The request itself is wrong.
    #[error("{detail}")]
    InvalidRequest {
        /// What is wrong, and what would be right.
        detail: String,
        /// The names that exist, where a name was unknown.
        known: Vec<String>,
    },
    /// No credential, or one that does not hold.
    #[error("{detail}")]
    Unauthenticated {
        /// What is missing or wrong.
        detail: String,
    },
    /// The credential does not reach this far.
    #[error("{detail}")]
    Forbidden {
        /// What it lacks.
        detail: String,
    },
    /// The account is connected, but the user did not grant this, or has switched it off.
    #[error("{}", insufficient(missing_scopes, feature.as_ref(), integration_id))]
    InsufficientScope {
        /// What is missing; empty: nothing, the feature is off.
        missing_scopes: ScopeSet,
        /// At which provider to ask for it.
        provider: ProviderKey,
        /// On behalf of which feature.
        feature: Option<FeatureKey>,
        /// Which integration to widen.
        integration_id: IntegrationId,
    },
    /// The provider grants it, and what the user agreed to does not hold any more: they must be asked again.
    #[error("the user must agree to this again: {}", match lapse {
        Lapse::Withdrawn => "they took their consent back",
        Lapse::Expired => "their consent has expired",
        Lapse::WordingChanged => "it means something else than what they agreed to",
    })]
    ConsentRequired {
        /// What became of the consent.
        lapse: Lapse,
        /// At which provider.
        provider: ProviderKey,
        /// To which feature; `None`: to scopes asked for by name.
        feature: Option<FeatureKey>,
        /// For which integration.
        integration_id: IntegrationId,
    },
    /// There is no such thing, or it is somebody else's.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// The names that exist, where that is no secret.
        known: Vec<String>,
    },
    /// The user has no such account connected.
    #[error("the user has not connected this provider")]
    NotConnected,
    /// The user must reconnect.
    #[error("the provider no longer honours this connection; the user must reconnect")]
    ReauthRequired {
        /// Why.
        reason: ReasonCode,
        /// What to reconnect.
        integration_id: IntegrationId,
    },
    /// An administrator at the provider must act.
    #[error("an administrator at the provider must allow this")]
    AdminRequired {
        /// Why.
        reason: ReasonCode,
        /// Which account is concerned.
        integration_id: IntegrationId,
    },
    /// The user came back with another account than the one to be reconnected.
    #[error(
        "the user came back with another account at the provider; confirm this authorization with a choice, keep or connect"
    )]
    AccountMismatch,
    /// The one who confirms is not the one who began.
    #[error("this connection was begun by another user")]
    BindingMismatch,
    /// Too late.
    #[error("{what} has expired; begin again")]
    Expired {
        /// What ran out.
        what: &'static str,
    },
    /// Too many requests.
    #[error("too many requests")]
    RateLimited {
        /// When to come again.
        retry_after: Duration,
    },
    /// The provider answered something we can neither use nor retry.
    #[error("the provider refused or answered what cannot be used")]
    ProviderError {
        /// The provider's code, or ours for what it did.
        reason: ReasonCode,
        /// Whose move it is.
        who_must_act: WhoMustAct,
    },
    /// The provider cannot be reached or has trouble; it is retried.
    #[error("the provider cannot be reached or has trouble; this is retried")]
    ProviderUnavailable {
        /// Why.
        reason: ReasonCode,
        /// When to come again.
        retry_after: Duration,
    },
    /// The operator's configuration of the provider is refused by it; no user can mend that.
    #[error(
        "this service cannot use the provider as it is set up: its operator must act, and nobody else can; nothing is lost"
    )]
    ProviderPaused {
        /// Why.
        reason: ReasonCode,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// This service has too much to do, or its database is away.
    #[error("{detail}")]
    Overloaded {
        /// What is short.
        detail: &'static str,
        /// When to come again.
        retry_after: Duration,
    },
    /// Not done in time; it may still happen.
    #[error("not done in time")]
    DeadlineExceeded,
    /// A defect of this service.
    #[error("internal error")]
    Internal,
}

fn insufficient(missing: &ScopeSet, feature: Option<&FeatureKey>, id: &IntegrationId) -> String {
    match feature {
        Some(feature) if missing.is_empty() => format!(
            "{feature} is off: the provider has granted what it needs, and the user has not switched it on; they do so on \
             their connections page, or with PUT /api/v1/oauth/integrations/{id}/features/{feature}, and need not go to the \
             provider"
        ),
        Some(feature) => format!(
            "the user has not granted what {feature} needs; ask them with POST /api/v1/oauth/authorizations, naming the \
             provider, the feature and the integration_id of upgrade"
        ),
        None => "the user has not granted these scopes; ask them with POST /api/v1/oauth/authorizations, naming the \
                 provider, the scopes and the integration_id of upgrade"
            .to_owned(),
    }
}

impl ServiceError {
    /// The stable code (design, section 6).
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest { .. } => "invalid_request",
            Self::Unauthenticated { .. } => "unauthenticated",
            Self::Forbidden { .. } => "forbidden",
            // To a caller the same: the user must widen what they allow, and `upgrade` says how to ask them.
            Self::InsufficientScope { .. } | Self::ConsentRequired { .. } => "insufficient_scope",
            Self::NotFound { .. } => "not_found",
            Self::NotConnected => "not_connected",
            Self::ReauthRequired { .. } => "reauth_required",
            Self::AdminRequired { .. } => "admin_required",
            Self::AccountMismatch => "account_mismatch",
            Self::BindingMismatch => "binding_mismatch",
            Self::Expired { .. } => "expired",
            Self::RateLimited { .. } => "rate_limited",
            Self::ProviderError { .. } => "provider_error",
            Self::ProviderUnavailable { .. } => "provider_unavailable",
            Self::ProviderPaused { .. } => "provider_paused",
            Self::Overloaded { .. } => "overloaded",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }

    /// Whose move it is.
    pub fn who_must_act(&self) -> WhoMustAct {
        match self {
            Self::InvalidRequest { .. }
            | Self::Unauthenticated { .. }
            | Self::Forbidden { .. }
            | Self::NotFound { .. } => WhoMustAct::Developer,
            Self::InsufficientScope { .. }
            | Self::ConsentRequired { .. }
            | Self::NotConnected
            | Self::ReauthRequired { .. }
            | Self::AccountMismatch
            | Self::BindingMismatch
            | Self::Expired { .. } => WhoMustAct::User,
            Self::AdminRequired { .. } => WhoMustAct::Admin,
            Self::ProviderError { who_must_act, .. } => *who_must_act,
            Self::ProviderPaused { .. } | Self::Internal => WhoMustAct::Operator,
            Self::RateLimited { .. }
            | Self::ProviderUnavailable { .. }
            | Self::Overloaded { .. }
            | Self::DeadlineExceeded => WhoMustAct::Nobody,
        }
    }

    /// When to come again, for those who may.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after }
            | Self::ProviderUnavailable { retry_after, .. }
            | Self::ProviderPaused { retry_after, .. }
            | Self::Overloaded { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// A refused request, in one sentence.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::InvalidRequest {
            detail: detail.into(),
            known: Vec::new(),
        }
    }

    /// Nothing there, or somebody else's: the answer is the same.
    pub fn not_found(what: &'static str) -> Self {
        Self::NotFound {
            what,
            known: Vec::new(),
        }
    }
}
