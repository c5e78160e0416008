//! How many requests of one user or one service are under way, and how often a user asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use oauth_manager_actors::domain::ids::Subject;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    refusals::{Refusal, Refusals},
    token_buckets::TokenBuckets,
};
use crate::http::{auth::Caller, problem::Problem, settings::Limits};

/// Whoever waits for their own requests knows best when one has been answered.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Who has requests under way. As many entries as there are requests at most.
pub(crate) struct Callers {
    per_user_max: usize,
    per_service_max: usize,
    under_way: Mutex<HashMap<Who, UnderWay>>,
    user_rates: TokenBuckets<Subject>,
    refusals: Refusals,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Who {
    User(Subject),
    Service(Uuid),
}

#[derive(Default)]
struct UnderWay {
    requests: usize,
    /// It was said that these are too many.
    is_told: bool,
}

/// One request under way of a caller, until it is dropped.
pub(crate) struct Turn {
    callers: Arc<Callers>,
    who: Who,
}

impl Callers {
    pub(super) fn new(limits: &Limits, refusals: Refusals) -> Self {
        Self {
            per_user_max: limits.requests_per_user_max,
            per_service_max: limits.requests_per_service_max,
            under_way: Mutex::default(),
            user_rates: TokenBuckets::new(limits.user_requests_per_minute),
            refusals,
        }
    }

    /// One more request of this caller.
    ///
    /// # Errors
    /// It has as many under way as it may, or asks too often.
    pub(crate) fn begin(self: &Arc<Self>, caller: &Caller) -> Result<Turn, Problem> {
        let (who, max) = match caller {
            Caller::User(subject) => (Who::User(subject.clone()), self.per_user_max),
            Caller::Service(client) => (Who::Service(client.id), self.per_service_max),
        };
        {
            let mut all = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            let under_way = all.entry(who.clone()).or_default();
            if under_way.requests >= max {
                if !std::mem::replace(&mut under_way.is_told, true) {
                    tell(caller, "a caller has as many requests under way as it may");
                }
                return Err(self.refusals.refuse(Refusal::Caller, RETRY_AFTER));
            }
            under_way.requests += 1;
        }
        let turn = Turn {
            callers: Arc::clone(self),
            who,
        };
        if let Caller::User(subject) = caller
            && let Err(empty) = self.user_rates.take(subject, Instant::now())
        {
            if empty.is_new {
                tell(caller, "a caller asks too often");
            }
            return Err(self.refusals.refuse(Refusal::CallerRate, empty.retry_after));
        }
        Ok(turn)
    }
}

fn tell(caller: &Caller, what: &'static str) {
    match caller {
        // Whom it concerns is in the requests' own lines, by their ids: a user's name is no matter for the log.
        Caller::User(_) => tracing::warn!(caller.kind = "user", "{what}"),
        Caller::Service(client) => {
            tracing::warn!(caller.kind = "service", service.name = client.name, "{what}");
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self
            .callers
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = all.get_mut(&self.who) {
            under_way.requests -= 1;
            if under_way.requests == 0 {
                all.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn callers(per_user_max: usize, per_minute: u32) -> Arc<Callers> {
        let limits = Limits {
            requests_per_user_max: per_user_max,
            user_requests_per_minute: per_minute,
            ..Limits::default()
        };
        Arc::new(Callers::new(&limits, Refusals::new()))
    }

    fn user(name: &str) -> Caller {
        Caller::User(name.parse().unwrap())
    }

    #[test]
    fn one_users_requests_under_way_are_bounded_and_another_has_their_own() {
        let callers = callers(2, 1_000);
        let ada: Vec<_> = (0..2).map(|_| callers.begin(&user("ada")).unwrap()).collect();
        assert_eq!(callers.begin(&user("ada")).err().unwrap().status(), 429);
        let _bob = callers.begin(&user("bob")).unwrap();
        drop(ada);
        let _ada = callers.begin(&user("ada")).unwrap();
        assert_eq!(
            callers.under_way.lock().unwrap().len(),
            2,
            "the idle are forgotten"
        );
    }

    #[test]
    fn a_user_who_asks_too_often_is_told_when_to_come_again() {
        let callers = callers(2, 3);
        for _ in 0..3 {
            callers.begin(&user("ada")).unwrap();
        }
        let problem = callers.begin(&user("ada")).err().unwrap();
        assert_eq!((problem.status().as_u16(), problem.code()), (429, "rate_limited"));
        assert!(callers.begin(&user("bob")).is_ok());
        assert!(callers.under_way.lock().unwrap().is_empty());
    }
}
