//! Consents, the audit, sessions.

use super::{OAuthManager, ServiceResult};
use crate::{
    domain::{
        audit::AuditView,
        caller::RequestContext,
        consent::ConsentView,
        ids::{IntegrationId, Subject},
        page::{Page, PageRequest},
        secret::SessionToken,
        session::{OpenedSession, Session, SessionLink, SessionRequest},
    },
    records::store_error,
    session,
};

impl OAuthManager {
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
