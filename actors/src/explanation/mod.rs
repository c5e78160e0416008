//! Why an account is in its state, in words a person understands at three in the morning: `explain(row, way out, now)`.
//!
//! Pure, and of the row alone where nothing else is known: the service and the command line say the same, the one knowing
//! whether the provider's breaker is open and the other saying that it does not. It decides nothing; what it says of the
//! next step is what [`lifecycle`](crate::integration::lifecycle) and the refresh protocol do with such a row.

mod connected;
mod words;

use serde::Serialize;

use self::words::clock;
use crate::{
    domain::{
        Timestamp,
        integration::{Status, StoredGrant, StoredIntegration},
        provider::Provider,
        reason::{ReasonCode, WhoMustAct},
    },
    provider::egress_view::EgressView,
};

/// Nobody knows whether a refresh token was spent.
const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// Why an account is in its state, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What it is doing: finer than its status, as a stable word.
    pub state: &'static str,
    /// Since when it has its status.
    pub since: Timestamp,
    /// Why, as a sentence.
    pub because: String,
    /// What happens next, as a sentence.
    pub what_happens_next: String,
    /// When that is; `None`: not at a time that is known.
    pub when: Option<Timestamp>,
    /// Whose move it is.
    pub who_must_act: WhoMustAct,
    /// What they do, as a sentence.
    pub what_they_do: String,
}

/// What is known beside the row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Circumstances<'a> {
    /// The provider, if this program knows it.
    pub(crate) provider: Option<&'a Provider>,
    /// The way out to it, if this node holds calls off.
    pub(crate) held_off: Option<&'a EgressView>,
    pub(crate) now: Timestamp,
}

/// Explains one account.
pub(crate) fn explain(
    row: &StoredIntegration,
    since: Timestamp,
    circumstances: &Circumstances<'_>,
) -> Explanation {
    let account = Account {
        row,
        since,
        around: circumstances,
    };
    match (row.standing.status, &row.grant) {
        (Status::Revoked, grant) => account.revoked(grant.as_ref()),
        (Status::ReauthRequired, _) => account.reauth_required(),
        (Status::Pending, None) => account.pending(),
        (_, None) => account.without_tokens(),
        (status, Some(grant)) => account.connected(status, grant),
    }
}

impl Explanation {
    /// All of it in one sentence.
    pub fn summary(&self, now: Timestamp) -> String {
        format!(
            "{} since {}: {}; {}; {}",
            self.state,
            clock(now, self.since),
            self.because,
            self.what_happens_next,
            self.what_they_do
        )
    }
}

struct Account<'a> {
    row: &'a StoredIntegration,
    since: Timestamp,
    around: &'a Circumstances<'a>,
}

/// What happens next, and when.
struct Next {
    what: String,
    when: Option<Timestamp>,
}

impl Account<'_> {
    fn explanation(&self, state: &'static str, because: String, next: Next, who: WhoMustAct) -> Explanation {
        Explanation {
            state,
            since: self.since,
            because,
            what_happens_next: next.what,
            when: next.when,
            who_must_act: who,
            what_they_do: words::what_they_do(who, self.provider_name()),
        }
    }

    fn now(&self) -> Timestamp {
        self.around.now
    }

    fn provider_name(&self) -> &str {
        self.around
            .provider
            .map_or(self.row.id.provider.as_str(), |provider| &provider.display_name)
    }

    fn reason(&self) -> Option<&ReasonCode> {
        self.row.standing.reason.as_ref()
    }

    // === nothing to hand out ===

    fn pending(&self) -> Explanation {
        let next = Next {
            what: "it works as soon as the user has finished connecting it".into(),
            when: None,
        };
        self.explanation(
            "being_connected",
            "the user has not finished connecting it".into(),
            next,
            WhoMustAct::User,
        )
    }

    fn without_tokens(&self) -> Explanation {
        let next = Next {
            what: "nothing is tried until the user connects it again".into(),
            when: None,
        };
        let because = "its tokens are gone: there is nothing to hand out and nothing to refresh with";
        self.explanation("without_tokens", because.into(), next, WhoMustAct::User)
    }

    fn reauth_required(&self) -> Explanation {
        let because = match self.reason() {
            Some(reason) if reason.as_str() == OUTCOME_UNKNOWN => format!(
                "a refresh was cut off and nobody knows whether its single-use refresh token was spent; presented \
                 once more, {} refused it",
                self.provider_name()
            ),
            Some(reason) if reason.as_str() == "no_refresh_token" => format!(
                "{} gave no refresh token, and the access token has ended",
                self.provider_name()
            ),
            Some(reason) => format!(
                "{} refused the refresh token and will not take it again ({reason})",
                self.provider_name()
            ),
            None => format!("{} wants the user to consent again", self.provider_name()),
        };
        let next = Next {
            what: format!(
                "{} is not asked again; requests for a token are refused with reauth_required until the user reconnects",
                self.provider_name()
            ),
            when: None,
        };
        self.explanation(
            "reauth_required",
            because,
            next,
            self.row.standing.who_must_act.unwrap_or(WhoMustAct::User),
        )
    }

    fn revoked(&self, grant: Option<&StoredGrant>) -> Explanation {
        let by = "it was taken back here; tokens are refused on every node";
        match grant {
            None => self.explanation(
                "revoked",
                format!("{by}, and its tokens are forgotten"),
                Next {
                    what: "nothing, unless the user connects it again".into(),
                    when: None,
                },
                WhoMustAct::Nobody,
            ),
            Some(grant) => {
                let when = grant.next_refresh_at;
                let tried = match grant.failures {
                    0 => String::new(),
                    n => format!(" ({n} attempts have failed)"),
                };
                self.explanation(
                    "revoking",
                    format!("{by}; {} does not know yet{tried}", self.provider_name()),
                    Next {
                        what: format!(
                            "{} is told{}, then the tokens are forgotten",
                            self.provider_name(),
                            self.at(when)
                        ),
                        when,
                    },
                    WhoMustAct::Nobody,
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
