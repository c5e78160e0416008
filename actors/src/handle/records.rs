//! The audit, sessions.

use url::Url;
use uuid::Uuid;

use super::{OAuthManager, ServiceResult};
use crate::{
    domain::{
        audit::AuditView,
        caller::RequestContext,
        client::ServiceClient,
        ids::Subject,
        page::{Page, PageRequest},
        secret::{Confirmation, SessionToken},
        session::{Entry, OpenedLink, Session, SessionLink, SessionRequest},
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

    /// Makes a link that opens our pages as this user, once the application confirms it: `{public_url}/session/{token}`.
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

    /// Where a session link leads. Changes nothing.
    ///
    /// # Errors
    /// Unknown, dead or expired.
    pub async fn session_return_address(&self, link: &SessionToken) -> ServiceResult<Url> {
        session::return_address(&self.shared, link).await
    }

    /// A browser opened a session link, holding these pending cookies: it gets a pending session, which shows nothing.
    ///
    /// # Errors
    /// Unknown, dead or expired.
    pub async fn open_session_link(
        &self,
        link: &SessionToken,
        held: &[SessionToken],
    ) -> ServiceResult<OpenedLink> {
        session::open(&self.shared, link, held).await
    }

    /// The application's word on who sits before a browser that opened its link; returns where that browser goes in.
    ///
    /// # Errors
    /// Another user than the one the link was made for: the link is dead. Unknown, dead or expired.
    pub async fn confirm_session(
        &self,
        client: &ServiceClient,
        session_id: Uuid,
        user: &Subject,
        confirmation: &Confirmation,
        context: RequestContext,
    ) -> ServiceResult<Url> {
        session::confirm(&self.shared, client, session_id, user, confirmation, context).await
    }

    /// The browser with a pending cookie of a confirmed link goes in. A living session of another user is replaced only if
    /// `replace`: when it was asked.
    ///
    /// # Errors
    /// Not confirmed, another browser's, or too old.
    pub async fn enter_session(
        &self,
        session_id: Uuid,
        held: &[SessionToken],
        current: Option<&SessionToken>,
        replace: bool,
    ) -> ServiceResult<Entry> {
        session::enter(&self.shared, session_id, held, current, replace).await
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
