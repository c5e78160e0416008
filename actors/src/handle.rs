//! [`OAuthManager`]: the typed façade for HTTP handlers and in-process services.
#![expect(unused_variables, clippy::todo, reason = "signatures first")]

use std::{sync::Arc, time::Duration};

use crate::domain::{
    audit::AuditView,
    authorization::{
        AuthorizationRequest, AuthorizationView, BegunAuthorization, CallbackBrowser, CallbackOutcome,
        CallbackParams, ConnectRedirect,
    },
    caller::RequestContext,
    client::ServiceClient,
    consent::ConsentView,
    error::ServiceError,
    feature::FeatureKey,
    ids::{AuthorizationId, IntegrationId, ProviderKey, Subject},
    integration::IntegrationView,
    page::{Page, PageRequest},
    provider::Provider,
    secret::{Confirmation, ConnectHandle, ServiceCredential, SessionToken},
    session::{OpenedSession, Session, SessionLink, SessionRequest},
    token::{AccessGrant, RevocationReport, TokenRequest},
};

/// The answer of every call.
pub type ServiceResult<T> = Result<T, ServiceError>;

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

/// A handle on the running system. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OAuthManager {}

impl OAuthManager {
    /// Every known provider, configured or not.
    pub fn providers(&self) -> &[Arc<Provider>] {
        todo!()
    }

    /// One provider; the error names those that exist.
    pub fn provider(&self, key: &ProviderKey) -> ServiceResult<&Arc<Provider>> {
        todo!()
    }

    /// Whether each part is ready.
    pub async fn ready(&self) -> Readiness {
        todo!()
    }

    /// The client with this credential (`oms_…`).
    pub async fn authenticate_service(
        &self,
        credential: &ServiceCredential,
    ) -> ServiceResult<Arc<ServiceClient>> {
        todo!()
    }

    /// For in-process services: a token that carries the feature and is good for at least `min_ttl`.
    pub async fn access_token(
        &self,
        user: &Subject,
        feature: &FeatureKey,
        min_ttl: Duration,
    ) -> ServiceResult<AccessGrant> {
        todo!()
    }

    /// A token for a service client (`context.actor`), within its policy; recorded either way.
    pub async fn issue_token(
        &self,
        request: TokenRequest,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        todo!()
    }

    /// Begins a connect flow for this user.
    pub async fn begin_authorization(
        &self,
        owner: Subject,
        request: AuthorizationRequest,
        context: RequestContext,
    ) -> ServiceResult<BegunAuthorization> {
        todo!()
    }

    /// A flow of this user.
    pub async fn authorization(
        &self,
        owner: &Subject,
        id: AuthorizationId,
    ) -> ServiceResult<AuthorizationView> {
        todo!()
    }

    /// A browser opened a connect link.
    pub async fn open_connect_link(
        &self,
        handle: ConnectHandle,
        context: RequestContext,
    ) -> ServiceResult<ConnectRedirect> {
        todo!()
    }

    /// A browser came back from a provider. Always an outcome: what went wrong is part of it.
    pub async fn callback(
        &self,
        provider: ProviderKey,
        params: CallbackParams,
        browser: CallbackBrowser,
        context: RequestContext,
    ) -> ServiceResult<CallbackOutcome> {
        todo!()
    }

    /// The owner confirms, by the application, that it was they who finished.
    pub async fn confirm_authorization(
        &self,
        caller: Subject,
        id: AuthorizationId,
        confirmation: Confirmation,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        todo!()
    }

    /// This user's connected accounts.
    pub async fn integrations(
        &self,
        owner: &Subject,
        page: PageRequest,
    ) -> ServiceResult<Page<IntegrationView>> {
        todo!()
    }

    /// One of this user's connected accounts.
    pub async fn integration(&self, owner: &Subject, id: &IntegrationId) -> ServiceResult<IntegrationView> {
        todo!()
    }

    /// Refreshes now; answers when it is done.
    pub async fn refresh(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        todo!()
    }

    /// Takes an account back: refused here at once, then told to the provider.
    pub async fn revoke(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<RevocationReport> {
        todo!()
    }

    /// The consents behind one of this user's accounts; they outlive it.
    pub async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: PageRequest,
    ) -> ServiceResult<Page<ConsentView>> {
        todo!()
    }

    /// This user's audit.
    pub async fn audit(&self, owner: &Subject, page: PageRequest) -> ServiceResult<Page<AuditView>> {
        todo!()
    }

    /// Makes a one-time link that opens our pages as this user: `{public_url}/session/{token}`.
    pub async fn create_session_link(
        &self,
        request: SessionRequest,
        context: RequestContext,
    ) -> ServiceResult<SessionLink> {
        todo!()
    }

    /// Uses a session link up; the answer holds the cookie.
    pub async fn open_session(&self, link: SessionToken) -> ServiceResult<OpenedSession> {
        todo!()
    }

    /// The session of this cookie.
    pub async fn session(&self, cookie: &SessionToken) -> ServiceResult<Session> {
        todo!()
    }

    /// Ends a session.
    pub async fn end_session(&self, cookie: &SessionToken) -> ServiceResult<()> {
        todo!()
    }
}
