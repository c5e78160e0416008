//! Answers that come late, when somebody else may have presented the same refresh token.

use std::time::Duration;

use uuid::Uuid;

use super::spool::stopped_with_an_answer;
use crate::{
    domain::{
        ids::{AttemptId, IntegrationId, NodeId},
        integration::{Claim, Standing, Status},
        reason::{ANSWER_LATE, ReasonCode, WhoMustAct},
        secret::RefreshToken,
    },
    ports::{
        clock::Clock as _,
        oauth::{FailureKind, OAuth as _, RefreshRequest},
    },
    shared::before,
    testing::{
        oauth::{Call, Outcome},
        store::Op,
        universe::{SINGLE_USE, Universe, by_user, user},
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// Another attempt claimed the row after the one whose answer lies in the spool, and has not been heard of since.
fn claimed_since(universe: &Universe, id: &IntegrationId) {
    let now = universe.clock.now();
    universe.edit_grant(id, |grant| {
        grant.claim = Some(Claim {
            attempt: AttemptId(Uuid::now_v7()),
            node: NodeId(Uuid::now_v7()),
            since: before(now, SECOND * 20),
            unsettled_since: before(now, SECOND * 60),
            until: now,
            stale: true,
        });
    });
}

/// It presented the refresh token, which was spent.
async fn present_again(universe: &Universe, id: &IntegrationId) {
    let row = universe.store.row(id);
    let sealed = universe.grant(id).refresh_token.unwrap();
    let sealed = String::from_utf8(sealed.0).unwrap();
    let request = RefreshRequest {
        refresh_token: RefreshToken::new(sealed.rsplit('|').next().unwrap()),
        scopes: row.scopes,
        metadata: row.metadata,
        account: row.account,
    };
    let refused = universe
        .provider
        .refresh(&id.provider, request)
        .await
        .unwrap_err();
    assert_eq!(refused.kind, FailureKind::DeadGrant);
}

async fn reaches(universe: &Universe, id: &IntegrationId, standing: &Standing) {
    for _ in 0..600 {
        if universe.store.row(id).standing == *standing {
            return;
        }
        tokio::time::sleep(SECOND / 10).await;
    }
    panic!("never {standing:?}: {:?}", universe.store.row(id).standing);
}

#[tokio::test(start_paused = true)]
async fn after_a_probe_that_vanished_its_answer_is_waited_for_too() {
    let universe = Universe::tuned(|settings| settings.poll_interval = SECOND * 3600).await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let now = universe.clock.now();
    universe.edit_grant(&id, |grant| {
        grant.claim = Some(Claim {
            attempt: AttemptId(Uuid::now_v7()),
            node: NodeId(Uuid::now_v7()),
            since: before(now, SECOND * 31),
            unsettled_since: before(now, SECOND * 31),
            until: before(now, SECOND),
            stale: true,
        });
        grant.next_refresh_at = Some(before(now, SECOND * 32));
    });
    universe.store.edit(&id, |row| {
        row.standing = Standing::because(
            Status::Degraded,
            ReasonCode::new("outcome_unknown"),
            WhoMustAct::Nobody,
        );
    });
    let owner = user("ada");
    let ask = || universe.manager.refresh(&owner, &id, by_user("ada"));
    ask().await.unwrap_err();
    tokio::time::sleep(SECOND * 3).await;
    ask().await.unwrap_err();
    assert_eq!(
        universe.provider.calls(SINGLE_USE, Call::Refresh),
        0,
        "whoever has the answer can store it now"
    );
    // Nobody has stored it: the account itself makes the one probe.
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_in_doubt_is_proved_at_once() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    tokio::time::sleep(SECOND * 31).await;
    claimed_since(&universe, &id);
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let next = universe.node_with_spool(&spool).await;
    gate.arrived(1).await;
    let in_doubt = Standing::because(Status::Degraded, ReasonCode::new(ANSWER_LATE), WhoMustAct::Nobody);
    assert_eq!(universe.store.row(&id).standing, in_doubt);
    assert_eq!(universe.grant(&id).generation, 2);
    gate.open();
    reaches(&universe, &id, &Standing::active()).await;
    assert_eq!(universe.grant(&id).generation, 3);
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_of_a_grant_that_a_probe_has_ended_says_that_the_outcome_was_unknown() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    tokio::time::sleep(SECOND * 31).await;
    present_again(&universe, &id).await;
    claimed_since(&universe, &id);
    // What says nothing of the grant takes nothing from the doubt.
    universe.provider.next(
        SINGLE_USE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Passing, "temporarily_unavailable"),
    );
    let next = universe.node_with_spool(&spool).await;
    let lost = Standing::because(
        Status::ReauthRequired,
        ReasonCode::new("outcome_unknown"),
        WhoMustAct::User,
    );
    reaches(&universe, &id, &lost).await;
    assert!(universe.store.calls(Op::CommitFailure) >= 2);
    next.end().await;
    universe.end().await;
}
