//! Who asks, and through which request: what the audit needs of every change.

use std::{net::IpAddr, sync::Arc};

use super::{client::ServiceClient, ids::Subject};

/// Longest user agent kept.
pub const USER_AGENT_MAX_CHARS: usize = 256;

/// Who caused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// The end user, by the application's JWT or by our session.
    User(Subject),
    /// An internal service.
    Service(Arc<ServiceClient>),
    /// A browser that has not proved who it is (the callback).
    Browser,
    /// Whoever runs the command line.
    Operator,
    /// This service by itself: timers, retries.
    System,
}

impl Actor {
    /// As written into the audit: `user:…`, `service:…`, `browser`, `operator`, `system`.
    pub fn label(&self) -> String {
        match self {
            Self::User(subject) => format!("user:{subject}"),
            Self::Service(client) => format!("service:{}", client.name),
            Self::Browser => "browser".into(),
            Self::Operator => "operator".into(),
            Self::System => "system".into(),
        }
    }
}

/// A request's circumstances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    /// Who.
    pub actor: Actor,
    /// The request's id, as in the log and in the error answer.
    pub request_id: String,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what; cut to [`USER_AGENT_MAX_CHARS`], without control characters.
    pub user_agent: Option<String>,
}

impl RequestContext {
    /// What this service does by itself.
    pub fn system() -> Self {
        Self {
            actor: Actor::System,
            request_id: String::new(),
            ip: None,
            user_agent: None,
        }
    }
}
