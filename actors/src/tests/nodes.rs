//! Several systems on one database, and attempts that vanished.

use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use crate::{
    domain::{
        error::ServiceError,
        ids::{AttemptId, IntegrationId, NodeId},
        integration::{Claim, Status},
        provider::RefreshClass,
    },
    ports::{
        clock::Clock as _,
        store::{ClaimOutcome, ClaimRequest, DispatchRequest, IntegrationStore as _},
    },
    shared::{after, before, until},
    testing::{
        oauth::{Call, Outcome},
        store::Op,
        universe::{GRACE, SAFE, SINGLE_USE, Universe, by_user, token_of, user, wanting},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

const SECOND: Duration = Duration::from_secs(1);

/// Leaves the claim of an attempt that vanished this long ago.
fn vanished(universe: &Universe, id: &IntegrationId, ago: Duration) {
    vanished_again(universe, id, ago, ago);
}

/// The same of one that had taken over from others, the first of which had vanished that long ago.
fn vanished_again(universe: &Universe, id: &IntegrationId, first: Duration, last: Duration) {
    let now = universe.clock.now();
    universe.edit_grant(id, |grant| {
        grant.claim = Some(Claim {
            attempt: AttemptId(Uuid::now_v7()),
            node: NodeId(Uuid::now_v7()),
            since: before(now, last),
            unsettled_since: before(now, first),
            until: now,
            stale: true,
        });
    });
}

async fn refresh(universe: &Universe, id: &IntegrationId) -> Result<(), ServiceError> {
    universe
        .manager
        .refresh(&user("ada"), id, by_user("ada"))
        .await
        .map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn two_nodes_present_a_refresh_token_once_per_generation() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    universe.connect("ada", SINGLE_USE).await;
    for _ in 0..4 {
        let here = join_all((0..50).map(|_| universe.token_for("ada", SINGLE_USE, MINUTE * 50)));
        let there = join_all((0..50).map(|_| token_of(&other.manager, "ada", SINGLE_USE, MINUTE * 50)));
        let (here, there) = tokio::join!(here, there);
        for token in here.into_iter().chain(there) {
            assert!(
                universe
                    .provider
                    .accepts(SINGLE_USE, &token.unwrap().access_token)
            );
        }
        tokio::time::sleep(MINUTE * 20).await;
    }
    assert!(universe.provider.calls(SINGLE_USE, Call::Refresh) >= 3);
    assert_eq!(universe.provider.presentations_max(SINGLE_USE), 1);
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn while_another_node_refreshes_callers_wait_and_get_its_token() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let there = token_of(&other.manager, "ada", SINGLE_USE, MINUTE);
    let here = async {
        gate.arrived(1).await;
        let open = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            gate.open();
        };
        tokio::join!(universe.token("ada", SINGLE_USE), open).0
    };
    let (there, here) = tokio::join!(there, here);
    assert_eq!(
        there.unwrap().access_token.expose(),
        here.unwrap().access_token.expose()
    );
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_is_believed_only_after_reading_the_row_again() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    // The other node's refresh token is refused because, meanwhile, the account was connected again here.
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    universe.provider.next(
        SINGLE_USE,
        Call::Refresh,
        Outcome::Fail(crate::ports::oauth::FailureKind::DeadGrant, "invalid_grant"),
    );
    let there = token_of(&other.manager, "ada", SINGLE_USE, MINUTE);
    let meanwhile = async {
        gate.arrived(1).await;
        universe
            .connect_as("ada", wanting(SINGLE_USE), "ada")
            .await
            .unwrap();
        gate.open();
    };
    let (there, ()) = tokio::join!(there, meanwhile);
    assert!(
        universe
            .provider
            .accepts(SINGLE_USE, &there.unwrap().access_token)
    );
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    assert_eq!(
        universe.store.calls(Op::CommitFailure),
        0,
        "no verdict is even tried"
    );
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_slept_through_its_claim_shows_the_newer_token_and_needs_no_verdict_to_be_stored() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    let id = universe.connect("ada", SAFE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let there = token_of(&other.manager, "ada", SAFE, MINUTE);
    let here = async {
        gate.arrived(1).await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        let won = universe.token("ada", SAFE).await.unwrap();
        universe.provider.next(
            SAFE,
            Call::Refresh,
            Outcome::Fail(crate::ports::oauth::FailureKind::DeadGrant, "invalid_grant"),
        );
        // The verdict's fences cannot help: its statement does not get through.
        universe.store.fail_next(Op::CommitFailure, usize::MAX);
        gate.open();
        tokio::time::sleep(Duration::from_secs(1)).await;
        won
    };
    let (_too_late, won) = tokio::join!(there, here);
    let served = token_of(&other.manager, "ada", SAFE, MINUTE).await.unwrap();
    assert_eq!(served.access_token.expose(), won.access_token.expose());
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    universe.store.fail_next(Op::CommitFailure, 0);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_only_looks_does_not_take_the_claim_of_another_who_looks_for_work() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    vanished(&universe, &id, MINUTE);
    // It is found, and planned for later.
    refresh(&universe, &id).await.unwrap_err();
    let planned_at = universe.grant(&id).next_refresh_at;
    assert!(planned_at > Some(universe.clock.now()));
    let claims = universe.store.calls(Op::Claim);
    let gate = universe.store.hold_after(Op::ReturnClaim);
    let another = async {
        gate.arrived(1).await;
        let now = universe.clock.now();
        universe.edit_grant(&id, |grant| {
            grant.claim = Some(Claim {
                attempt: AttemptId(Uuid::now_v7()),
                node: NodeId(Uuid::now_v7()),
                since: now,
                unsettled_since: now,
                until: after(now, Duration::from_secs(20)),
                stale: false,
            });
            grant.next_refresh_at = Some(now);
        });
        gate.open();
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let (looked, ()) = tokio::join!(refresh(&universe, &id), another);
    looked.unwrap_err();
    assert_eq!(universe.store.calls(Op::Claim), claims + 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_vanished_attempt_a_safe_provider_is_asked_at_once() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    vanished(&universe, &id, MINUTE);
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_vanished_attempt_a_grace_provider_is_asked_within_its_window_only() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    vanished(&universe, &id, Duration::from_secs(5));
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 1);

    vanished(&universe, &id, Duration::from_secs(40));
    for _ in 0..3 {
        // Each try looks, and none of them opens the window anew.
        let error = refresh(&universe, &id).await.unwrap_err();
        assert!(
            matches!(error, ServiceError::ProviderUnavailable { .. }),
            "{error}"
        );
        universe.token("ada", GRACE).await.unwrap();
    }
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_grace_window_runs_from_the_first_attempt_however_many_have_vanished_since() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    vanished_again(&universe, &id, SECOND * 8, SECOND * 3);
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 1);

    vanished_again(&universe, &id, SECOND * 10, SECOND * 3);
    let first = universe.grant(&id).claim.unwrap().unsettled_since;
    for _ in 0..2 {
        refresh(&universe, &id).await.unwrap_err();
        assert_eq!(universe.grant(&id).claim.unwrap().unsettled_since, first);
    }
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_lasts_half_the_providers_window_and_elsewhere_as_long_as_is_set() {
    let universe = Universe::new().await;
    for (provider, lease) in [(SAFE, 30), (GRACE, 5), (SINGLE_USE, 30)] {
        let id = universe.connect("ada", provider).await;
        let gate = universe.provider.hold(provider, Call::Refresh);
        let claimed = async {
            gate.arrived(1).await;
            let claim = universe.grant(&id).claim.unwrap();
            assert_eq!(until(claim.since, claim.until), SECOND * lease, "{provider}");
            gate.open();
        };
        let (refreshed, ()) = tokio::join!(refresh(&universe, &id), claimed);
        refreshed.unwrap();
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_node_left_at_a_grace_provider_is_presented_again_within_its_window() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    let now = universe.clock.now();
    universe.edit_grant(&id, |grant| grant.next_refresh_at = Some(now));
    let window = RefreshClass::Grace { window: SECOND * 10 };
    // It was given the work, has begun it, and is no more.
    let dead = NodeId(Uuid::now_v7());
    let given = DispatchRequest {
        provider: GRACE.parse().unwrap(),
        node: dead,
        room: 1,
        hold: SECOND * 10,
        overdue: Duration::ZERO,
    };
    assert_eq!(universe.store.dispatch(&given).await.unwrap().len(), 1);
    let claim = ClaimRequest {
        id: id.clone(),
        generation: 1,
        attempt: AttemptId(Uuid::now_v7()),
        node: dead,
        lease: window.lease(SECOND * 30),
    };
    let outcome = universe.store.claim(&claim).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Claimed { .. }), "{outcome:?}");
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 0);
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 1);
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_twice_is_asked_for_again_while_the_window_is_open() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    for _ in 0..2 {
        universe.provider.next(GRACE, Call::Refresh, Outcome::LostAnswer);
    }
    refresh(&universe, &id).await.unwrap_err();
    assert_eq!(universe.store.row(&id).standing.status, Status::Degraded);
    tokio::time::sleep(SECOND * 6).await;
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 3);
    assert_eq!(universe.provider.offences(GRACE), [""; 0]);
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_vanished_attempt_a_single_use_token_is_served_and_probed_once_before_it_ends() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    vanished(&universe, &id, Duration::from_secs(40));
    let error = refresh(&universe, &id).await.unwrap_err();
    assert!(
        matches!(error, ServiceError::ProviderUnavailable { .. }),
        "{error}"
    );
    assert_eq!(universe.store.row(&id).standing.status, Status::Degraded);
    for _ in 0..58 {
        universe.token("ada", SINGLE_USE).await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 0);
    tokio::time::sleep(MINUTE + Duration::from_secs(30)).await;
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    assert_eq!(
        universe.store.row(&id).standing.status,
        Status::Active,
        "the vanished one had not been sent"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_use_token_whose_answer_was_lost_is_presented_once_more_and_then_the_user_is_asked() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe
        .provider
        .next(SINGLE_USE, Call::Refresh, Outcome::LostAnswer);
    refresh(&universe, &id).await.unwrap_err();
    for _ in 0..58 {
        universe.token("ada", SINGLE_USE).await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    assert_eq!(
        universe.provider.calls(SINGLE_USE, Call::Refresh),
        1,
        "it lives: nothing is risked"
    );
    tokio::time::sleep(MINUTE * 600).await;
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 2);
    let row = universe.store.row(&id);
    assert_eq!(row.standing.status, Status::ReauthRequired);
    assert_eq!(row.standing.reason.unwrap().as_str(), "outcome_unknown");
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_lost_within_the_grace_window_is_asked_for_again_at_once() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", GRACE).await;
    universe.provider.next(GRACE, Call::Refresh, Outcome::LostAnswer);
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 2);
    assert_eq!(universe.provider.offences(GRACE), [""; 0]);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_whose_claim_ran_out_is_refused_by_the_row() {
    let universe = Universe::new().await;
    let other = universe.another_node().await;
    let id = universe.connect("ada", SAFE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let there = token_of(&other.manager, "ada", SAFE, MINUTE);
    let here = async {
        gate.arrived(1).await;
        tokio::time::sleep(Duration::from_secs(31)).await;
        universe.token("ada", SAFE).await.unwrap();
        let won = universe.grant(&id);
        gate.open();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(universe.grant(&id), won, "the first to commit stays");
    };
    let (_there, ()) = tokio::join!(there, here);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_connected_again_during_a_refresh_keeps_its_new_grant() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let again = async {
        gate.arrived(1).await;
        universe.connect("ada", SINGLE_USE).await;
        let new = universe.grant(&id);
        gate.open();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(universe.grant(&id), new);
    };
    let (_refreshed, ()) = tokio::join!(refresh(&universe, &id), again);
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    universe.end().await;
}
