//! [`OAuthManager`]: the typed façade for HTTP handlers and in-process services.
//!
//! What an account's actor owns (its token, its refresh, its revocation) is asked by message, through the registry; this
//! is the only file that uses ractor's `call`, always with a deadline. What is only a row (flows, consents, audit,
//! sessions) is read and written by functions run as tracked effects: no actor stands between, because there is nothing
//! to put in order, and a caller that hangs up aborts nothing half-way.

use std::{future::Future, sync::Arc, time::Duration};

use ractor::{ActorRef, Message, RpcReplyPort, rpc::CallResult};
use tokio::sync::oneshot;

use crate::{
    address::Address,
    audit::{AuditHandle, AuditMsg},
    authorization, catalogue,
    clients::Clients,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome, AuditView},
        authorization::{
            AuthorizationRequest, AuthorizationView, BegunAuthorization, CallbackBrowser, CallbackOutcome,
            CallbackParams, ConnectRedirect,
        },
        caller::{Actor, RequestContext},
        client::ServiceClient,
        consent::ConsentView,
        error::ServiceError,
        feature::FeatureKey,
        ids::{AuthorizationId, IntegrationId, ProviderKey, Subject},
        integration::IntegrationView,
        page::{Page, PageRequest},
        provider::Provider,
        reason::ReasonCode,
        secret::{Confirmation, ConnectHandle, ServiceCredential, SessionToken},
        session::{OpenedSession, Session, SessionLink, SessionRequest},
        token::{AccessGrant, RevocationReport, TokenRequest, TokenTarget, Want},
    },
    integration::message::{IntegrationMsg, Recipient, RefreshAsk, RevokeAsk, TokenAsk},
    ports::store::StoreError,
    provider::message::ProviderMsg,
    records::store_error,
    registry::RegistryMsg,
    session,
    shared::Shared,
};

pub use crate::provider::message::Observation;

/// The answer of every call.
pub type ServiceResult<T> = Result<T, ServiceError>;

/// When to come again while the tree is being restarted.
const RESTARTING: ServiceError = ServiceError::Overloaded {
    detail: "the service is restarting a part of itself",
    retry_after: Duration::from_secs(1),
};

/// Whether each part is ready to work, for `/ready`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Readiness {
    /// The database answers.
    pub database: bool,
    /// Its schema is the one this program knows.
    pub migrations: bool,
    /// A key is configured and is the one the database was sealed with.
    pub keys: bool,
    /// The actor system runs and takes work.
    pub actors: bool,
}

impl Readiness {
    /// Whether all of it is.
    pub fn all(&self) -> bool {
        self.database && self.migrations && self.keys && self.actors
    }
}

/// A handle on the running system. Cheap to clone.
#[derive(Clone)]
pub struct OAuthManager {
    shared: Arc<Shared>,
    registry: Address<RegistryMsg>,
    clients: Arc<Clients>,
}

impl std::fmt::Debug for OAuthManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OAuthManager").finish_non_exhaustive()
    }
}

// === impl OAuthManager: what is asked by message ===

impl OAuthManager {
    pub(crate) fn new(shared: Arc<Shared>, registry: Address<RegistryMsg>) -> Self {
        Self {
            shared,
            registry,
            clients: Arc::default(),
        }
    }

    /// For in-process services: a token that carries the feature and is good for at least `min_ttl`.
    ///
    /// # Errors
    /// As [`issue_token`](Self::issue_token), without a policy.
    pub async fn access_token(
        &self,
        user: &Subject,
        feature: &FeatureKey,
        min_ttl: Duration,
    ) -> ServiceResult<AccessGrant> {
        let want = Want {
            feature: Some(feature.clone()),
            ..Want::default()
        };
        let target = TokenTarget::User {
            subject: user.clone(),
            want,
            account: None,
        };
        let request = TokenRequest { target, min_ttl };
        self.ask_token(&request, &Recipient::InProcess, RequestContext::system())
            .await
    }

    /// A token for a service client (`context.actor`), within its policy; recorded either way.
    ///
    /// # Errors
    /// A reason with who must act: not connected, reconnect, missing scope, beyond the policy, provider or database away,
    /// too much to do. Never a token that is about to end, never silence.
    pub async fn issue_token(
        &self,
        request: TokenRequest,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        let Actor::Service(client) = &context.actor else {
            return Err(ServiceError::Forbidden {
                detail: "only services receive tokens".into(),
            });
        };
        let recipient = Recipient::Client(Arc::clone(client));
        self.ask_token(&request, &recipient, context).await
    }

    async fn ask_token(
        &self,
        request: &TokenRequest,
        recipient: &Recipient,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        let wanted = catalogue::wanted(&self.shared.providers, &request.target)?;
        if let Err(error) = catalogue::within_policy(&wanted, recipient) {
            self.record_refusal(&request.target, &wanted.provider.key, &error, context);
            return Err(error);
        }
        let key = wanted.provider.key.clone();
        let question = |reply| -> ServiceResult<RegistryMsg> {
            let ask = Box::new(TokenAsk {
                recipient: recipient.clone(),
                feature: wanted.feature.clone(),
                scopes: wanted.scopes.clone(),
                min_ttl: request.min_ttl,
                context: context.clone(),
                permit: self.shared.audit.permit()?,
                others: Vec::new(),
                refused: None,
                reply,
            });
            Ok(RegistryMsg::Route(
                key.clone(),
                match &request.target {
                    TokenTarget::Integration(id) => ProviderMsg::To {
                        integration: id.uuid,
                        message: IntegrationMsg::Ask(ask),
                    },
                    TokenTarget::User { subject, account, .. } => ProviderMsg::ToUser {
                        subject: subject.clone(),
                        account: account.clone(),
                        ask,
                    },
                },
            ))
        };
        self.ask_twice(question).await
    }

    fn record_refusal(
        &self,
        target: &TokenTarget,
        provider: &ProviderKey,
        error: &ServiceError,
        context: RequestContext,
    ) {
        let mut entry = AuditEntry::new(AuditAction::Denied, AuditOutcome::Denied, context)
            .with_error(ReasonCode::new(error.code()));
        entry.provider = Some(provider.clone());
        match target {
            TokenTarget::Integration(id) => entry.integration_id = Some(id.clone()),
            TokenTarget::User { subject, .. } => entry.subject = Some(subject.clone()),
        }
        if let Ok(permit) = self.shared.audit.permit() {
            self.shared.audit.record(entry, permit);
        }
    }

    /// Refreshes now; answers when it is done.
    ///
    /// # Errors
    /// Not found (or somebody else's), or why it could not be refreshed and who must act.
    pub async fn refresh(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        _context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.refresh_as(Some(owner.clone()), id).await
    }

    /// Refreshes any account: for the operator.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh).
    pub async fn refresh_as_operator(&self, id: &IntegrationId) -> ServiceResult<IntegrationView> {
        self.refresh_as(None, id).await
    }

    async fn refresh_as(&self, owner: Option<Subject>, id: &IntegrationId) -> ServiceResult<IntegrationView> {
        self.known(id)?;
        self.ask_twice(|reply| {
            let ask = Box::new(RefreshAsk {
                owner: owner.clone(),
                reply,
            });
            Ok(to(id, IntegrationMsg::Refresh(ask)))
        })
        .await
    }

    /// Takes an account back: refused here at once, then told to the provider.
    ///
    /// # Errors
    /// Not found (or somebody else's, or taken back already); the database being away.
    pub async fn revoke(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<RevocationReport> {
        self.revoke_as(Some(owner.clone()), id, context).await
    }

    /// Takes any account back: for the operator.
    ///
    /// # Errors
    /// As [`revoke`](Self::revoke).
    pub async fn revoke_as_operator(&self, id: &IntegrationId) -> ServiceResult<RevocationReport> {
        let context = RequestContext {
            actor: Actor::Operator,
            ..RequestContext::system()
        };
        self.revoke_as(None, id, context).await
    }

    async fn revoke_as(
        &self,
        owner: Option<Subject>,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<RevocationReport> {
        self.known(id)?;
        // Asked once: a second try would find it revoked and say "not found".
        self.ask_once(|reply| {
            let ask = Box::new(RevokeAsk {
                owner,
                context,
                reply,
            });
            Ok(to(id, IntegrationMsg::Revoke(ask)))
        })
        .await
        .unwrap_or(Err(RESTARTING))
    }

    /// An id of a provider that does not exist names nothing.
    fn known(&self, id: &IntegrationId) -> ServiceResult<()> {
        self.shared
            .provider(&id.provider)
            .map(|_| ())
            .ok_or(ServiceError::not_found("integration"))
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

    /// Makes the actor of this account fail, as a defect would.
    #[cfg(any(test, feature = "testing"))]
    pub fn inject_panic(&self, id: &IntegrationId) {
        let _ = self.registry.cast(to(id, IntegrationMsg::Panic));
    }

    /// Makes a provider's supervisor fail, as a defect would.
    #[cfg(any(test, feature = "testing"))]
    pub fn inject_provider_panic(&self, provider: &ProviderKey) {
        let _ = self
            .registry
            .cast(RegistryMsg::Route(provider.clone(), ProviderMsg::Panic));
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

// === impl OAuthManager: what is only a row ===

impl OAuthManager {
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

    /// Whether each part is ready.
    pub async fn ready(&self) -> Readiness {
        let store = tokio::time::timeout(Duration::from_secs(2), self.shared.ports.records.ready()).await;
        Readiness {
            database: matches!(store, Ok(Ok(()) | Err(StoreError::Inconsistent { .. }))),
            migrations: matches!(store, Ok(Ok(()))),
            // The program does not come this far without the right key.
            keys: true,
            actors: self.registry.get().is_some() && !self.shared.effects.stopping(),
        }
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

    /// The client with this credential (`oms_…`).
    ///
    /// # Errors
    /// Unauthenticated; or the database being away, for a credential not seen lately.
    pub async fn authenticate_service(
        &self,
        credential: &ServiceCredential,
    ) -> ServiceResult<Arc<ServiceClient>> {
        self.clients.authenticate(&self.shared, credential).await
    }

    /// Begins a connect flow for this user.
    ///
    /// # Errors
    /// What is wrong with the request, with the names that exist.
    pub async fn begin_authorization(
        &self,
        owner: Subject,
        request: AuthorizationRequest,
        context: RequestContext,
    ) -> ServiceResult<BegunAuthorization> {
        self.run(
            |shared, _| async move { authorization::begin::begin(&shared, owner, request, context).await },
        )
        .await
    }

    /// A flow of this user.
    ///
    /// # Errors
    /// Not found, or somebody else's.
    pub async fn authorization(
        &self,
        owner: &Subject,
        id: AuthorizationId,
    ) -> ServiceResult<AuthorizationView> {
        let found = self
            .shared
            .ports
            .authorizations
            .find(owner, id)
            .await
            .map_err(|error| store_error(&error))?;
        found
            .map(|flow| flow.view())
            .ok_or(ServiceError::not_found("authorization"))
    }

    /// A browser opened a connect link.
    ///
    /// # Errors
    /// Not found; expired or used up; the provider's discovery being away.
    pub async fn open_connect_link(
        &self,
        handle: ConnectHandle,
        _context: RequestContext,
    ) -> ServiceResult<ConnectRedirect> {
        self.run(|shared, _| async move { authorization::open::open(&shared, handle).await })
            .await
    }

    /// A browser came back from a provider. What goes wrong with the flow is part of the outcome.
    ///
    /// # Errors
    /// The database or the provider's discovery being away.
    pub async fn callback(
        &self,
        provider: ProviderKey,
        params: CallbackParams,
        browser: CallbackBrowser,
        context: RequestContext,
    ) -> ServiceResult<CallbackOutcome> {
        self.run(|shared, registry| async move {
            authorization::callback::callback(&shared, &registry, provider, params, browser, context).await
        })
        .await
    }

    /// The owner confirms, by the application, that it was they who finished.
    ///
    /// # Errors
    /// Not found, expired, somebody else's flow (then its code is dropped), or why the exchange failed.
    pub async fn confirm_authorization(
        &self,
        caller: Subject,
        id: AuthorizationId,
        confirmation: Confirmation,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.run(|shared, registry| async move {
            authorization::confirm::confirm(&shared, &registry, caller, id, confirmation, context).await
        })
        .await
    }

    /// This user's connected accounts.
    ///
    /// # Errors
    /// The database being away; a cursor that is not ours.
    pub async fn integrations(
        &self,
        owner: &Subject,
        page: PageRequest,
    ) -> ServiceResult<Page<IntegrationView>> {
        let rows = self
            .shared
            .ports
            .integrations
            .list(owner, &page)
            .await
            .map_err(|error| store_error(&error))?;
        Ok(rows.map(|stored| self.view(&stored)))
    }

    /// Every connected account: for the operator.
    ///
    /// # Errors
    /// As [`integrations`](Self::integrations).
    pub async fn integrations_of_all(
        &self,
        page: PageRequest,
    ) -> ServiceResult<Page<(Subject, IntegrationView)>> {
        let rows = self
            .shared
            .ports
            .integrations
            .list_all(&page)
            .await
            .map_err(|error| store_error(&error))?;
        Ok(rows.map(|stored| (stored.owner.subject.clone(), self.view(&stored))))
    }

    /// Any connected account: for the operator.
    ///
    /// # Errors
    /// Not found.
    pub async fn integration_as_operator(
        &self,
        id: &IntegrationId,
    ) -> ServiceResult<(Subject, IntegrationView)> {
        let found = self
            .shared
            .ports
            .integrations
            .load(id)
            .await
            .map_err(|error| store_error(&error))?;
        let found = found.filter(|stored| stored.id == *id);
        found
            .map(|stored| (stored.owner.subject.clone(), self.view(&stored)))
            .ok_or(ServiceError::not_found("integration"))
    }

    /// One of this user's connected accounts.
    ///
    /// # Errors
    /// Not found, or somebody else's.
    pub async fn integration(&self, owner: &Subject, id: &IntegrationId) -> ServiceResult<IntegrationView> {
        let found = self
            .shared
            .ports
            .integrations
            .find(owner, id)
            .await
            .map_err(|error| store_error(&error))?;
        found
            .map(|stored| self.view(&stored))
            .ok_or(ServiceError::not_found("integration"))
    }

    fn view(&self, stored: &crate::domain::integration::StoredIntegration) -> IntegrationView {
        IntegrationView::of(
            stored,
            self.shared.provider(&stored.id.provider).map(AsRef::as_ref),
        )
    }

    /// The consents behind one of this user's accounts; they outlive it.
    ///
    /// # Errors
    /// Not found, or somebody else's.
    pub async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: PageRequest,
    ) -> ServiceResult<Page<ConsentView>> {
        let records = &self.shared.ports.records;
        let found = records
            .consents(owner, id, &page)
            .await
            .map_err(|error| store_error(&error))?;
        // Consents outlive their integration: only without any is the integration itself asked for.
        if found.items.is_empty() && page.after.is_none() {
            self.integration(owner, id).await?;
        }
        Ok(found)
    }

    /// This user's audit.
    ///
    /// # Errors
    /// The database being away; a cursor that is not ours.
    pub async fn audit(&self, owner: &Subject, page: PageRequest) -> ServiceResult<Page<AuditView>> {
        self.shared
            .ports
            .records
            .audit(owner, &page)
            .await
            .map_err(|error| store_error(&error))
    }

    /// Makes a one-time link that opens our pages as this user: `{public_url}/session/{token}`.
    ///
    /// # Errors
    /// The database being away.
    pub async fn create_session_link(
        &self,
        request: SessionRequest,
        context: RequestContext,
    ) -> ServiceResult<SessionLink> {
        session::create_link(&self.shared, request, context).await
    }

    /// Uses a session link up; the answer holds the cookie.
    ///
    /// # Errors
    /// Unknown, used or expired.
    pub async fn open_session(&self, link: SessionToken) -> ServiceResult<OpenedSession> {
        session::open(&self.shared, &link).await
    }

    /// The session of this cookie.
    ///
    /// # Errors
    /// There is none, or it is over.
    pub async fn session(&self, cookie: &SessionToken) -> ServiceResult<Session> {
        session::find(&self.shared, cookie).await
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The database being away.
    pub async fn end_session(&self, cookie: &SessionToken) -> ServiceResult<()> {
        session::end(&self.shared, cookie).await
    }
}

/// Waits until every recorded hand-out is written. `false`: not in time.
pub(crate) async fn drain_audit(audit: &AuditHandle, deadline: Duration) -> bool {
    match audit.address().get() {
        None => false,
        Some(sink) => call(&sink, AuditMsg::Drain, deadline).await.is_some(),
    }
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
