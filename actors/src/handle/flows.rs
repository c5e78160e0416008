//! Connect flows: rows, worked on by functions that run as tracked effects.

use super::{OAuthManager, ServiceResult};
use crate::{
    authorization,
    domain::{
        authorization::AuthorizationRequest, authorization::AuthorizationView,
        authorization::BegunAuthorization, authorization::CallbackBrowser, authorization::CallbackOutcome,
        authorization::CallbackParams, authorization::Choice, authorization::ConnectRedirect,
        caller::RequestContext, error::ServiceError, ids::AuthorizationId, ids::ProviderKey, ids::Subject,
        integration::IntegrationView, secret::BrowserBinding, secret::Confirmation, secret::ConnectHandle,
    },
    records::store_error,
};

impl OAuthManager {
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
        let flow = found.ok_or(ServiceError::not_found("authorization"))?;
        authorization::staged::view(&self.shared, &flow).await
    }

    /// The owner chooses between the account that was to be connected again and the one that came back. Kept: the grant of
    /// the other is dropped, and the view is of the one that stays. Connected: it is of the second connection.
    ///
    /// # Errors
    /// Not found, or somebody else's; expired; nothing to choose.
    pub async fn choose_account(
        &self,
        owner: Subject,
        id: AuthorizationId,
        choice: Choice,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.run(|shared, registry| async move {
            authorization::staged::choose(&shared, &registry, (owner, id), choice, context).await
        })
        .await
    }

    /// Whether this node has lately made this secret of a link or a state: without asking anybody. `false` says nothing,
    /// another node may have made it.
    pub fn has_made(&self, secret: &str) -> bool {
        self.shared.made.holds(secret)
    }

    /// A browser opened a connect link; `held`: every flow cookie it sent.
    ///
    /// # Errors
    /// Not found; expired or used up; the provider's discovery being away.
    pub async fn open_connect_link(
        &self,
        handle: ConnectHandle,
        held: Vec<BrowserBinding>,
        _context: RequestContext,
    ) -> ServiceResult<ConnectRedirect> {
        self.run(|shared, _| async move { authorization::open::open(&shared, handle, held).await })
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
}
