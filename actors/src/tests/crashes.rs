//! Defects: an actor that panics is started again, and nobody else notices.

use std::time::Duration;

use crate::{
    domain::{error::ServiceError, ids::IntegrationId},
    handle::Observation,
    testing::universe::{SAFE, SINGLE_USE, Universe},
};

async fn observe(universe: &Universe) -> Observation {
    universe.manager.observe(&SAFE.parse().unwrap()).await.unwrap()
}

/// Makes the account's actor fail, and waits until its supervisor has noticed.
async fn panic_of(universe: &Universe, id: &IntegrationId) {
    let before = observe(universe).await.restarts;
    universe.manager.inject_panic(id);
    while observe(universe).await.restarts == before {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_panicking_integration_is_restarted_from_its_row_and_its_siblings_answer_meanwhile() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SAFE).await;
    universe.connect("bob", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.token("bob", SAFE).await.unwrap();
    panic_of(&universe, &ada).await;
    universe.token("bob", SAFE).await.unwrap();
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(observe(&universe).await.restarts, 1);
    universe.end_after_failures().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_quarantines_one_integration_and_probes_it_later() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SAFE).await;
    universe.connect("bob", SAFE).await;
    for _ in 0..5 {
        universe.token("ada", SAFE).await.unwrap();
        panic_of(&universe, &ada).await;
    }
    let error = universe.token("ada", SAFE).await.unwrap_err();
    assert!(matches!(error, ServiceError::Overloaded { .. }), "{error}");
    assert_eq!(observe(&universe).await.quarantined, 1);
    universe.token("bob", SAFE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(901)).await;
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(observe(&universe).await.quarantined, 0);
    universe.end_after_failures().await;
}

#[tokio::test(start_paused = true)]
async fn a_panicking_supervisor_is_restarted_and_its_accounts_answer_again() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    universe.connect("bob", SINGLE_USE).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.manager.inject_provider_panic(&SAFE.parse().unwrap());
    universe.token("bob", SINGLE_USE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.end_after_failures().await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_fails_on_and_on_gives_up() {
    let universe = Universe::new().await;
    for _ in 0..3 {
        universe.manager.inject_provider_panic(&SAFE.parse().unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::timeout(Duration::from_secs(5), universe.failed())
        .await
        .unwrap();
}
