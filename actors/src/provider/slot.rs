//! A slot: what a supervisor knows of one account, and the messages that wait while it has no actor.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use crate::{
    domain::error::ServiceError,
    integration::{message::IntegrationMsg, schedule::RETRY_AFTER_MIN},
    shelf::Activity,
    supervision::{RestartBudget, RestartPolicy},
};

/// Messages that may wait for one account to wake: a restart takes milliseconds, and more than this is a flood.
const BACKLOG_MAX: usize = 1_024;

/// One account.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) occupancy: Occupancy,
    backlog: Vec<IntegrationMsg>,
    pub(super) budget: RestartBudget,
    /// When somebody asked for it; `None`: it was woken for its own work alone.
    pub(super) last_used: Option<Instant>,
}

/// Whether there is an actor.
#[derive(Debug)]
pub(super) enum Occupancy {
    /// Its row is being read.
    Waking,
    /// It is there.
    Awake {
        actor: ActorRef<IntegrationMsg>,
        activity: Arc<Activity>,
    },
    /// It handles what it has and ends; what comes now waits for its successor.
    FallingAsleep,
    /// It failed and is started again soon.
    Restarting,
    /// It failed too often; one is started on probation then.
    Quarantined { until: Instant },
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is with the actor, or waits for it.
    Taken,
    /// The actor has gone without its supervisor knowing yet; the message waits for the next one.
    Waiting,
}

// === impl Slot ===

impl Slot {
    pub(super) fn waking(last_used: Option<Instant>) -> Self {
        Self {
            occupancy: Occupancy::Waking,
            backlog: Vec::new(),
            budget: RestartBudget::new(RestartPolicy::INTEGRATION),
            last_used,
        }
    }

    /// Gives a message to the actor, or keeps it until there is one.
    pub(super) fn deliver(&mut self, message: IntegrationMsg, now: Instant) -> Delivery {
        match &self.occupancy {
            Occupancy::Awake { actor, .. } => match actor.cast(message) {
                Ok(()) => Delivery::Taken,
                Err(ractor::MessagingErr::SendErr(message)) => {
                    self.keep(message);
                    Delivery::Waiting
                }
                Err(ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType) => {
                    Delivery::Waiting
                }
            },
            Occupancy::Waking | Occupancy::FallingAsleep | Occupancy::Restarting => {
                self.keep(message);
                Delivery::Taken
            }
            Occupancy::Quarantined { until } => {
                message.refuse(ServiceError::Overloaded {
                    detail: "this account's actor failed repeatedly and is in quarantine; its operator is told",
                    retry_after: until.saturating_duration_since(now).max(RETRY_AFTER_MIN),
                });
                Delivery::Taken
            }
        }
    }

    fn keep(&mut self, message: IntegrationMsg) {
        let is_hint =
            |message: &IntegrationMsg| matches!(message, IntegrationMsg::Reload | IntegrationMsg::Due);
        if is_hint(&message)
            && let Some(last) = self.backlog.last()
            && std::mem::discriminant(last) == std::mem::discriminant(&message)
        {
            return; // Said already: a flood of hints takes no questions' places.
        }
        if self.backlog.len() < BACKLOG_MAX {
            self.backlog.push(message);
        } else {
            message.refuse(ServiceError::Overloaded {
                detail: "too many requests wait for this account",
                retry_after: RETRY_AFTER_MIN,
            });
        }
    }

    /// What waits, in order.
    pub(super) fn take_backlog(&mut self) -> Vec<IntegrationMsg> {
        std::mem::take(&mut self.backlog)
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether it has been idle since before `deadline` and nothing is under way.
    pub(super) fn may_sleep(&mut self, deadline: Instant, now: Instant) -> bool {
        match &self.occupancy {
            Occupancy::Awake { activity, .. } => {
                if activity.was_taken() {
                    self.last_used = Some(now);
                }
                self.last_used.is_none_or(|at| at <= deadline) && !activity.is_busy()
            }
            Occupancy::Waking
            | Occupancy::FallingAsleep
            | Occupancy::Restarting
            | Occupancy::Quarantined { .. } => false,
        }
    }
}
