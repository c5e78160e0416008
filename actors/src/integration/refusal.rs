//! Why an account gives nothing now, and whose move it is: pure, by its phase and its row.

use super::{
    lifecycle::{Hold, Phase, Refusal, State},
    schedule,
};
use crate::{
    domain::{
        Timestamp,
        reason::{ReasonCode, WhoMustAct},
    },
    provider::breaker::OpenCause,
    shared::until,
};

impl State {
    /// Why the last attempt failed, while the account is left alone for it.
    pub(crate) fn failing(&self, now: Timestamp) -> Option<Refusal> {
        let is_failing = matches!(
            &self.phase,
            Phase::BackedOff {
                hold: Hold::Failing,
                ..
            }
        );
        is_failing.then(|| self.refusal(now))
    }

    /// Why nothing can be had now, and whose move it is.
    pub(super) fn refusal(&self, now: Timestamp) -> Refusal {
        let reason = self
            .row
            .standing
            .reason
            .clone()
            .unwrap_or_else(|| ReasonCode::new("unknown"));
        match &self.phase {
            Phase::Revoked => Refusal::NotConnected,
            Phase::ReauthRequired => Refusal::Reauth(reason),
            Phase::Stalled => Refusal::Database {
                retry_after: schedule::RETRY_AFTER_MIN,
            },
            Phase::BackedOff { until: at, hold } => {
                // Whoever is told to wait is told a time that a person can wait, even where none is planned.
                let retry_after = until(now, *at).clamp(schedule::RETRY_AFTER_MIN, schedule::PAUSED_RETRY);
                match hold {
                    Hold::Database => Refusal::Database { retry_after },
                    Hold::Breaker(OpenCause::Operator(reason)) => Refusal::Operator {
                        reason: reason.clone(),
                        retry_after,
                    },
                    Hold::Breaker(OpenCause::Outage(reason)) => Refusal::Unavailable {
                        reason: reason.clone(),
                        retry_after,
                    },
                    Hold::Failing => match self.row.standing.who_must_act {
                        Some(WhoMustAct::Admin) => Refusal::Admin(reason),
                        Some(WhoMustAct::Operator | WhoMustAct::Developer) => {
                            Refusal::Operator { reason, retry_after }
                        }
                        Some(WhoMustAct::User | WhoMustAct::Nobody) | None => {
                            Refusal::Unavailable { reason, retry_after }
                        }
                    },
                }
            }
            Phase::Active | Phase::Refreshing | Phase::RefreshedElsewhere { .. } => Refusal::Unavailable {
                reason,
                retry_after: schedule::RETRY_AFTER_MIN,
            },
        }
    }
}
