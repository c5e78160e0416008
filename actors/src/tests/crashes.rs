//! Defects: an actor that panics is started again, and nobody else notices.

use std::time::Duration;

use crate::{
    domain::{error::ServiceError, ids::IntegrationId},
    handle::Observation,
    testing::{
        oauth::{Call, Outcome},
        universe::{SAFE, SINGLE_USE, Universe, by_user, user},
    },
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
async fn a_panic_in_a_refresh_is_its_actors_failure_and_keeps_nobody_waiting() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SAFE).await;
    universe.spend(&ada);
    universe.provider.next(SAFE, Call::Refresh, Outcome::Defect);
    // The actor that failed answers nobody; the one after it finds the claim that was left, and waits for its end.
    let error = universe.token("ada", SAFE).await.unwrap_err();
    assert_eq!(error, ServiceError::DeadlineExceeded);
    tokio::time::sleep(Duration::from_secs(40)).await;
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

/// Every kind of message an account gets while it is asked, refreshed, told of changes and taken back.
const KINDS: [&str; 9] = [
    "ask",
    "refresh",
    "due",
    "reload",
    "reloaded",
    "refreshed",
    "revoke",
    "revocation_stored",
    "provider_told",
];

#[tokio::test(start_paused = true)]
async fn whatever_message_kills_it_an_account_comes_back_and_no_refresh_token_is_presented_twice() {
    for kind in KINDS {
        let universe = Universe::new().await;
        let ada = universe.connect("ada", SINGLE_USE).await;
        universe.connect("bob", SINGLE_USE).await;
        let owner = user("ada");
        universe.manager.set_trap(kind, 1);
        // Each of these may be what fails; what fails is answered with a type, never left without an answer.
        let _ = universe.token("ada", SINGLE_USE).await;
        let _ = universe.manager.refresh(&owner, &ada, by_user("ada")).await;
        universe.manager.changed(&ada);
        // Past its due time and more, asked now and then, so that it stays awake and its own timer fires.
        for _ in 0..60 {
            tokio::time::sleep(Duration::from_secs(60)).await;
            let _ = universe.token("ada", SINGLE_USE).await;
        }
        if !kind.starts_with("revo") && kind != "provider_told" {
            assert_eq!(universe.manager.trap_left(), 0, "{kind} was met");
            let token = universe.token("ada", SINGLE_USE).await.unwrap();
            assert!(
                universe.provider.accepts(SINGLE_USE, &token.access_token),
                "{kind}"
            );
        }
        let _ = universe.manager.revoke(&owner, &ada, by_user("ada")).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(universe.manager.trap_left(), 0, "{kind} was met");
        // Denied if the wish was durable, or still there if it was not: never half.
        match universe.token("ada", SINGLE_USE).await {
            Ok(_) => {
                assert_eq!(kind, "revoke", "only a wish nobody has heard is forgotten");
                universe
                    .manager
                    .revoke(&owner, &ada, by_user("ada"))
                    .await
                    .unwrap();
            }
            Err(error) => assert!(matches!(error, ServiceError::NotConnected), "{kind}: {error}"),
        }
        universe.token("bob", SINGLE_USE).await.unwrap();
        assert!(
            universe.provider.presentations_max(SINGLE_USE) <= 1,
            "{kind}: presented twice"
        );
        assert!(universe.provider.offences(SINGLE_USE).is_empty(), "{kind}");
        let single = SINGLE_USE.parse().unwrap();
        let observed = universe.manager.observe(&single).await.unwrap();
        assert_eq!((observed.restarts, observed.quarantined), (1, 0), "{kind}");
        universe.end_after_failures().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fails_on_every_refresh_is_restarted_within_its_budget_and_presents_nothing_twice() {
    let universe = Universe::new().await;
    let ada = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    universe.manager.set_trap("refreshed", 1_000);
    let owner = user("ada");
    for _ in 0..20 {
        let _ = universe.manager.refresh(&owner, &ada, by_user("ada")).await;
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let single = SINGLE_USE.parse().unwrap();
    let observed = universe.manager.observe(&single).await.unwrap();
    assert!(observed.restarts <= 5, "{observed:?}");
    assert_eq!(
        (observed.quarantined, observed.quarantine[0].id.clone()),
        (1, ada.clone())
    );
    assert!(universe.provider.presentations_max(SINGLE_USE) <= 1);
    // Mended, it is itself again after its quarantine.
    universe.manager.set_trap("refreshed", 0);
    tokio::time::sleep(Duration::from_secs(901)).await;
    let token = universe.token("ada", SINGLE_USE).await.unwrap();
    assert!(universe.provider.accepts(SINGLE_USE, &token.access_token));
    universe.end_after_failures().await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_with_a_part_missing_is_not_ready_until_it_is_back() {
    let universe = Universe::new().await;
    assert!(universe.manager.ready().await.all());
    universe.manager.inject_provider_panic(&SAFE.parse().unwrap());
    // The panic is handled before any time passes; the restart has a pause.
    while universe.manager.observe(&SAFE.parse().unwrap()).await.is_ok() {}
    let parts = universe.manager.ready().await;
    assert!(!parts.actors && parts.database && parts.keys, "{parts:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(universe.manager.ready().await.all());
    universe.manager.leave();
    let parts = universe.manager.ready().await;
    assert!(parts.stopping && !parts.all(), "{parts:?}");
    universe.token("nobody", SAFE).await.unwrap_err();
    universe.end_after_failures().await;
}
