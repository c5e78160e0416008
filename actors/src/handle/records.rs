//! The audit, sessions.

use super::{OAuthManager, ServiceResult};
use crate::{
    domain::{
        audit::AuditView,
        caller::RequestContext,
        ids::Subject,
        page::{Page, PageRequest},
        secret::SessionToken,
        session::{OpenedSession, Session, SessionLink, SessionRequest},
    },
    records::store_error,
    session,
};

impl OAuthManager {
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
