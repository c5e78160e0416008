//! Messages of a provider's supervisor.

use ractor::RpcReplyPort;
use uuid::Uuid;

use super::egress_view::EgressView;
use crate::{
    domain::error::ServiceResult,
    domain::{
        Timestamp,
        error::ServiceError,
        ids::{IntegrationId, Subject},
    },
    integration::{
        message::{IntegrationMsg, TokenAsk},
        opened::Opened,
    },
    ports::store::DirectoryEntry,
};

/// Messages of a provider's supervisor.
#[derive(Debug)]
pub(crate) enum ProviderMsg {
    /// From the Registry or an integration: for this account, waking it if it sleeps.
    To {
        integration: Uuid,
        message: IntegrationMsg,
    },
    /// From the Registry: for whichever of the user's accounts gives what is asked.
    ToUser {
        subject: Subject,
        account: Option<String>,
        ask: Box<TokenAsk>,
    },
    /// From the Scheduler: work is due for these accounts, and these are their rows.
    Due(Vec<Opened>),
    /// From a connect flow or another node: this account's row has changed.
    Changed {
        integration: Uuid,
        subject: Option<Subject>,
    },
    /// From its own effect: a row to wake an account with; `None`: there is no such row.
    Hydrated(Uuid, Result<Option<Box<Opened>>, ServiceError>),
    /// From its own effect: a user's accounts.
    DirectoryRead(Subject, ServiceResult<Vec<DirectoryEntry>>),
    /// From its own timer: an account whose restart pause is over.
    Restart(Uuid),
    /// From its own timer: put idle accounts to sleep, forget what is old.
    Sweep,
    /// From the façade, for operators and tests: what is here.
    Observe(RpcReplyPort<Observation>),
    /// From tests: a defect of the supervisor itself.
    #[cfg(any(test, feature = "testing"))]
    Panic,
}

/// What a supervisor can tell of itself.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Observation {
    /// Accounts that are awake.
    pub awake: usize,
    /// Accounts being woken, put to sleep or restarted.
    pub in_transit: usize,
    /// Accounts in quarantine after failing too often.
    pub quarantined: usize,
    /// Which these are, the first few of them.
    pub quarantine: Vec<Quarantined>,
    /// Users whose accounts are known without asking the database.
    pub users: usize,
    /// Restarts since the start.
    pub restarts: u64,
    /// Why the breaker is open, if it is.
    pub breaker: Option<String>,
    /// The way out: breaker, budget, queue.
    pub egress: Option<EgressView>,
    /// Which of two configured client secrets the provider takes: `first` or `next`.
    pub client_secret: Option<&'static str>,
}

/// An account in quarantine.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Quarantined {
    /// Which.
    pub id: IntegrationId,
    /// When it is tried again.
    pub until: Timestamp,
}

impl ProviderMsg {
    /// Answers whoever waits for this message that it cannot be taken.
    pub(crate) fn refuse(self, error: ServiceError) {
        match self {
            Self::To { message, .. } => message.refuse(error),
            Self::ToUser { ask, .. } => IntegrationMsg::Ask(ask).refuse(error),
            // A dropped port tells its caller at once.
            Self::Observe(_)
            | Self::Due(_)
            | Self::Changed { .. }
            | Self::Hydrated(..)
            | Self::DirectoryRead(..)
            | Self::Restart(_)
            | Self::Sweep => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Panic => {}
        }
    }
}
