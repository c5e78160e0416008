//! What the database refuses for good is no reason to lose what came with it, and holds nobody up.

use std::time::Duration;

use super::spool::{asked_only, becomes_active, lives, refresh, stopped_with_an_answer};
use crate::{
    domain::{
        integration::{Standing, Status},
        reason::{ANSWER_UNSTORABLE, ReasonCode, WhoMustAct},
        scope::ScopeSet,
    },
    ports::spool::Spool as _,
    testing::{
        oauth::{Call, Outcome},
        spool::MemorySpool,
        store::Op,
        universe::{GRACE, SAFE, SINGLE_USE, Universe, by_user, user},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

fn unstorable(status: Status) -> Standing {
    Standing::because(status, ReasonCode::new(ANSWER_UNSTORABLE), WhoMustAct::Operator)
}

#[tokio::test(start_paused = true)]
async fn tokens_whose_scopes_cannot_be_stored_are_stored_with_the_scopes_as_they_were() {
    let universe = Universe::new().await;
    for provider in [SINGLE_USE, GRACE, SAFE] {
        let id = universe.connect("ada", provider).await;
        let before = universe.store.row(&id);
        let commits = universe.store.calls(Op::CommitRefresh);
        universe
            .provider
            .next(provider, Call::Refresh, Outcome::Unstorable);
        refresh(&universe, &id).await.unwrap();
        assert_eq!(
            universe.store.calls(Op::CommitRefresh) - commits,
            2,
            "and no more"
        );
        let row = universe.store.row(&id);
        assert_eq!(row.standing, unstorable(Status::Active));
        assert_eq!(row.scopes, before.scopes);
        assert_eq!(universe.grant(&id).generation, 2);
        let audit = universe.store.last_audit_row().unwrap();
        assert_eq!(audit.error, Some(ReasonCode::new(ANSWER_UNSTORABLE)));
        assert_eq!(audit.scopes, ScopeSet::default());
        assert_eq!(audit.integration_id, Some(id.clone()));
        assert_eq!(universe.spool.depth(), 0);
        // The next one presents the new token, and all is as before.
        refresh(&universe, &id).await.unwrap();
        assert_eq!(universe.store.row(&id).standing, Standing::active());
        assert_eq!(universe.provider.offences(provider), [""; 0]);
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_scopes_cannot_be_stored_is_connected_with_those_asked_for() {
    let universe = Universe::new().await;
    universe
        .provider
        .next(SINGLE_USE, Call::Exchange, Outcome::Unstorable);
    let id = universe.connect("ada", SINGLE_USE).await;
    let row = universe.store.row(&id);
    assert_eq!(row.standing, Standing::active());
    assert!(row.scopes.iter().all(|scope| !scope.as_str().contains('\0')));
    let audit = universe.store.last_audit_row().unwrap();
    assert_eq!(audit.error, Some(ReasonCode::new(ANSWER_UNSTORABLE)));
    refresh(&universe, &id).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_nobody_can_store_is_kept_and_told_and_not_tried_again_and_again() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.store.refuse_tokens(&id, true);
    refresh(&universe, &id).await.unwrap_err();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(universe.store.calls(Op::CommitRefresh), 2);
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    assert_eq!(universe.store.row(&id).standing, unstorable(Status::Degraded));
    assert_eq!((universe.spool.depth(), universe.spool.synced()), (1, 1));
    // The operator mends what was in the way, and starts again.
    universe.store.refuse_tokens(&id, false);
    let next = universe.node_with_spool(&universe.spool).await;
    becomes_active(&universe, &id).await;
    assert_eq!(universe.spool.depth(), 0);
    lives(&universe, &next, &id).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_spool_that_nobody_can_store_holds_up_no_other() {
    let universe = asked_only().await;
    let spool = MemorySpool::default();
    let mut ids = Vec::new();
    for provider in [SINGLE_USE, GRACE, SAFE] {
        let id = universe.connect("ada", provider).await;
        let left = stopped_with_an_answer(&universe, &id).await;
        for (_, answer) in left.left() {
            spool.put(&answer).unwrap();
        }
        ids.push(id);
    }
    let (bad, good) = ids.split_first().unwrap();
    universe.store.refuse_tokens(bad, true);
    let next = universe.node_with_spool(&spool).await;
    for id in good {
        becomes_active(&universe, id).await;
        lives(&universe, &next, id).await;
    }
    let offered = universe.store.calls(Op::ReplayRefresh);
    tokio::time::sleep(MINUTE).await;
    assert_eq!(universe.store.calls(Op::ReplayRefresh), offered, "and no more");
    assert_eq!((universe.grant(bad).generation, spool.depth()), (1, 1));
    next.end().await;
    universe.store.refuse_tokens(bad, false);
    let next = universe.node_with_spool(&spool).await;
    becomes_active(&universe, bad).await;
    lives(&universe, &next, bad).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_spool_is_stored_without_what_cannot_be() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe
        .provider
        .next(SINGLE_USE, Call::Refresh, Outcome::Unstorable);
    let spool = stopped_with_an_answer(&universe, &id).await;
    let next = universe.node_with_spool(&spool).await;
    for _ in 0..600 {
        if universe.grant(&id).generation > 1 {
            break;
        }
        tokio::time::sleep(MINUTE / 600).await;
    }
    assert_eq!(universe.store.row(&id).standing, unstorable(Status::Active));
    assert_eq!(spool.depth(), 0);
    lives(&universe, &next, &id).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_own_row_does_not_answer_goes_behind_the_others() {
    let universe = asked_only().await;
    let spool = MemorySpool::default();
    let mut ids = Vec::new();
    for provider in [SINGLE_USE, GRACE] {
        let id = universe.connect("ada", provider).await;
        for (_, answer) in stopped_with_an_answer(&universe, &id).await.left() {
            spool.put(&answer).unwrap();
        }
        ids.push(id);
    }
    universe.store.fail_next(Op::ReplayRefresh, 1);
    let gate = universe.store.hold_after(Op::ReplayRefresh);
    let next = universe.node_with_spool(&spool).await;
    gate.arrived(1).await;
    assert_eq!(universe.grant(&ids[0]).generation, 1);
    assert_eq!(universe.grant(&ids[1]).generation, 2, "its turn came first");
    gate.open();
    becomes_active(&universe, &ids[0]).await;
    next.manager
        .refresh(&user("ada"), &ids[0], by_user("ada"))
        .await
        .unwrap();
    next.end().await;
    universe.end().await;
}
