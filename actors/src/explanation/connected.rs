//! Accounts that have tokens: what they wait for, and how long what they have lasts.

use std::time::Duration;

use super::{
    Account, Explanation, Next, OUTCOME_UNKNOWN,
    words::{clock, provider_said, span},
};
use crate::{
    domain::{
        Timestamp,
        integration::{Claim, Status, StoredGrant},
        provider::RefreshClass,
        reason::{ReasonCode, WhoMustAct},
    },
    integration::PROBE_BEFORE_END,
    ports::store::FaultKind,
    provider::egress_view::EgressView,
    shared::{before, until},
};

impl Account<'_> {
    fn is_unknown(&self) -> bool {
        self.reason()
            .is_some_and(|reason| reason.as_str() == OUTCOME_UNKNOWN)
    }

    pub(super) fn connected(&self, status: Status, grant: &StoredGrant) -> Explanation {
        if let Some(claim) = &grant.claim {
            if !claim.stale {
                return self.refreshing(grant, claim);
            }
            return self.vanished(grant, claim);
        }
        if status == Status::Paused {
            return self.paused(grant);
        }
        if let Some(egress) = self.around.held_off
            && grant
                .next_refresh_at
                .is_some_and(|due| due <= egress.next_probe_at.unwrap_or(self.now()).max(self.now()))
        {
            return self.held_off(grant, egress);
        }
        match status {
            Status::Degraded => self.failing(grant),
            _ => self.working(grant),
        }
    }

    fn refreshing(&self, grant: &StoredGrant, claim: &Claim) -> Explanation {
        let because = format!(
            "node {} has been refreshing it since {}; {}",
            claim.node.0,
            clock(self.now(), claim.since),
            self.token_words(grant)
        );
        let next = Next {
            what: format!(
                "it ends by itself; if that node has died, others take over after {}",
                clock(self.now(), claim.until)
            ),
            when: Some(claim.until),
        };
        self.explanation("refreshing", because, next, WhoMustAct::Nobody)
    }

    /// A claim that ran out: whoever held it never said how it ended.
    fn vanished(&self, grant: &StoredGrant, claim: &Claim) -> Explanation {
        let because = format!(
            "a refresh that began at {} on node {} was cut off, and nobody knows whether its refresh token was spent; {}",
            clock(self.now(), claim.since),
            claim.node.0,
            self.token_words(grant)
        );
        let class = self.around.provider.map(|provider| provider.refresh_class);
        let probe_at = grant.expires_at.map(|end| before(end, PROBE_BEFORE_END));
        let next = match class {
            Some(RefreshClass::Safe) => Next {
                what: format!(
                    "{} takes a refresh token more than once: it is presented again{}",
                    self.provider_name(),
                    self.at(grant.next_refresh_at)
                ),
                when: grant.next_refresh_at,
            },
            Some(class @ RefreshClass::Grace { window })
                if class.takes_again(until(claim.unsettled_since, self.now())) =>
            {
                Next {
                    what: format!(
                        "{} takes it again within {}: it is presented again{}",
                        self.provider_name(),
                        span(window),
                        self.at(grant.next_refresh_at)
                    ),
                    when: grant.next_refresh_at,
                }
            }
            Some(RefreshClass::Grace { .. } | RefreshClass::SingleUse) | None => {
                // Whoever found it wrote down when; before that it is what they would write.
                let when = if self.is_unknown() {
                    grant.next_refresh_at.or(probe_at)
                } else {
                    probe_at.or(grant.next_refresh_at)
                };
                Next {
                    what: format!(
                        "presenting it twice could end the grant, so the access token is used up first; the refresh \
                         token is presented once more{}",
                        self.at(when)
                    ),
                    when,
                }
            }
        };
        let state = if self.is_unknown() {
            "outcome_unknown"
        } else {
            "refresh_cut_off"
        };
        self.explanation(state, because, next, WhoMustAct::Nobody)
    }

    fn paused(&self, grant: &StoredGrant) -> Explanation {
        let who = self.row.standing.who_must_act.unwrap_or(WhoMustAct::Admin);
        let because = format!(
            "{}; {}",
            provider_said(self.reason(), self.provider_name(), grant.failures),
            self.token_words(grant)
        );
        let next = self.next_try(grant);
        self.explanation("paused", because, next, who)
    }

    fn held_off(&self, grant: &StoredGrant, egress: &EgressView) -> Explanation {
        let reason = egress.reason.as_ref().map_or("no reason", ReasonCode::as_str);
        let who = egress.who_must_act().unwrap_or(WhoMustAct::Nobody);
        let why = match egress.cause {
            Some(FaultKind::Operator) => format!(
                "{} refuses this service's own registration ({reason})",
                self.provider_name()
            ),
            Some(FaultKind::Outage) | None => format!("{} has trouble ({reason})", self.provider_name()),
        };
        let probe_at = egress.next_probe_at.unwrap_or(self.now()).max(self.now());
        let open_for = egress
            .since
            .map_or(Duration::ZERO, |since| until(since, self.now()));
        let because = format!(
            "{why}, so this node has held all calls to it off for {}; the account itself is not touched; {}",
            span(open_for),
            self.token_words(grant)
        );
        let next = Next {
            what: format!(
                "one call tries {} again at {}, and the others follow when it is answered",
                self.provider_name(),
                clock(self.now(), probe_at)
            ),
            when: Some(probe_at),
        };
        self.explanation("held_off", because, next, who)
    }

    fn failing(&self, grant: &StoredGrant) -> Explanation {
        let because = format!(
            "{}; {}",
            provider_said(self.reason(), self.provider_name(), grant.failures),
            self.token_words(grant)
        );
        let who = self.row.standing.who_must_act.unwrap_or(WhoMustAct::Nobody);
        let next = self.next_try(grant);
        self.explanation("degraded", because, next, who)
    }

    fn next_try(&self, grant: &StoredGrant) -> Next {
        match grant.next_refresh_at {
            Some(when) => Next {
                what: format!("the next try is{}", self.at(Some(when))),
                when: Some(when),
            },
            None => Next {
                what: "it is tried again when somebody asks for a token".into(),
                when: None,
            },
        }
    }

    fn working(&self, grant: &StoredGrant) -> Explanation {
        let ended = grant.expires_at.is_some_and(|end| end <= self.now());
        let because = self.token_words(grant);
        let (state, what, when) = match (grant.refresh_token.is_some(), grant.next_refresh_at) {
            (false, _) => (
                "not_refreshable",
                format!(
                    "{} gave no refresh token: when the access token ends, the user must connect again",
                    self.provider_name()
                ),
                grant.expires_at,
            ),
            (true, None) => (
                "refreshed_on_demand",
                "it is refreshed when somebody asks for more life than the token has".to_owned(),
                None,
            ),
            (true, Some(due)) if due <= self.now() => (
                "due",
                format!("its refresh is due and begins within seconds{}", self.unseen()),
                Some(due),
            ),
            // Nobody has asked for it in a while: only the grant is kept alive, and a question fetches a fresh token.
            (true, Some(due)) if ended => (
                "kept_alive",
                format!(
                    "a fresh token is fetched when somebody asks; otherwise the grant is kept alive by a refresh{}",
                    self.at(Some(due))
                ),
                Some(due),
            ),
            (true, Some(due)) => (
                "working",
                format!("it is refreshed{}{}", self.at(Some(due)), self.unseen()),
                Some(due),
            ),
        };
        self.explanation(state, because, Next { what, when }, WhoMustAct::Nobody)
    }

    // === words ===

    fn token_words(&self, grant: &StoredGrant) -> String {
        match grant.expires_at {
            None => format!(
                "the access token works until {} says otherwise",
                self.provider_name()
            ),
            Some(end) if end <= self.now() => {
                format!("the access token ended at {}", clock(self.now(), end))
            }
            Some(end) => format!(
                "the access token is good until {} ({})",
                clock(self.now(), end),
                span(until(self.now(), end))
            ),
        }
    }

    /// ` at 02:41:00 UTC (in 28 min)`, ` now`, or nothing.
    pub(super) fn at(&self, when: Option<Timestamp>) -> String {
        match when {
            None => String::new(),
            Some(at) if at <= self.now() => " now".into(),
            Some(at) => format!(
                " at {} (in {})",
                clock(self.now(), at),
                span(until(self.now(), at))
            ),
        }
    }

    /// An unknown provider: what is said is said of the row alone.
    fn unseen(&self) -> &'static str {
        if self.around.provider.is_none() {
            ", if its provider is configured again"
        } else {
            ""
        }
    }
}
