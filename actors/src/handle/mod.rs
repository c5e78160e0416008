//! [`OAuthManager`]: the typed façade for HTTP handlers and in-process services.
//!
//! What an account's actor owns (its token, its refresh, its revocation) is asked by message, through the registry; this
//! is the only file that uses ractor's `call`, always with a deadline. What is only a row (flows, consents, audit,
//! sessions) is read and written by functions run as tracked effects: no actor stands between, because there is nothing
//! to put in order, and a caller that hangs up aborts nothing half-way.

mod accounts;
mod consents;
mod features;
mod flows;
mod operator;
mod ready;
mod records;
mod tokens;
mod users;
mod verify;

use std::{
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ractor::{ActorRef, Message, RpcReplyPort, rpc::CallResult};
use tokio::sync::oneshot;

use crate::{
    address::Address,
    audit::{AuditHandle, AuditMsg},
    clients::Clients,
    domain::{
        Timestamp,
        error::ServiceError,
        ids::{IntegrationId, ProviderKey},
        provider::Provider,
    },
    integration::message::IntegrationMsg,
    provider::message::ProviderMsg,
    registry::RegistryMsg,
    shared::{Shared, until},
};

pub use crate::domain::error::ServiceResult;
pub use crate::readiness::Readiness;
pub use crate::{
    audit::AuditQueue,
    explanation::Explanation,
    provider::{
        egress_view::{BreakerState, EgressView},
        message::{Observation, Quarantined},
    },
    shared::Look,
};
pub use accounts::SharedGrant;
pub use consents::Withdrawn;
pub use features::{FeatureAccount, FeatureView, SwitchedOff, SwitchedOn};
pub use operator::{
    Account, ActorsOverview, Explained, Filter, KeyOverview, ProviderActors, ProviderOverview, SchedulerView,
};
pub use verify::{FeatureHealth, Health, Verification};

/// When to come again while the tree is being restarted.
const RESTARTING: ServiceError = ServiceError::Overloaded {
    detail: "the service is restarting a part of itself",
    retry_after: Duration::from_secs(1),
};

/// A handle on the running system. Cheap to clone.
#[derive(Clone)]
pub struct OAuthManager {
    pub(crate) shared: Arc<Shared>,
    registry: Address<RegistryMsg>,
    clients: Arc<Clients>,
}

impl std::fmt::Debug for OAuthManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthManager").finish_non_exhaustive()
    }
}

// === impl OAuthManager ===

impl OAuthManager {
    pub(crate) fn new(shared: Arc<Shared>, registry: Address<RegistryMsg>) -> Self {
        Self {
            shared,
            registry,
            clients: Arc::default(),
        }
    }

    /// Asks, and once more if whoever was to answer ended before: fit for what may be done twice.
    async fn ask_twice<T: Send + 'static>(
        &self,
        question: impl Fn(RpcReplyPort<ServiceResult<T>>) -> ServiceResult<RegistryMsg>,
    ) -> ServiceResult<T> {
        match self.ask_once(&question).await {
            Some(answer) => answer,
            None => self.ask_once(&question).await.unwrap_or(Err(RESTARTING)),
        }
    }

    /// Asks through the registry. `None`: whoever was to answer ended before it did.
    async fn ask_once<T: Send + 'static>(
        &self,
        question: impl FnOnce(RpcReplyPort<ServiceResult<T>>) -> ServiceResult<RegistryMsg>,
    ) -> Option<ServiceResult<T>> {
        let (sender, receiver) = oneshot::channel();
        let message = match question(sender.into()) {
            Ok(message) => message,
            Err(error) => return Some(Err(error)),
        };
        if let Err(RegistryMsg::Route(_, message)) = self.registry.cast(message) {
            message.refuse(RESTARTING);
        }
        match tokio::time::timeout(self.shared.settings.call_deadline, receiver).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(_dropped)) => None,
            Err(_elapsed) => Some(Err(ServiceError::DeadlineExceeded)),
        }
    }

    /// What each provider's supervisor tells of itself.
    pub async fn observe(&self, provider: &ProviderKey) -> ServiceResult<Observation> {
        let (sender, receiver) = oneshot::channel();
        let message = RegistryMsg::Route(provider.clone(), ProviderMsg::Observe(sender.into()));
        if self.registry.cast(message).is_err() {
            return Err(RESTARTING);
        }
        match tokio::time::timeout(self.shared.settings.call_deadline, receiver).await {
            Ok(Ok(observation)) => Ok(observation),
            Ok(Err(_)) => Err(RESTARTING),
            Err(_) => Err(ServiceError::DeadlineExceeded),
        }
    }

    /// How long ago that was; zero if it is yet to come.
    pub fn age_of(&self, at: Timestamp) -> Duration {
        until(at, self.shared.now())
    }

    /// Makes the actor of this account fail, as a defect would.
    #[cfg(any(test, feature = "testing"))]
    pub fn inject_panic(&self, id: &IntegrationId) {
        let _ = self.registry.cast(to(id, IntegrationMsg::Panic));
    }

    /// Makes the handling of the next `times` messages of this kind fail, as a defect would, in whichever account gets it.
    #[cfg(any(test, feature = "testing"))]
    pub fn set_trap(&self, kind: &'static str, times: usize) {
        self.shared.trap.set(kind, times);
    }

    /// How many failures the trap has not caused yet.
    #[cfg(any(test, feature = "testing"))]
    pub fn trap_left(&self) -> usize {
        self.shared.trap.left()
    }

    /// Makes a provider's supervisor fail, as a defect would.
    #[cfg(any(test, feature = "testing"))]
    pub fn inject_provider_panic(&self, provider: &ProviderKey) {
        let _ = self
            .registry
            .cast(RegistryMsg::Route(provider.clone(), ProviderMsg::Panic));
    }

    /// Every known provider, configured or not.
    pub fn providers(&self) -> &[Arc<Provider>] {
        &self.shared.providers
    }

    /// One provider.
    ///
    /// # Errors
    /// Not found; the error names those that exist.
    pub fn provider(&self, key: &ProviderKey) -> ServiceResult<&Arc<Provider>> {
        self.shared.provider(key).ok_or_else(|| ServiceError::NotFound {
            what: "provider",
            known: self
                .shared
                .providers
                .iter()
                .map(|provider| provider.key.to_string())
                .collect(),
        })
    }

    /// From now on this node says that it is not ready, and answers whoever asks all the same: those who send requests
    /// should send them elsewhere before it stops.
    pub fn leave(&self) {
        self.shared.fitness.leaving.store(true, Ordering::Relaxed);
    }

    /// Whether rows need a key that is not configured here, as the program has found out.
    pub fn keys_missing(&self, missing: bool) {
        self.shared.fitness.keys_missing.store(missing, Ordering::Relaxed);
    }

    /// Runs a function to its end, whether or not the caller waits for it.
    async fn run<T, F>(&self, work: impl FnOnce(Arc<Shared>, Address<RegistryMsg>) -> F) -> ServiceResult<T>
    where
        T: Send + 'static,
        F: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        if self.shared.effects.stopping() {
            return Err(RESTARTING);
        }
        let (sender, receiver) = oneshot::channel();
        let work = work(Arc::clone(&self.shared), self.registry.clone());
        self.shared.effects.spawn(async move {
            // The caller may have gone: what was done is done, and recorded.
            let _ = sender.send(work.await);
        });
        match tokio::time::timeout(self.shared.settings.call_deadline, receiver).await {
            Ok(Ok(result)) => result,
            // It panicked: a defect, logged by the runtime.
            Ok(Err(_dropped)) => Err(ServiceError::Internal),
            Err(_elapsed) => Err(ServiceError::DeadlineExceeded),
        }
    }
}

fn to(id: &IntegrationId, message: IntegrationMsg) -> RegistryMsg {
    RegistryMsg::Route(
        id.provider.clone(),
        ProviderMsg::To {
            integration: id.uuid,
            message,
        },
    )
}

/// Waits until every recorded hand-out is written. `false`: not in time.
pub(crate) async fn drain_audit(audit: &AuditHandle, deadline: Duration) -> bool {
    let Some(sink) = audit.address().get() else {
        return false;
    };
    let written = async {
        // A sink that holds too much gives permits back only as it writes, so the first drain runs beside the closing.
        let (first, ()) = tokio::join!(call(&sink, AuditMsg::Drain, deadline), audit.close());
        first?;
        call(&sink, AuditMsg::Drain, deadline).await
    };
    tokio::time::timeout(deadline, written)
        .await
        .ok()
        .flatten()
        .is_some()
}

async fn call<M: Message, T: Send + 'static>(
    actor: &ActorRef<M>,
    question: impl FnOnce(RpcReplyPort<T>) -> M,
    deadline: Duration,
) -> Option<T> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    match actor.call(question, Some(deadline)).await {
        Ok(CallResult::Success(answer)) => Some(answer),
        Ok(CallResult::Timeout | CallResult::SenderError) | Err(_) => None,
    }
}
