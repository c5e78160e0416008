//! Connect flows: begin, open, callback, confirm, connect. Flows are rows with a lifetime, not actors: anyone can begin
//! one, and any node can finish it. These functions run as tracked effects, so that a browser that hangs up does not
//! abort an exchange half-way.

pub(crate) mod begin;
pub(crate) mod callback;
pub(crate) mod confirm;
pub(crate) mod connect;
pub(crate) mod open;
mod sealing;

use crate::{
    domain::{
        error::ServiceError,
        reason::{ReasonCode, WhoMustAct},
    },
    ports::oauth::{FailureKind, ProviderFailure},
    provider::{breaker::OpenCause, egress::Held},
};

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
        FailureKind::Admin | FailureKind::Unreadable | FailureKind::Refused => ServiceError::ProviderError {
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
