//! Sessions: a one-time link opens our pages as one user.

use std::fmt;

use serde::Serialize;
use url::Url;

use super::{Timestamp, authorization::origin_of, feature::FeatureKey, ids::Subject, secret::SessionToken};

/// A link to our pages, made for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRequest {
    /// Who will be logged in.
    pub subject: Subject,
    /// Where "back to the application" leads, already checked against the allow-list.
    pub return_to: Option<Url>,
    /// Features to offer first.
    pub features: Vec<FeatureKey>,
}

/// The link.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct SessionLink {
    /// Opens our pages once. Holds a secret: never logged.
    pub url: Url,
    /// Until when it works.
    pub expires_at: Timestamp,
}

impl fmt::Debug for SessionLink {
    /// Without the link: it logs in whoever opens it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionLink")
            .field("url", &origin_of(&self.url))
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// A browser's session with us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who.
    pub subject: Subject,
    /// Where "back to the application" leads.
    pub return_to: Option<Url>,
    /// Features to offer first.
    pub features: Vec<FeatureKey>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// A session just opened: the cookie's value and what it stands for.
#[derive(Debug, Clone)]
pub struct OpenedSession {
    /// The cookie's value.
    pub token: SessionToken,
    /// What it stands for.
    pub session: Session,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_show_the_link_that_logs_in() {
        let link = SessionLink {
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
