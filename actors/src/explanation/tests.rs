//! Every state an account can be in has words, a time where there is one, and somebody (or nobody) who must act.

use std::time::Duration;

use uuid::Uuid;

use super::*;
use crate::{
    domain::{
        account,
        ids::{AttemptId, IntegrationId, NodeId, UserId},
        integration::{Claim, Owner, Standing},
        provider::RefreshClass,
        sealed::{Sealed, WrappedKey},
    },
    ports::store::FaultKind,
    provider::egress_view::BreakerState,
    shared::after,
    testing::provider::provider,
};

const NODE: u128 = 7;

fn now() -> Timestamp {
    "2026-11-22T02:30:00Z".parse().unwrap()
}

fn minutes(n: i64) -> Timestamp {
    now() + jiff::SignedDuration::from_mins(n)
}

/// Good for half an hour, due in eleven minutes.
fn grant() -> StoredGrant {
    StoredGrant {
        generation: 3,
        data_key: WrappedKey(vec![1]),
        access_token: Sealed(vec![2]),
        refresh_token: Some(Sealed(vec![3])),
        token_type: "Bearer".into(),
        issued_at: minutes(-30),
        expires_at: Some(minutes(30)),
        refresh_token_expires_at: None,
        refresh_token_since: None,
        last_used_at: minutes(-30),
        next_refresh_at: Some(minutes(11)),
        failures: 0,
        claim: None,
    }
}

fn row(standing: Standing, grant: Option<StoredGrant>) -> StoredIntegration {
    let id = IntegrationId::new("google".parse().unwrap(), Uuid::nil());
    StoredIntegration {
        id,
        owner: Owner {
            user_id: UserId(Uuid::nil()),
            subject: "ada".parse().unwrap(),
        },
        account: account::Account {
            id: "1".into(),
            issuer: None,
            name: None,
            email: None,
        },
        standing,
        scopes: crate::domain::scope::ScopeSet::default(),
        features: std::collections::BTreeSet::default(),
        agreements: crate::domain::consent::Agreements::default(),
        metadata: serde_json::json!({}),
        created_at: minutes(-6000),
        updated_at: minutes(-17),
        last_refreshed_at: None,
        grant,
    }
}

fn active(edit: impl FnOnce(&mut StoredGrant)) -> StoredIntegration {
    let mut grant = grant();
    edit(&mut grant);
    row(Standing::active(), Some(grant))
}

fn because(
    status: Status,
    code: &str,
    who: WhoMustAct,
    edit: impl FnOnce(&mut StoredGrant),
) -> StoredIntegration {
    let mut row = active(edit);
    row.standing = Standing::because(status, ReasonCode::new(code), who);
    row
}

fn of_class(refresh_class: RefreshClass) -> Provider {
    Provider {
        refresh_class,
        display_name: "Google".into(),
        ..provider("google")
    }
}

fn explained(row: &StoredIntegration, class: RefreshClass, held_off: Option<&EgressView>) -> Explanation {
    let provider = of_class(class);
    let circumstances = Circumstances {
        provider: Some(&provider),
        held_off,
        now: now(),
    };
    explain(row, minutes(-17), &circumstances)
}

fn safe(row: &StoredIntegration) -> Explanation {
    explained(row, RefreshClass::Safe, None)
}

fn claim(stale: bool) -> Claim {
    Claim {
        attempt: AttemptId(Uuid::nil()),
        node: NodeId(Uuid::from_u128(NODE)),
        since: minutes(-2),
        unsettled_since: minutes(-2),
        until: minutes(if stale { -1 } else { 1 }),
        stale,
    }
}

fn open(cause: FaultKind, reason: &str) -> EgressView {
    let provider = provider("google");
    EgressView {
        budget: provider.budget,
        providers: vec![provider.key],
        breaker: BreakerState::Open,
        cause: Some(cause),
        reason: Some(ReasonCode::new(reason)),
        since: Some(minutes(-10)),
        next_probe_at: Some(after(now(), Duration::from_secs(20))),
        in_flight: 0,
        allowed_at_once: 1,
        max_concurrency: 8,
        queued: 3,
        queued_waited_for: 1,
        rate_per_second: None,
        retries_left: 0,
    }
}

#[test]
fn a_degraded_account_says_what_failed_how_long_its_token_lasts_and_when_it_is_tried_again() {
    let row = because(
        Status::Degraded,
        "temporarily_unavailable",
        WhoMustAct::Nobody,
        |grant| grant.failures = 4,
    );
    let said = safe(&row);
    assert_eq!(said.state, "degraded");
    assert_eq!(said.since, minutes(-17));
    assert_eq!(
        said.because,
        "Google answered temporarily_unavailable, 4 times in a row; the access token is good until 03:00:00 UTC (30 min)"
    );
    assert_eq!(
        said.what_happens_next,
        "the next try is at 02:41:00 UTC (in 11 min)"
    );
    assert_eq!(said.when, Some(minutes(11)));
    assert_eq!(said.who_must_act, WhoMustAct::Nobody);
    assert_eq!(
        said.summary(now()),
        "degraded since 02:13:00 UTC: Google answered temporarily_unavailable, 4 times in a row; the access token is good \
         until 03:00:00 UTC (30 min); the next try is at 02:41:00 UTC (in 11 min); nobody has to act"
    );
}

#[test]
fn a_vanished_refresh_says_on_which_node_and_when_its_token_is_presented_once_more() {
    // Single use: after the access token is used up, a minute before its end.
    let row = active(|grant| grant.claim = Some(claim(true)));
    let said = explained(&row, RefreshClass::SingleUse, None);
    assert_eq!(said.state, "refresh_cut_off");
    assert!(
        said.because.contains(&Uuid::from_u128(NODE).to_string()),
        "{}",
        said.because
    );
    assert!(
        said.because.contains("02:28:00") && said.because.contains("nobody knows"),
        "{}",
        said.because
    );
    assert_eq!(said.when, Some(minutes(29)));
    assert!(
        said.what_happens_next.contains("presented once more at 02:59:00"),
        "{}",
        said.what_happens_next
    );
    // Found and written down by whoever came next.
    let known = because(Status::Degraded, OUTCOME_UNKNOWN, WhoMustAct::Nobody, |grant| {
        grant.claim = Some(claim(true));
        grant.next_refresh_at = Some(minutes(29));
    });
    let said = explained(&known, RefreshClass::SingleUse, None);
    assert_eq!((said.state, said.when), ("outcome_unknown", Some(minutes(29))));
    // Safe: at once; grace: at once within its window, like single use after it.
    let said = explained(&row, RefreshClass::Safe, None);
    assert_eq!(said.when, Some(minutes(11)));
    let wide = RefreshClass::Grace {
        window: Duration::from_secs(600),
    };
    assert_eq!(explained(&row, wide, None).when, Some(minutes(11)));
    let narrow = RefreshClass::Grace {
        window: Duration::from_secs(10),
    };
    assert_eq!(explained(&row, narrow, None).when, Some(minutes(29)));
}

#[test]
fn a_live_claim_is_a_refresh_under_way_and_says_when_others_take_over() {
    let said = safe(&active(|grant| grant.claim = Some(claim(false))));
    assert_eq!((said.state, said.when), ("refreshing", Some(minutes(1))));
}

#[test]
fn an_open_breaker_says_whose_fault_it_is_and_when_it_is_probed() {
    let due = active(|grant| grant.next_refresh_at = Some(minutes(-1)));
    let operators = open(FaultKind::Operator, "invalid_client");
    let said = explained(&due, RefreshClass::Safe, Some(&operators));
    assert_eq!(
        (said.state, said.who_must_act),
        ("held_off", WhoMustAct::Operator)
    );
    assert!(
        said.because.contains("registration (invalid_client)") && said.because.contains("for 10 min"),
        "{}",
        said.because
    );
    assert_eq!(said.when, Some(after(now(), Duration::from_secs(20))));
    let outage = open(FaultKind::Outage, "server_error");
    let said = explained(&due, RefreshClass::Safe, Some(&outage));
    assert_eq!((said.state, said.who_must_act), ("held_off", WhoMustAct::Nobody));
    // What is not due before the next probe does not notice.
    let later = active(|_| {});
    assert_eq!(
        explained(&later, RefreshClass::Safe, Some(&outage)).state,
        "working"
    );
}

#[test]
fn what_only_somebody_else_can_mend_says_who() {
    for (row, state, who) in [
        (
            row(
                Standing::because(
                    Status::ReauthRequired,
                    ReasonCode::new("invalid_grant"),
                    WhoMustAct::User,
                ),
                None,
            ),
            "reauth_required",
            WhoMustAct::User,
        ),
        (
            row(
                Standing::because(
                    Status::ReauthRequired,
                    ReasonCode::new(OUTCOME_UNKNOWN),
                    WhoMustAct::User,
                ),
                None,
            ),
            "reauth_required",
            WhoMustAct::User,
        ),
        (
            because(Status::Paused, "admin_policy", WhoMustAct::Admin, |_| {}),
            "paused",
            WhoMustAct::Admin,
        ),
        (
            row(
                Standing {
                    status: Status::Pending,
                    ..Standing::active()
                },
                None,
            ),
            "being_connected",
            WhoMustAct::User,
        ),
        (row(Standing::active(), None), "without_tokens", WhoMustAct::User),
    ] {
        let said = safe(&row);
        assert_eq!((said.state, said.who_must_act), (state, who), "{said:?}");
        assert!(!said.because.is_empty() && !said.what_they_do.contains("nobody"));
    }
    let paused = because(Status::Paused, "admin_policy", WhoMustAct::Admin, |_| {});
    assert_eq!(
        safe(&paused).when,
        Some(minutes(11)),
        "it is tried again by itself"
    );
}

#[test]
fn a_working_account_says_when_it_is_refreshed_and_why_it_may_not_be() {
    for (row, state, when) in [
        (active(|_| {}), "working", Some(minutes(11))),
        (
            active(|grant| grant.next_refresh_at = Some(minutes(-1))),
            "due",
            Some(minutes(-1)),
        ),
        (
            active(|grant| grant.next_refresh_at = None),
            "refreshed_on_demand",
            None,
        ),
        (
            active(|grant| grant.refresh_token = None),
            "not_refreshable",
            Some(minutes(30)),
        ),
        // Nobody asked for it in a while: its token has ended, and only the grant is kept.
        (
            active(|grant| {
                grant.expires_at = Some(minutes(-100));
                grant.next_refresh_at = Some(minutes(60 * 24 * 30));
            }),
            "kept_alive",
            Some(minutes(60 * 24 * 30)),
        ),
    ] {
        let said = safe(&row);
        assert_eq!((said.state, said.when), (state, when), "{said:?}");
        assert_eq!(said.who_must_act, WhoMustAct::Nobody);
    }
}

#[test]
fn a_revoked_account_says_whether_its_provider_knows() {
    let revoked = |grant| {
        row(
            Standing {
                status: Status::Revoked,
                reason: Some(ReasonCode::new("revoked_here")),
                who_must_act: None,
            },
            grant,
        )
    };
    let said = safe(&revoked(Some(grant())));
    assert_eq!((said.state, said.when), ("revoking", Some(minutes(11))));
    assert_eq!(safe(&revoked(None)).state, "revoked");
}

#[test]
fn an_account_of_a_provider_that_is_not_configured_any_more_is_explained_too() {
    let circumstances = Circumstances {
        provider: None,
        held_off: None,
        now: now(),
    };
    let said = explain(&active(|_| {}), minutes(-17), &circumstances);
    assert!(
        said.what_happens_next.contains("configured again"),
        "{}",
        said.what_happens_next
    );
}
