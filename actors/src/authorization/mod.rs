//! Connect flows: begin, open, callback, confirm, connect. Flows are rows with a lifetime, not actors: anyone can begin
//! one, and any node can finish it. These functions run as tracked effects, so that a browser that hangs up does not
//! abort an exchange half-way.

pub(crate) mod begin;
pub(crate) mod callback;
pub(crate) mod confirm;
pub(crate) mod connect;
pub(crate) mod open;
mod refusal;
mod sealing;
pub(crate) mod staged;
mod standing;
mod stray;
mod widening;

use self::widening::Worse;
use crate::{
    domain::{
        authorization::AuthorizationStatus,
        error::ServiceError,
        reason::{ReasonCode, WhoMustAct},
    },
    ports::oauth::{FailureKind, ProviderFailure},
    provider::{breaker::OpenCause, egress::Held},
    shared::Shared,
};

/// A flow that came back and connected nothing.
#[derive(Debug)]
pub(crate) struct NotConnected {
    /// What the caller is told.
    pub(crate) error: ServiceError,
    /// How the flow stands then.
    pub(crate) status: AuthorizationStatus,
    /// Why, as kept with the flow and in the audit.
    pub(crate) reason: ReasonCode,
    /// Why, as told to the browser.
    pub(crate) shown: ReasonCode,
}

impl NotConnected {
    fn because(error: ServiceError, status: AuthorizationStatus, reason: &str) -> Self {
        Self {
            error,
            status,
            reason: ReasonCode::new(reason),
            shown: ReasonCode::new(reason),
        }
    }
}

impl From<ServiceError> for NotConnected {
    fn from(error: ServiceError) -> Self {
        let shown = ReasonCode::new(error.code());
        let reason = match &error {
            ServiceError::ProviderError { reason, .. }
            | ServiceError::ProviderUnavailable { reason, .. }
            | ServiceError::ProviderPaused { reason, .. } => reason.clone(),
            _ => shown.clone(),
        };
        Self {
            error,
            status: AuthorizationStatus::Failed,
            reason,
            shown,
        }
    }
}

impl From<Worse> for NotConnected {
    fn from(worse: Worse) -> Self {
        match worse {
            Worse::Nothing(error) => Self::because(error, AuthorizationStatus::Denied, "nothing_granted"),
            Worse::Narrower(error) => Self::because(error, AuthorizationStatus::Failed, "would_narrow"),
        }
    }
}

/// The same where the call may have failed before it was made: what keeps a provider from being used at all is neither the
/// user's to mend nor over in a moment.
fn unusable_or(shared: &Shared, failure: &ProviderFailure) -> ServiceError {
    if !is_unprepared(shared, failure) {
        return provider_error(failure);
    }
    ServiceError::ProviderPaused {
        reason: failure.reason.clone(),
        retry_after: failure.retry_after.unwrap_or(shared.settings.breaker_interval),
    }
}

/// Whether the provider was not asked at all, because of a problem that stands in the way of everything there.
fn is_unprepared(shared: &Shared, failure: &ProviderFailure) -> bool {
    let problem = shared.ports.oauth.problem(&failure.provider);
    problem.is_some_and(|problem| problem.what == failure.reason)
}

/// What a provider's failure is to whoever connects.
fn provider_error(failure: &ProviderFailure) -> ServiceError {
    let retry_after = failure.retry_after.unwrap_or(std::time::Duration::from_secs(5));
    let reason = failure.reason.clone();
    match failure.kind {
        FailureKind::Passing | FailureKind::AccountThrottled | FailureKind::OutcomeUnknown => {
            ServiceError::ProviderUnavailable { reason, retry_after }
        }
        FailureKind::Operator => ServiceError::ProviderPaused { reason, retry_after },
        FailureKind::DeadGrant | FailureKind::Interaction => {
            // A code that does not hold: the flow is over, and the user begins again.
            ServiceError::ProviderError {
                reason,
                who_must_act: WhoMustAct::User,
            }
        }
        FailureKind::Admin
        | FailureKind::Tenant
        | FailureKind::BadRequest
        | FailureKind::Unreadable
        | FailureKind::Refused
        | FailureKind::Unclear => ServiceError::ProviderError {
            reason,
            who_must_act: failure.who_must_act(),
        },
    }
}

/// Why a provider is left alone at the moment, and until when.
pub(crate) fn held(held: Held) -> (ReasonCode, std::time::Duration) {
    match held.cause {
        OpenCause::Operator(reason) | OpenCause::Outage(reason) => (reason, held.retry_after),
    }
}
