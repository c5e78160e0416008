//! Sessions: a link opens our pages as one user, once the application has confirmed that it is they who sit there.

use std::{fmt, sync::Arc};

use serde::Serialize;
use url::Url;
use uuid::Uuid;

use super::{
    Timestamp,
    authorization::origin_of,
    client::ServiceClient,
    feature::FeatureKey,
    ids::Subject,
    secret::{Confirmation, SessionToken},
};

/// A link to our pages, made for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// The application: the only one that may confirm it, and named on every page.
    pub client: Arc<ServiceClient>,
    /// Who will be logged in.
    pub subject: Subject,
    /// What the pages call them; the subject, if the application does not say.
    pub display_name: Option<String>,
    /// The application's own page, already checked against the allow-list: whoever opens the link is sent there.
    pub return_to: Url,
    /// Features to offer first.
    pub features: Vec<FeatureKey>,
}

/// The link.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SessionLink {
    /// Names it when it is confirmed.
    pub session_id: Uuid,
    /// Sends whoever opens it to the application. Holds a secret: never logged.
    pub url: Url,
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl fmt::Debug for SessionLink {
    /// Without the link.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLink")
            .field("session_id", &self.session_id)
            .field("url", &origin_of(&self.url))
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// A link was opened: nothing is shown yet, the application is asked first.
#[derive(Debug, Clone)]
pub struct OpenedLink {
    /// Which.
    pub session_id: Uuid,
    /// The cookie's value: only the browser that holds it gets the pages.
    pub pending: SessionToken,
    /// Until when it may be confirmed.
    pub expires_at: Timestamp,
    /// What the application confirms with.
    pub confirmation: Confirmation,
    /// The application's page.
    pub return_to: Url,
}

/// A browser's session with us, confirmed by the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The link it came from.
    pub link_id: Uuid,
    /// Who.
    pub subject: Subject,
    /// What the application calls them.
    pub display_name: Option<String>,
    /// The application: the name of its service client.
    pub application: String,
    /// Where "back to the application" leads.
    pub return_to: Url,
    /// Features to offer first.
    pub features: Vec<FeatureKey>,
    /// Until when.
    pub expires_at: Timestamp,
}

impl Session {
    /// Whose connections the pages show, in words.
    pub fn whose(&self) -> &str {
        self.display_name.as_deref().unwrap_or(self.subject.as_str())
    }
}

/// How it ended that a browser went in by a confirmed link.
#[derive(Debug, Clone)]
pub enum Entry {
    /// It has the pages.
    Entered {
        /// The cookie's value, made just now.
        token: SessionToken,
        /// What it stands for.
        session: Session,
    },
    /// It holds a living session of another user, who is not replaced without being asked.
    Occupied {
        /// Who would come.
        coming: Session,
    },
    /// It came by this link before and still has its session.
    Already,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_link_that_logs_in() {
        let link = SessionLink {
            session_id: Uuid::nil(),
            url: "https://oauth.example.com/session/s3cret".parse().unwrap(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let shown = format!("{link:?}");
        assert!(
            shown.contains("oauth.example.com") && !shown.contains("s3cret"),
            "{shown}"
        );
    }
}
