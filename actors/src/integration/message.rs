//! Messages of an integration: who sends each, and what becomes of it if the actor is gone.

use std::sync::Arc;

use ractor::RpcReplyPort;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::{opened::Opened, refresh::RefreshOutcome, row::Token};
use crate::{
    audit::RecordPermit,
    domain::error::ServiceResult,
    domain::{
        caller::RequestContext,
        client::ServiceClient,
        consent::ConsentView,
        error::ServiceError,
        feature::FeatureKey,
        ids::Subject,
        integration::{IntegrationView, StoredIntegration},
        scope::ScopeSet,
        token::{AccessGrant, ProviderRevocation, RevocationReport, TokenRejection},
    },
    ports::store::Reported,
};

/// Messages of an integration.
#[derive(Debug)]
pub(crate) enum IntegrationMsg {
    /// From outside, by way of the supervisor: a token, please. If the actor ends with it queued, the port is dropped
    /// and the façade asks once more.
    Ask(Box<TokenAsk>),
    /// From outside: refresh now.
    Refresh(Box<RefreshAsk>),
    /// From outside: a service says that the provider's interface did not accept the token.
    Rejected(Box<RejectedAsk>),
    /// From its own effect: the report is durable, for that generation.
    RejectionStored(Box<RejectedAsk>, i64, ServiceResult<Reported>),
    /// From outside: take it back.
    Revoke(Box<RevokeAsk>),
    /// From the façade: its owner switches a feature on or off, or takes a consent back.
    Switch(Box<SwitchAsk>),
    /// From its own effect: the switch is durable (or there was nothing to switch).
    Switched(Box<SwitchAsk>, ServiceResult<Option<Box<StoredIntegration>>>),
    /// From its own timer, or from the Scheduler by way of the supervisor: work may be due.
    Due,
    /// From the supervisor: the Scheduler found work of this awake account due, and this is its row.
    Found(Box<Opened>),
    /// From a connect flow or another node, by way of the supervisor: the row has changed, read it again.
    Reload,
    /// From its own effect: the row as it is now, `None`: it is gone; and which change of it was known when it was read.
    Reloaded(u64, Result<Option<Box<Opened>>, ServiceError>),
    /// From its own effect: the database has gone (`true`) or come back while a refresh is under way, which goes on. Losing this
    /// message makes callers wait.
    Stalled(bool),
    /// From its own effect: how a refresh ended. Durable already; losing this message loses nothing.
    Refreshed(Box<RefreshOutcome>),
    /// From its own effect: the revocation is durable (or there was nothing to revoke).
    RevocationStored(Box<RevokeAsk>, ServiceResult<Option<Box<StoredIntegration>>>),
    /// From its own effect: what the provider said about the revocation.
    ProviderTold(Option<Box<RevokeAsk>>, ProviderRevocation),
    /// From its own effect: a token of these scopes alone, fetched beside the token of that generation; or why there is none.
    Narrowed(i64, ScopeSet, ServiceResult<(AccessGrant, Token)>),
    /// From an effect that panicked.
    EffectFailed,
    /// From tests: a defect.
    #[cfg(any(test, feature = "testing"))]
    Panic,
}

/// Who receives a token.
#[derive(Debug, Clone)]
pub(crate) enum Recipient {
    /// A service client, within its policy.
    Client(Arc<ServiceClient>),
    /// A service in this process: trusted with whatever it asks for.
    InProcess,
}

/// A question for a token.
#[derive(Debug)]
pub(crate) struct TokenAsk {
    pub(crate) recipient: Recipient,
    pub(crate) feature: Option<FeatureKey>,
    pub(crate) scopes: ScopeSet,
    pub(crate) min_ttl: Option<std::time::Duration>,
    pub(crate) context: RequestContext,
    /// Leave to record the hand-out; travels with it.
    pub(crate) permit: RecordPermit,
    /// Other accounts of the user to ask if this one refuses, next one last.
    pub(crate) others: Vec<Uuid>,
    /// The first refusal, answered if the others refuse as well.
    pub(crate) refused: Option<ServiceError>,
    pub(crate) reply: RpcReplyPort<ServiceResult<AccessGrant>>,
}

/// Leave to wish for a refresh or a revocation: mailboxes are unbounded, so what goes into them is not.
#[derive(Debug)]
pub(crate) struct WishPermit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl WishPermit {
    /// Leave, if not too many wish at once.
    pub(crate) fn take(wishes: &Arc<Semaphore>) -> ServiceResult<Self> {
        let permit = Arc::clone(wishes).try_acquire_owned();
        permit.map(Self).map_err(|_| ServiceError::Overloaded {
            detail: "too many refreshes and changes are wished for at once",
            retry_after: super::schedule::RETRY_AFTER_MIN,
        })
    }
}

impl TokenAsk {
    /// What is asked for, apart from time.
    pub(crate) fn need(&self) -> Need<'_> {
        Need {
            recipient: &self.recipient,
            feature: self.feature.as_ref(),
            scopes: &self.scopes,
        }
    }
}

/// What a token is to give, and to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need<'a> {
    pub(crate) recipient: &'a Recipient,
    pub(crate) feature: Option<&'a FeatureKey>,
    pub(crate) scopes: &'a ScopeSet,
}

/// A wish for a refresh.
#[derive(Debug)]
pub(crate) struct RefreshAsk {
    /// Must own it; `None`: the operator.
    pub(crate) owner: Option<Subject>,
    /// Who wished it; the audit of the refresh names them.
    pub(crate) context: RequestContext,
    /// One of the wishes there may be at once; travels with it.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permit: WishPermit,
    pub(crate) reply: RpcReplyPort<ServiceResult<IntegrationView>>,
}

/// A report that a token was rejected.
#[derive(Debug)]
pub(crate) struct RejectedAsk {
    /// Must be one who may receive the token.
    pub(crate) recipient: Recipient,
    pub(crate) rejection: TokenRejection,
    pub(crate) context: RequestContext,
    /// One of the wishes there may be at once; travels with it.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permit: WishPermit,
    /// Whether the rejected token is the present one.
    pub(crate) reply: RpcReplyPort<ServiceResult<bool>>,
}

/// A wish to take it back.
#[derive(Debug)]
pub(crate) struct RevokeAsk {
    /// Must own it; `None`: the operator.
    pub(crate) owner: Option<Subject>,
    pub(crate) context: RequestContext,
    /// One of the wishes there may be at once; travels with it.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permit: WishPermit,
    pub(crate) reply: RpcReplyPort<ServiceResult<RevocationReport>>,
}

/// What a user changes of what an account is used for.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Services may have tokens for this feature.
    On(FeatureKey),
    /// They may not, and what was agreed to for it is withdrawn.
    Off(FeatureKey),
    /// A consent is taken back.
    Withdraw(Box<ConsentView>),
}

/// A wish to change what an account is used for.
#[derive(Debug)]
pub(crate) struct SwitchAsk {
    /// Must own it.
    pub(crate) owner: Subject,
    pub(crate) change: Change,
    pub(crate) context: RequestContext,
    /// One of the wishes there may be at once; travels with it.
    #[expect(dead_code, reason = "held, not read")]
    pub(crate) permit: WishPermit,
    pub(crate) reply: RpcReplyPort<ServiceResult<IntegrationView>>,
}

impl IntegrationMsg {
    /// What kind it is, for tests that make the handling of one fail.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Ask(_) => "ask",
            Self::Refresh(_) => "refresh",
            Self::Rejected(_) => "rejected",
            Self::RejectionStored(..) => "rejection_stored",
            Self::Revoke(_) => "revoke",
            Self::Switch(_) => "switch",
            Self::Switched(..) => "switched",
            Self::Due => "due",
            Self::Found(_) => "found",
            Self::Reload => "reload",
            Self::Reloaded(..) => "reloaded",
            Self::Stalled(_) => "stalled",
            Self::Refreshed(_) => "refreshed",
            Self::RevocationStored(..) => "revocation_stored",
            Self::ProviderTold(..) => "provider_told",
            Self::Narrowed(..) => "narrowed",
            Self::EffectFailed => "effect_failed",
            Self::Panic => "panic",
        }
    }

    /// Answers whoever waits for this message that it cannot be taken.
    pub(crate) fn refuse(self, error: ServiceError) {
        // A port whose other end has gone needs no answer.
        match self {
            Self::Ask(ask) => drop(ask.reply.send(Err(ask.refused.unwrap_or(error)))),
            Self::Refresh(ask) => drop(ask.reply.send(Err(error))),
            Self::Rejected(ask) | Self::RejectionStored(ask, ..) => drop(ask.reply.send(Err(error))),
            Self::Switch(ask) | Self::Switched(ask, _) => drop(ask.reply.send(Err(error))),
            Self::Revoke(ask) | Self::RevocationStored(ask, _) | Self::ProviderTold(Some(ask), _) => {
                drop(ask.reply.send(Err(error)));
            }
            Self::Due
            | Self::Found(_)
            | Self::Reload
            | Self::Reloaded(..)
            | Self::Stalled(_)
            | Self::Refreshed(_)
            | Self::Narrowed(..)
            | Self::EffectFailed
            | Self::ProviderTold(None, _) => {}
            #[cfg(any(test, feature = "testing"))]
            Self::Panic => {}
        }
    }
}
