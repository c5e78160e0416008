//! Due work over nodes: each account to one of them, none starved, back at once.

use std::time::Duration;

use crate::{
    domain::provider::Provider,
    ports::{
        clock::Clock as _,
        store::{DispatchRequest, IntegrationStore as _},
    },
    shared::before,
    testing::{
        oauth::Call,
        provider::provider,
        store::Op,
        universe::{GRACE, SAFE, Universe},
    },
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Providers that take one call at a time, and a first system that looks for no work of its own.
async fn narrow(keys: &[&str]) -> Universe {
    let one_at_a_time = |key: &&str| Provider {
        max_concurrency: 1,
        ..provider(key)
    };
    Universe::with(keys.iter().map(one_at_a_time).collect(), |settings| {
        settings.poll_interval = DAY;
    })
    .await
}

/// Connects so many accounts whose work is due now.
async fn due(universe: &Universe, provider: &str, count: usize) {
    for n in 0..count {
        let id = universe.connect(&format!("{provider}-{n}"), provider).await;
        let since = before(universe.clock.now(), SECOND);
        universe.edit_grant(&id, |grant| grant.next_refresh_at = Some(since));
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_never_take_the_same_due_account() {
    // One call at a time: what a node was given waits there for its turn, unclaimed, for seconds.
    let universe = narrow(&[SAFE]).await;
    due(&universe, SAFE, 12).await;
    let nodes = (universe.another_node().await, universe.another_node().await);
    for _ in 0..2 {
        let gate = universe.provider.hold(SAFE, Call::Refresh);
        gate.arrived(1).await;
        tokio::time::sleep(SECOND * 3).await;
        gate.open();
    }
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 12);
    assert_eq!(universe.store.calls(Op::Claim), 12, "no claim was raced for");
    nodes.0.end().await;
    nodes.1.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_stopping_node_hands_its_due_work_back() {
    let universe = narrow(&[SAFE]).await;
    let stopping = universe.another_node().await;
    due(&universe, SAFE, 4).await;
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    gate.arrived(1).await;
    // It was given all four; one is at the provider, and the other three wait for their turn.
    let other = universe.another_node().await;
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    let stopped = stopping.end();
    let meanwhile = async {
        tokio::time::sleep(SECOND * 3).await;
        assert_eq!(
            universe.provider.calls(SAFE, Call::Refresh),
            4,
            "the other node did not wait for marks to run out"
        );
        gate.open();
    };
    let (stopped, ()) = tokio::join!(stopped, meanwhile);
    assert!(stopped.drained);
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 4);
    other.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_work_of_a_node_that_died_is_taken_over_within_seconds() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let since = before(universe.clock.now(), SECOND);
    universe.edit_grant(&id, |grant| grant.next_refresh_at = Some(since));
    // A node that was given it, and is no more.
    let dead = DispatchRequest {
        provider: SAFE.parse().unwrap(),
        node: crate::domain::ids::NodeId(uuid::Uuid::now_v7()),
        room: 10,
        hold: SECOND * 10,
        overdue: Duration::ZERO,
    };
    assert_eq!(universe.store.dispatch(&dead).await.unwrap().len(), 1);
    tokio::time::sleep(SECOND * 9).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 0);
    tokio::time::sleep(SECOND * 4).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_providers_backlog_starves_no_other_and_stays_in_the_database() {
    let universe = narrow(&[SAFE, GRACE]).await;
    due(&universe, SAFE, 50).await;
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let node = universe.another_node().await;
    gate.arrived(1).await;
    tokio::time::sleep(SECOND * 5).await;
    due(&universe, GRACE, 3).await;
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(universe.provider.calls(GRACE, Call::Refresh), 3);
    let awake = node.manager.observe(&SAFE.parse().unwrap()).await.unwrap().awake;
    assert!(awake <= 8, "a node takes what it can start soon, not {awake}");
    gate.open();
    tokio::time::sleep(SECOND * 20).await;
    assert_eq!(
        universe.provider.calls(SAFE, Call::Refresh),
        50,
        "and all of it in the end"
    );
    node.end().await;
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_sleeps_is_refreshed_at_most_seconds_after_it_is_due() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let due = universe.grant(&id).next_refresh_at.unwrap();
    let wait = crate::shared::until(universe.clock.now(), due);
    tokio::time::sleep(wait).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 0, "not before");
    let read = universe.store.calls(Op::Load);
    tokio::time::sleep(SECOND * 2).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    let read = universe.store.calls(Op::Load) - read;
    assert_eq!(
        read, 0,
        "its row came with the work, and as it is now with the commit"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_awake_account_hears_of_work_that_was_brought_forward() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let id = universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    // As an attempt on another node does that vanished: nobody announces it.
    let now = universe.clock.now();
    universe.edit_grant(&id, |grant| grant.next_refresh_at = Some(now));
    tokio::time::sleep(SECOND * 3).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stopped_looking_for_work_in_an_outage_looks_again() {
    let universe = Universe::new().await;
    due(&universe, SAFE, 3).await;
    universe.store.fail_next(Op::Dispatch, 5);
    tokio::time::sleep(SECOND * 15).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 3);
    universe.end().await;
}
