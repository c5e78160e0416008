//! The refresh protocol: durable before it is told, whatever the database does in between.

use std::time::Duration;

use futures_util::FutureExt as _;

use crate::{
    domain::{
        error::ServiceError,
        ids::IntegrationId,
        integration::{IntegrationView, Status},
    },
    handle::ServiceResult,
    ports::clock::Clock as _,
    shared::until,
    testing::{
        oauth::{Call, Outcome},
        store::Op,
        universe::{SAFE, SINGLE_USE, Universe, by_user, user},
    },
};

async fn refresh(universe: &Universe, owner: &str, id: &IntegrationId) -> ServiceResult<IntegrationView> {
    universe.manager.refresh(&user(owner), id, by_user(owner)).await
}

#[tokio::test(start_paused = true)]
async fn a_rotated_refresh_token_is_stored_before_the_access_token_is_handed_out() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let gate = universe.store.hold_before(Op::CommitRefresh);
    let mut asking = Box::pin(universe.token("ada", SINGLE_USE));
    tokio::select! {
        answer = &mut asking => panic!("handed out before it was stored: {answer:?}"),
        () = gate.arrived(1) => {}
    }
    assert_eq!(universe.grant(&id).generation, 1);
    assert!((&mut asking).now_or_never().is_none());
    gate.open();
    let token = asking.await.unwrap().access_token;
    assert!(universe.provider.accepts(SINGLE_USE, &token));
    assert_eq!(universe.grant(&id).generation, 2);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_recognised_and_not_repeated() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    universe.store.tear_next(Op::CommitRefresh, 1);
    universe.token("ada", SINGLE_USE).await.unwrap();
    assert_eq!(universe.grant(&id).generation, 2);
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_sees_a_token_whose_commit_fails_until_it_is_stored() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    universe.store.fail_next(Op::CommitRefresh, 3);
    let asked = async {
        // Refused or served: what is handed out is stored.
        while universe.token("ada", SINGLE_USE).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(universe.grant(&id).generation, 2);
    };
    let mut asked = Box::pin(asked);
    loop {
        tokio::select! {
            () = &mut asked => break,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
        let tries = universe.store.calls(Op::CommitRefresh);
        assert!(tries >= 4 || universe.grant(&id).generation == 1);
    }
    drop(asked);
    assert_eq!(universe.store.calls(Op::CommitRefresh), 4);
    assert_eq!(universe.grant(&id).generation, 2);
    assert_eq!(
        universe.provider.calls(SINGLE_USE, Call::Refresh),
        1,
        "the answer in hand is kept"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_retried_until_the_database_is_back() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let asking = universe.token("ada", SINGLE_USE);
    let outage = async {
        gate.arrived(1).await;
        universe.store.away(true);
        gate.open();
        tokio::time::sleep(Duration::from_secs(15)).await;
        assert_eq!(universe.grant(&id).generation, 1);
        universe.store.away(false);
        tokio::time::sleep(Duration::from_secs(3)).await;
        universe.token("ada", SINGLE_USE).await.unwrap();
    };
    let (refused, ()) = tokio::join!(asking, outage);
    assert!(
        matches!(refused, Err(ServiceError::Overloaded { .. })),
        "{refused:?}"
    );
    assert_eq!(universe.grant(&id).generation, 2);
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_an_answer_in_hand_and_the_database_away_callers_are_told_at_once_and_living_tokens_served() {
    const AT_ONCE: Duration = Duration::from_millis(250);
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.connect("grace", SINGLE_USE).await;
    universe.token("grace", SINGLE_USE).await.unwrap();
    universe.spend(&id);
    let gate = universe.provider.hold(SINGLE_USE, Call::Refresh);
    let refused = async || {
        let asked_at = universe.clock.now();
        let answer = universe.token("ada", SINGLE_USE).await;
        assert!(
            matches!(&answer, Err(ServiceError::Overloaded { retry_after, .. }) if !retry_after.is_zero()),
            "{answer:?}"
        );
        until(asked_at, universe.clock.now())
    };
    let outage = async {
        gate.arrived(1).await;
        universe.store.away(true);
        let gone_at = universe.clock.now();
        gate.open();
        gone_at
    };
    let ((), gone_at) = tokio::join!(
        async {
            let _ = refused().await;
        },
        outage
    );
    assert!(until(gone_at, universe.clock.now()) < AT_ONCE);
    for _ in 0..100 {
        assert!(refused().await < AT_ONCE);
        universe.token("grace", SINGLE_USE).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    universe.store.away(false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_fails_once_is_not_told_to_anybody() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.spend(&id);
    universe.store.fail_next(Op::CommitRefresh, 1);
    universe.token("ada", SINGLE_USE).await.unwrap();
    assert_eq!(universe.grant(&id).generation, 2);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn three_refreshes_in_a_row_each_store_the_rotated_token() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    for generation in 2..=4 {
        refresh(&universe, "ada", &id).await.unwrap();
        assert_eq!(universe.grant(&id).generation, generation);
    }
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    assert_eq!(universe.provider.presentations_max(SINGLE_USE), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_omitted_refresh_token_keeps_the_one_there_is() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    for _ in 0..3 {
        refresh(&universe, "ada", &id).await.unwrap();
    }
    assert_eq!(
        universe.provider.presentations_max(SAFE),
        3,
        "one refresh token, presented each time"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refresh_token_is_salvaged_from_an_answer_that_cannot_be_used() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let old = universe.token("ada", SINGLE_USE).await.unwrap().access_token;
    universe
        .provider
        .next(SINGLE_USE, Call::Refresh, Outcome::Garbled);
    let error = refresh(&universe, "ada", &id).await.unwrap_err();
    assert!(
        matches!(error, ServiceError::ProviderPaused { .. }),
        "whoever runs this service can look at it: {error}"
    );
    assert_eq!(
        universe.grant(&id).generation,
        2,
        "the rotated refresh token is stored"
    );
    assert_eq!(universe.store.row(&id).standing.status, Status::Degraded);
    let served = universe.token("ada", SINGLE_USE).await.unwrap().access_token;
    assert_eq!(
        served.expose(),
        old.expose(),
        "and the old access token still served"
    );
    refresh(&universe, "ada", &id).await.unwrap();
    assert_eq!(universe.provider.offences(SINGLE_USE), [""; 0]);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_database_away_a_valid_token_is_served_and_no_provider_call_is_begun() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.store.away(true);
    // Beyond the time it falls due, and short of its end.
    for _ in 0..59 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        universe
            .token_for("ada", SAFE, Duration::from_secs(30))
            .await
            .unwrap();
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 0);
    let error = universe
        .token_for("ada", SAFE, Duration::from_secs(600))
        .await
        .unwrap_err();
    assert!(matches!(error, ServiceError::Overloaded { .. }), "{error}");
    universe.store.away(false);
    tokio::time::sleep(Duration::from_secs(5)).await;
    universe
        .token_for("ada", SAFE, Duration::from_secs(600))
        .await
        .unwrap();
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_changed_row_that_cannot_be_read_yet_begins_no_refresh_and_is_read_later() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let id = universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    // The reload after the second connection fails once.
    let load = universe.store.hold_after(Op::CommitConnect);
    let again = universe.connect_as("ada", crate::testing::universe::wanting(SAFE), "ada");
    let cut = async {
        load.arrived(1).await;
        load.open();
        universe.store.fail_next(Op::Load, 2);
    };
    let _ = tokio::join!(again, cut);
    universe.token("ada", SAFE).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let served = universe.token("ada", SAFE).await.unwrap().access_token;
    assert_eq!(universe.grant(&id).generation, 2);
    assert!(universe.provider.accepts(SAFE, &served));
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 0);
    universe.end().await;
}
