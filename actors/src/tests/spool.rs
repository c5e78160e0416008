//! An answer that reached us is never lost, whatever becomes of the database, the process, or its claim meanwhile.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    domain::{
        error::ServiceError,
        ids::{AttemptId, IntegrationId, NodeId},
        integration::{Claim, Standing, Status},
        reason::{ReasonCode, WhoMustAct},
    },
    ports::{clock::Clock as _, oauth::FailureKind, spool::Spool as _},
    shared::after,
    system::Stopped,
    testing::{
        oauth::{Call, Outcome},
        spool::MemorySpool,
        store::Op,
        universe::{GRACE, Node, SAFE, SINGLE_USE, Universe, by_user, token_of, user},
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn refresh(universe: &Universe, id: &IntegrationId) -> Result<(), ServiceError> {
    universe
        .manager
        .refresh(&user("ada"), id, by_user("ada"))
        .await
        .map(drop)
}

/// A node that has an answer for this account in hand, refused by a database that is away, when it is stopped. What is left
/// is its disk, and its claim in the row.
pub(super) async fn stopped_with_an_answer(universe: &Universe, id: &IntegrationId) -> MemorySpool {
    let provider = id.provider.as_str();
    let node = universe.another_node().await;
    let gate = universe.provider.hold(provider, Call::Refresh);
    // Its access token lives on: nobody begins anything by himself.
    let owner = user("ada");
    let asked = node.manager.refresh(&owner, id, by_user("ada"));
    let outage = async {
        gate.arrived(1).await;
        universe.store.away(true);
        gate.open();
    };
    let (refused, ()) = tokio::join!(asked, outage);
    refused.unwrap_err();
    let spool = node.spool.clone();
    let stopped = node.end().await;
    assert!(!stopped.drained, "it had something in hand");
    universe.store.away(false);
    spool
}

/// A universe whose own node looks for no work: it does what it is asked, and nothing by itself.
pub(super) async fn asked_only() -> Universe {
    Universe::tuned(|settings| settings.poll_interval = MINUTE * 60 * 24).await
}

pub(super) async fn becomes_active(universe: &Universe, id: &IntegrationId) {
    for _ in 0..600 {
        if universe.store.row(id).standing == Standing::active() && universe.grant(id).generation > 1 {
            return;
        }
        tokio::time::sleep(SECOND / 10).await;
    }
    panic!("never stored: {:?}", universe.store.row(id).standing);
}

/// Its access token and its refresh token are good.
pub(super) async fn lives(universe: &Universe, node: &Node, id: &IntegrationId) {
    let provider = id.provider.as_str();
    let token = token_of(&node.manager, "ada", provider, MINUTE).await.unwrap();
    assert!(universe.provider.accepts(provider, &token.access_token));
    node.manager
        .refresh(&user("ada"), id, by_user("ada"))
        .await
        .unwrap();
    assert_eq!(universe.provider.offences(provider), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_in_the_spool_before_its_commit_is_tried() {
    let universe = Universe::new().await;
    for provider in [SINGLE_USE, GRACE] {
        let id = universe.connect("ada", provider).await;
        let puts = universe.spool.puts();
        let gate = universe.store.hold_before(Op::CommitRefresh);
        let look = async {
            gate.arrived(1).await;
            assert_eq!((universe.spool.puts() - puts, universe.spool.depth()), (1, 1));
            gate.open();
        };
        let (refreshed, ()) = tokio::join!(refresh(&universe, &id), look);
        refreshed.unwrap();
        assert_eq!(universe.spool.depth(), 0, "it is in the row");
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_whose_loss_would_cost_nothing_is_spooled_only_when_it_cannot_be_stored() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.spool.puts(), 0);
    universe.store.fail_next(Op::CommitRefresh, 1);
    let gate = universe.store.hold_after(Op::CommitRefresh);
    let look = async {
        gate.arrived(1).await;
        assert_eq!((universe.spool.depth(), universe.spool.synced()), (1, 1));
        gate.open();
    };
    let (refreshed, ()) = tokio::join!(refresh(&universe, &id), look);
    refreshed.unwrap();
    assert_eq!(universe.spool.depth(), 0);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_salvaged_refresh_token_is_in_the_spool_before_its_commit_is_tried() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe
        .provider
        .next(SINGLE_USE, Call::Refresh, Outcome::Garbled);
    let gate = universe.store.hold_before(Op::CommitRefresh);
    let look = async {
        gate.arrived(1).await;
        assert_eq!(universe.spool.depth(), 1);
        gate.open();
    };
    let (refreshed, ()) = tokio::join!(refresh(&universe, &id), look);
    refreshed.unwrap_err();
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_spool_is_replayed_and_forgotten() {
    for provider in [SINGLE_USE, GRACE, SAFE] {
        let universe = Universe::new().await;
        let id = universe.connect("ada", provider).await;
        let spool = stopped_with_an_answer(&universe, &id).await;
        assert_eq!((spool.depth(), spool.synced()), (1, 1));
        let next = universe.node_with_spool(&spool).await;
        becomes_active(&universe, &id).await;
        assert_eq!(universe.store.calls(Op::ReplayRefresh), 1);
        assert_eq!(spool.depth(), 0);
        lives(&universe, &next, &id).await;
        next.end().await;
        universe.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_spool_is_replayed_when_a_database_that_was_away_at_the_start_is_back() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    universe.store.away(true);
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(MINUTE * 5).await;
    assert_eq!(spool.depth(), 1);
    universe.store.away(false);
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(spool.depth(), 0, "within five seconds");
    lives(&universe, &next, &id).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn while_a_node_holds_an_answer_it_presents_that_refresh_token_to_nobody() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    // But for the spool there is nothing in the way of a refresh.
    universe.edit_grant(&id, |grant| grant.claim = None);
    let gate = universe.store.hold_before(Op::ReplayRefresh);
    let next = universe.node_with_spool(&spool).await;
    let owner = user("ada");
    let asked = next.manager.refresh(&owner, &id, by_user("ada"));
    let later = async {
        gate.arrived(1).await;
        tokio::time::sleep(SECOND * 5).await;
        assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
        gate.open();
    };
    let (refreshed, ()) = tokio::join!(asked, later);
    refreshed.unwrap();
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    lives(&universe, &next, &id).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_is_harmless_when_another_node_moved_on() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SAFE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    tokio::time::sleep(SECOND * 31).await;
    refresh(&universe, &id).await.unwrap();
    let won = universe.token("ada", SAFE).await.unwrap();
    let row = universe.store.row(&id);
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(universe.store.row(&id), row);
    assert_eq!(spool.depth(), 0);
    let served = token_of(&next.manager, "ada", SAFE, MINUTE).await.unwrap();
    assert_eq!(served.access_token.expose(), won.access_token.expose());
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_an_attempt_under_way_and_gives_way_to_its_answer() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SAFE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    tokio::time::sleep(SECOND * 31).await;
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let here = async {
        refresh(&universe, &id).await.unwrap();
        universe.token("ada", SAFE).await
    };
    let there = async {
        gate.arrived(1).await;
        let next = universe.node_with_spool(&spool).await;
        tokio::time::sleep(SECOND * 8).await;
        assert_eq!((universe.grant(&id).generation, spool.depth()), (1, 1));
        gate.open();
        next
    };
    let (here, next) = tokio::join!(here, there);
    tokio::time::sleep(SECOND).await;
    assert_eq!((universe.grant(&id).generation, spool.depth()), (2, 0));
    let served = token_of(&next.manager, "ada", SAFE, MINUTE).await.unwrap();
    assert_eq!(served.access_token.expose(), here.unwrap().access_token.expose());
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_replayed_answer_ends_outcome_unknown() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    // Another node finds the claim run out and writes down what it must think.
    tokio::time::sleep(SECOND * 31).await;
    refresh(&universe, &id).await.unwrap_err();
    let row = universe.store.row(&id);
    assert_eq!(row.standing.reason, Some(ReasonCode::new("outcome_unknown")));
    assert!(row.grant.unwrap().claim.is_some(), "kept as a stale one");

    let next = universe.node_with_spool(&spool).await;
    becomes_active(&universe, &id).await;
    assert_eq!(universe.grant(&id).claim, None);
    assert_eq!(
        universe.grant(&id).generation,
        2,
        "who only looked presented nothing: there is no doubt"
    );
    lives(&universe, &next, &id).await;
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn awake_accounts_of_a_node_hear_of_its_replay() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    tokio::time::sleep(SECOND * 31).await;
    let gate = universe.store.hold_before(Op::ReplayRefresh);
    let next = universe.node_with_spool(&spool).await;
    gate.arrived(1).await;
    // It is awake now, and knows the row as it was: with a token that still lives a little.
    universe.ends_in(&id, MINUTE * 3);
    let before = token_of(&next.manager, "ada", SINGLE_USE, MINUTE).await.unwrap();
    gate.open();
    tokio::time::sleep(SECOND * 2).await;
    let now = token_of(&next.manager, "ada", SINGLE_USE, MINUTE).await.unwrap();
    assert_ne!(before.access_token.expose(), now.access_token.expose());
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_account_refuses_a_replay() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    // The provider is not to be told yet: the tokens stay, and so does the generation.
    universe.provider.next(
        SINGLE_USE,
        Call::Revoke,
        Outcome::Fail(FailureKind::Passing, "http_503"),
    );
    universe
        .manager
        .revoke(&user("ada"), &id, by_user("ada"))
        .await
        .unwrap();
    assert_eq!(universe.grant(&id).generation, 1);
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(universe.store.row(&id).standing.status, Status::Revoked);
    assert_eq!(spool.depth(), 0, "not offered again");
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_open_stays_for_a_start_with_the_right_keys() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    let altered = spool.clone();
    universe.vault.lose_key(true);
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(spool.depth(), 1);
    next.end().await;
    universe.vault.lose_key(false);
    altered.corrupt();
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(
        universe.grant(&id).generation,
        1,
        "altered, it is stored by nobody"
    );
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_alarms_and_the_refresh_goes_on() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spool.full(true);
    refresh(&universe, &id).await.unwrap();
    // And an outage is survived from memory, as long as the process does.
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let outage = async {
        gate.arrived(1).await;
        universe.store.away(true);
        gate.open();
        tokio::time::sleep(SECOND * 10).await;
        universe.store.away(false);
        tokio::time::sleep(SECOND * 3).await;
    };
    let (refreshed, ()) = tokio::join!(refresh(&universe, &id), outage);
    refreshed.unwrap_err();
    assert_eq!(universe.grant(&id).generation, 3);
    assert_eq!(universe.spool.puts(), 0);
    // A disk that is there again is used again.
    universe.spool.full(false);
    refresh(&universe, &id).await.unwrap();
    assert_eq!(universe.spool.puts(), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_lost_its_claim_stores_its_answer_if_nobody_has_a_better_one() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.ends_in(&id, MINUTE * 30);
    // It stands still during its call for longer than its claim lasts.
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let other = universe.another_node().await;
    let here = refresh(&universe, &id);
    let there = async {
        gate.arrived(1).await;
        tokio::time::sleep(SECOND * 20).await;
        universe.edit_grant(&id, |grant| {
            let claim = grant.claim.as_mut().unwrap();
            claim.until = claim.since;
        });
        other
            .manager
            .refresh(&user("ada"), &id, by_user("ada"))
            .await
            .unwrap_err();
        let reason = universe.store.row(&id).standing.reason;
        assert_eq!(reason, Some(ReasonCode::new("outcome_unknown")));
        gate.open();
    };
    let (here, ()) = tokio::join!(here, there);
    here.unwrap();
    assert_eq!(universe.store.row(&id).standing, Standing::active());
    lives(&universe, &other, &id).await;
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_single_use_token_of_unknown_fate_is_left_alone_until_its_answer_could_be_stored() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let other = universe.another_node().await;
    let here = refresh(&universe, &id);
    let outage = async {
        gate.arrived(1).await;
        universe.store.away(true);
        gate.open();
        tokio::time::sleep(MINUTE * 5).await;
        // What it had is long spent when the database is back, and the other node is quicker.
        universe.spend(&id);
        universe.store.away(false);
        let refused = token_of(&other.manager, "ada", SINGLE_USE, MINUTE).await;
        refused.map(drop)
    };
    let (_, there) = tokio::join!(here, outage);
    drop(there);
    tokio::time::sleep(SECOND * 10).await;
    lives(&universe, &other, &id).await;
    assert_eq!(universe.provider.presentations_max(SINGLE_USE), 1);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_claim_grown_old_before_the_call_is_given_back() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let vanished = Claim {
        attempt: AttemptId(Uuid::now_v7()),
        node: NodeId(Uuid::now_v7()),
        since: universe.clock.now(),
        unsettled_since: universe.clock.now(),
        until: universe.clock.now(),
        stale: true,
    };
    let gate = universe.store.hold_after(Op::Claim);
    let slow = async {
        gate.arrived(1).await;
        tokio::time::sleep(SECOND * 16).await;
        gate.open();
        // At once, and not when it would have run out.
        tokio::time::sleep(SECOND / 10).await;
        assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 0);
        assert_eq!(universe.grant(&id).claim, None);
    };
    let before = universe.store.row(&id);
    let (refreshed, ()) = tokio::join!(refresh(&universe, &id), slow);
    refreshed.unwrap();
    assert_eq!(
        before.grant.unwrap().generation + 1,
        universe.grant(&id).generation
    );

    // What an attempt before had left behind is left as it was.
    let id = universe.connect("ada", SAFE).await;
    universe.edit_grant(&id, |grant| grant.claim = Some(vanished.clone()));
    let gate = universe.store.hold_after(Op::Claim);
    let slow = async {
        gate.arrived(1).await;
        tokio::time::sleep(SECOND * 16).await;
        let returned = universe.store.hold_after(Op::ReturnClaim);
        gate.open();
        returned.arrived(1).await;
        assert_eq!(universe.grant(&id).claim, Some(vanished));
        returned.open();
    };
    let (refreshed, ()) = tokio::join!(refresh(&universe, &id), slow);
    refreshed.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_graceful_stop_gives_back_claims_whose_call_has_not_begun() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let node = universe.another_node().await;
    universe.spend(&id);
    let gate = universe.store.hold_after(Op::Claim);
    let manager = node.manager.clone();
    let asked = token_of(&manager, "ada", SINGLE_USE, MINUTE);
    let stop = async {
        gate.arrived(1).await;
        let release = async {
            tokio::time::sleep(SECOND).await;
            gate.open();
        };
        tokio::join!(node.end(), release).0
    };
    let (_, stopped) = tokio::join!(asked, stop);
    assert_eq!(
        stopped,
        Stopped {
            drained: true,
            audit_written: true
        }
    );
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 0);
    assert_eq!(universe.grant(&id).claim, None);
    // Nobody has to wait for a lease to run out.
    let began = universe.clock.now();
    universe.token("ada", SINGLE_USE).await.unwrap();
    assert!(universe.clock.now() < after(began, SECOND));
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_ended_the_account_refuses_a_replay() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let spool = stopped_with_an_answer(&universe, &id).await;
    universe.edit_grant(&id, |grant| grant.claim = None);
    universe.provider.next(
        SINGLE_USE,
        Call::Refresh,
        Outcome::Fail(FailureKind::DeadGrant, "invalid_grant"),
    );
    refresh(&universe, &id).await.unwrap_err();
    let row = universe.store.row(&id);
    assert_eq!(row.standing.who_must_act, Some(WhoMustAct::User));
    let next = universe.node_with_spool(&spool).await;
    tokio::time::sleep(SECOND * 5).await;
    assert_eq!(universe.store.row(&id), row);
    assert_eq!(spool.depth(), 0);
    next.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_looks_again_and_again_does_not_put_off_the_one_probe() {
    let universe = asked_only().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let now = universe.clock.now();
    universe.edit_grant(&id, |grant| {
        grant.claim = Some(Claim {
            attempt: AttemptId(Uuid::now_v7()),
            node: NodeId(Uuid::now_v7()),
            since: now,
            unsettled_since: now,
            until: now,
            stale: true,
        });
    });
    for _ in 0..3 {
        assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 0);
        refresh(&universe, &id).await.unwrap_err();
        tokio::time::sleep(SECOND * 3 / 2).await;
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    assert_eq!(universe.store.row(&id).standing, Standing::active());
    universe.end().await;
}
