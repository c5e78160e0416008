//! What was refused because somebody takes more than their part, counted by reason.

use std::{sync::Arc, time::Duration};

use metrics::{Counter, counter};
use oauth_manager_actors::domain::error::ServiceError;

use crate::http::problem::Problem;

/// The counter.
pub(in crate::http) const REFUSED: &str = "oauth_http_refused_total";

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// A connection, because its address has as many as it may.
    Connection,
    /// A connection that waited for its client, closed in favour of a new one.
    IdleConnection,
    /// A request, because as many are answered as can be.
    Requests,
    /// A body, because bodies take as much memory as they may.
    Bodies,
    /// A request of a user or service with as many under way as it may have.
    Caller,
    /// A request of a user or service that asks too often.
    CallerRate,
    /// A credential, of an address whose credentials fail too often.
    Credentials,
    /// A callback or link, of an address whose callbacks and links lead nowhere too often.
    Strays,
}

impl Refusal {
    const ALL: [Self; 8] = [
        Self::Connection,
        Self::IdleConnection,
        Self::Requests,
        Self::Bodies,
        Self::Caller,
        Self::CallerRate,
        Self::Credentials,
        Self::Strays,
    ];

    /// The label.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::IdleConnection => "idle_connection",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Caller => "caller",
            Self::CallerRate => "caller_rate",
            Self::Credentials => "credentials",
            Self::Strays => "strays",
        }
    }
}

/// The counters. Cheap to clone.
#[derive(Clone)]
pub(in crate::http) struct Refusals(Arc<[Counter]>);

impl Refusals {
    /// All of them at zero: an alert has something to look at.
    pub(in crate::http) fn new() -> Self {
        let made = Refusal::ALL.iter().map(|refusal| {
            let refused = counter!(REFUSED, "reason" => refusal.as_str());
            refused.increment(0);
            refused
        });
        Self(made.collect())
    }

    /// Something was refused.
    pub(in crate::http) fn count(&self, refusal: Refusal, times: usize) {
        let at = Refusal::ALL.iter().position(|known| *known == refusal);
        if let Some(refused) = at.and_then(|at| self.0.get(at)) {
            refused.increment(times as u64);
        }
    }

    /// 429: come again then.
    pub(super) fn refuse(&self, refusal: Refusal, retry_after: Duration) -> Problem {
        self.count(refusal, 1);
        ServiceError::RateLimited { retry_after }.into()
    }

    /// 503: we have too much to do.
    pub(in crate::http) fn overloaded(&self, refusal: Refusal) -> Problem {
        self.count(refusal, 1);
        let overloaded = ServiceError::Overloaded {
            detail: "this service has too much to do",
            retry_after: Duration::from_secs(1),
        };
        overloaded.into()
    }
}
