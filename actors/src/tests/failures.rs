//! Failures and whose move they are: the user's, the operator's, an administrator's, or nobody's.

use std::time::Duration;

use futures_util::future::join_all;

use crate::{
    domain::{error::ServiceError, ids::IntegrationId, integration::Status, provider::Provider},
    ports::oauth::FailureKind,
    testing::{
        oauth::{Call, Outcome},
        provider::provider,
        universe::{SAFE, SINGLE_USE, Universe, by_user, user},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

async fn refresh(universe: &Universe, id: &IntegrationId) -> Result<(), ServiceError> {
    universe
        .manager
        .refresh(&user("ada"), id, by_user("ada"))
        .await
        .map(|_| ())
}

async fn breaker(universe: &Universe) -> Option<String> {
    universe
        .manager
        .observe(&SAFE.parse().unwrap())
        .await
        .unwrap()
        .breaker
}

#[tokio::test(start_paused = true)]
async fn an_operators_mistake_touches_no_account_and_is_probed_once_per_interval() {
    let one_at_a_time = Provider {
        max_concurrency: 1,
        ..provider(SAFE)
    };
    let universe = Universe::with(vec![one_at_a_time], |_| {}).await;
    let users: Vec<_> = (0..20).map(|n| format!("user{n}")).collect();
    let mut ids = Vec::new();
    for user in &users {
        let id = universe.connect(user, SAFE).await;
        universe.spend(&id);
        ids.push(id);
    }
    let before: Vec<_> = ids.iter().map(|id| universe.store.row(id).standing).collect();
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Operator, "invalid_client"),
    );
    for answer in join_all(users.iter().map(|user| universe.token(user, SAFE))).await {
        assert!(matches!(answer.unwrap_err(), ServiceError::ProviderPaused { .. }));
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    assert_eq!(breaker(&universe).await.as_deref(), Some("invalid_client"));

    tokio::time::sleep(MINUTE * 10).await;
    let calls = universe.provider.calls(SAFE, Call::Refresh);
    assert!(
        (10..=21).contains(&calls),
        "{calls} probes in ten minutes of half-minute intervals"
    );
    let after: Vec<_> = ids.iter().map(|id| universe.store.row(id).standing).collect();
    assert_eq!(before, after);

    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    tokio::time::sleep(MINUTE * 2).await;
    assert_eq!(breaker(&universe).await, None);
    for answer in join_all(users.iter().map(|user| universe.token(user, SAFE))).await {
        answer.unwrap();
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_forced_refresh_that_meets_an_operators_mistake_says_so() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.provider.next(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Operator, "invalid_client"),
    );
    let error = refresh(&universe, &id).await.unwrap_err();
    assert!(matches!(error, ServiceError::ProviderPaused { .. }), "{error}");
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_grant_asks_the_user_forgets_the_tokens_and_is_never_called_again() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.provider.withdraw(SAFE, "ada");
    universe.spend(&id);
    for _ in 0..3 {
        let error = universe.token("ada", SAFE).await.unwrap_err();
        assert!(matches!(error, ServiceError::ReauthRequired { .. }), "{error}");
        tokio::time::sleep(MINUTE * 60).await;
    }
    assert!(matches!(
        refresh(&universe, &id).await.unwrap_err(),
        ServiceError::ReauthRequired { .. }
    ));
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    let row = universe.store.row(&id);
    assert_eq!((row.standing.status, row.grant), (Status::ReauthRequired, None));
    // And the way back is to connect the same account again.
    assert_eq!(universe.connect("ada", SAFE).await, id);
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_serves_what_lives_backs_off_and_recovers() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let id = universe.connect("ada", SAFE).await;
    universe.token("ada", SAFE).await.unwrap();
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Passing, "http_503"),
    );
    let error = refresh(&universe, &id).await.unwrap_err();
    assert!(
        matches!(error, ServiceError::ProviderUnavailable { .. }),
        "{error}"
    );
    assert_eq!(universe.store.row(&id).standing.status, Status::Degraded);
    for _ in 0..50 {
        universe.token("ada", SAFE).await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    let calls = universe.provider.calls(SAFE, Call::Refresh);
    assert!((4..=30).contains(&calls), "{calls} calls in fifty minutes");
    universe.provider.always(SAFE, Call::Refresh, Outcome::Answer);
    tokio::time::sleep(MINUTE * 16).await;
    assert_eq!(universe.store.row(&id).standing.status, Status::Active);
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe
        .provider
        .next(SAFE, Call::Refresh, Outcome::RateLimited(MINUTE * 2));
    let error = refresh(&universe, &id).await.unwrap_err();
    assert!(error.retry_after().unwrap() >= MINUTE * 2, "{error:?}");
    tokio::time::sleep(Duration::from_secs(119)).await;
    let _ = refresh(&universe, &id).await;
    assert_eq!(
        universe.provider.calls(SAFE, Call::Refresh),
        1,
        "not even for somebody who insists"
    );
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 2);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_administrators_block_is_named_as_such() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    universe.provider.next(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Admin, "admin_policy"),
    );
    assert!(matches!(
        refresh(&universe, &id).await.unwrap_err(),
        ServiceError::AdminRequired { .. }
    ));
    assert_eq!(universe.store.row(&id).standing.status, Status::Paused);
    universe.token("ada", SAFE).await.unwrap();
    tokio::time::sleep(MINUTE * 80).await;
    assert_eq!(
        universe.store.row(&id).standing.status,
        Status::Active,
        "tried again by itself"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_account_without_refresh_token_lives_as_long_as_its_access_token() {
    let universe = Universe::new().await;
    universe.provider.set_gives_refresh_token(SINGLE_USE, false);
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    let _ = universe.manager.refresh(&user("ada"), &id, by_user("ada")).await;
    universe
        .token("ada", SINGLE_USE)
        .await
        .expect("wishing for more does not cost what there is");
    tokio::time::sleep(MINUTE * 61).await;
    let error = universe.token("ada", SINGLE_USE).await.unwrap_err();
    assert!(matches!(error, ServiceError::ReauthRequired { .. }), "{error}");
    assert_eq!(universe.provider.calls(SINGLE_USE, Call::Refresh), 0);
    universe.end().await;
}
