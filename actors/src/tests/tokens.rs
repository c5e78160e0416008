//! Asking for tokens: one refresh however many ask, and a good token is never kept waiting for a better one.

use std::time::Duration;

use futures_util::{FutureExt as _, future::join_all};

use crate::{
    domain::error::ServiceError,
    testing::{
        oauth::Call,
        universe::{SAFE, Universe, user},
    },
};

#[tokio::test(start_paused = true)]
async fn two_hundred_callers_of_one_spent_token_cause_one_provider_call() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.spend(&id);
    let tokens = join_all((0..200).map(|_| universe.token("ada", SAFE))).await;
    let mut seen: Vec<_> = tokens
        .into_iter()
        .map(|token| token.unwrap().access_token)
        .collect();
    assert!(seen.iter().all(|token| universe.provider.accepts(SAFE, token)));
    seen.dedup_by(|one, other| one.expose() == other.expose());
    assert_eq!(seen.len(), 1);
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_valid_token_is_served_while_its_refresh_is_under_way() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let old = universe.token("ada", SAFE).await.unwrap().access_token;
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let owner = user("ada");
    let refreshing = universe
        .manager
        .refresh(&owner, &id, crate::testing::universe::by_user("ada"));
    let serving = async {
        gate.arrived(1).await;
        let served = universe.token("ada", SAFE).await.unwrap();
        assert_eq!(served.access_token.expose(), old.expose());
        gate.open();
    };
    let (view, ()) = tokio::join!(refreshing, serving);
    assert!(view.unwrap().last_refreshed_at.is_some());
    let new = universe.token("ada", SAFE).await.unwrap();
    assert_ne!(new.access_token.expose(), old.expose());
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn second_caller_joins_the_refresh_in_flight() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.spend(&id);
    let gate = universe.provider.hold(SAFE, Call::Refresh);
    let mut first = Box::pin(universe.token("ada", SAFE));
    let mut second = Box::pin(universe.token("ada", SAFE));
    tokio::select! {
        answer = &mut first => panic!("answered too early: {answer:?}"),
        () = gate.arrived(1) => {}
    }
    assert!((&mut second).now_or_never().is_none());
    gate.open();
    let (first, second) = tokio::join!(first, second);
    assert_eq!(
        first.unwrap().access_token.expose(),
        second.unwrap().access_token.expose()
    );
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_never_handed_out_with_less_life_than_asked_for() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    for left in [1, 59, 60, 61, 600] {
        universe.ends_in(&id, Duration::from_secs(left));
        for min_ttl in [1, 60, 599, 3000] {
            let grant = universe
                .token_for("ada", SAFE, Duration::from_secs(min_ttl))
                .await
                .unwrap();
            let end = grant.expires_at.unwrap();
            assert!(
                end >= universe.clock.later(Duration::from_secs(min_ttl)),
                "{left} {min_ttl}"
            );
        }
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_wants_more_life_than_the_provider_gives_is_told_so_and_causes_one_call() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    for _ in 0..5 {
        let error = universe
            .token_for("ada", SAFE, Duration::from_secs(86_400))
            .await
            .unwrap_err();
        assert!(matches!(error, ServiceError::InvalidRequest { .. }), "{error}");
    }
    assert_eq!(
        universe.provider.calls(SAFE, Call::Refresh),
        0,
        "it is as fresh as can be"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_token_whose_end_nobody_knows_is_served_and_refreshed_on_demand() {
    let universe = Universe::new().await;
    universe.provider.set_token_life(SAFE, None);
    let id = universe.connect("ada", SAFE).await;
    let grant = universe
        .token_for("ada", SAFE, Duration::from_secs(86_400))
        .await
        .unwrap();
    assert_eq!(grant.expires_at, None);
    tokio::time::sleep(Duration::from_secs(14_400)).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 0);
    let owner = user("ada");
    universe
        .manager
        .refresh(&owner, &id, crate::testing::universe::by_user("ada"))
        .await
        .unwrap();
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn accounts_that_are_used_are_refreshed_ahead() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    universe.connect("ada", SAFE).await;
    for _ in 0..200 {
        universe
            .token_for("ada", SAFE, Duration::from_secs(300))
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let calls = universe.provider.calls(SAFE, Call::Refresh);
    assert!(
        (3..=5).contains(&calls),
        "{calls} refreshes in 200 minutes of hour-long tokens"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_that_fails_leaves_nothing_to_be_taken() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.store.away(true);
    universe.token("ada", SAFE).await.unwrap();
    universe.manager.inject_panic(&id);
    // Its successor cannot read the row, and what its predecessor had laid out is gone.
    let refused = async {
        while universe.token("ada", SAFE).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), refused)
        .await
        .unwrap();
    universe.store.away(false);
    universe.end_after_failures().await;
}
