//! Connected accounts: what is read of their rows, and what their actors are asked to do.

use super::{OAuthManager, RESTARTING, ServiceResult, to};
use crate::{
    domain::{
        caller::{Actor, RequestContext},
        error::ServiceError,
        ids::{IntegrationId, Subject},
        integration::IntegrationView,
        page::{Page, PageRequest},
        token::RevocationReport,
    },
    integration::message::{IntegrationMsg, RefreshAsk, RevokeAsk, WishPermit},
    provider::message::ProviderMsg,
    records::store_error,
    registry::RegistryMsg,
};

impl OAuthManager {
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

    pub(super) fn view(&self, stored: &crate::domain::integration::StoredIntegration) -> IntegrationView {
        IntegrationView::of(
            stored,
            self.shared.provider(&stored.id.provider).map(AsRef::as_ref),
            self.shared.now(),
        )
    }

    /// Another node changed this account: whoever is awake here reads its row again.
    pub fn changed(&self, id: &IntegrationId) {
        let changed = ProviderMsg::Changed {
            integration: id.uuid,
            subject: None,
        };
        // If the registry is being restarted, the next poll tells it.
        let _ = self
            .registry
            .cast(RegistryMsg::Route(id.provider.clone(), changed));
    }

    /// Refreshes now; answers when it is done.
    ///
    /// # Errors
    /// Not found (or somebody else's), or why it could not be refreshed and who must act.
    pub async fn refresh(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.refresh_as(Some(owner.clone()), id, context).await
    }

    /// Refreshes any account: for the operator.
    ///
    /// # Errors
    /// As [`refresh`](Self::refresh).
    pub async fn refresh_as_operator(&self, id: &IntegrationId) -> ServiceResult<IntegrationView> {
        let context = RequestContext {
            actor: Actor::Operator,
            ..RequestContext::system()
        };
        self.refresh_as(None, id, context).await
    }

    pub(super) async fn refresh_as(
        &self,
        owner: Option<Subject>,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.known(id)?;
        self.ask_twice(|reply| {
            let ask = Box::new(RefreshAsk {
                owner: owner.clone(),
                context: context.clone(),
                permit: WishPermit::take(&self.shared.wishes)?,
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

    pub(super) async fn revoke_as(
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
                permit: WishPermit::take(&self.shared.wishes)?,
                reply,
            });
            Ok(to(id, IntegrationMsg::Revoke(ask)))
        })
        .await
        .unwrap_or(Err(RESTARTING))
    }

    /// An id of a provider that does not exist names nothing.
    pub(super) fn known(&self, id: &IntegrationId) -> ServiceResult<()> {
        self.shared
            .provider(&id.provider)
            .map(|_| ())
            .ok_or(ServiceError::not_found("integration"))
    }
}
