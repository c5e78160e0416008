//! Sleeping and waking: memory follows the awake, and nothing is lost between.

use std::time::Duration;

use futures_util::future::join_all;

use crate::testing::{
    oauth::Call,
    universe::{SAFE, Universe},
};

async fn awake(universe: &Universe) -> usize {
    universe
        .manager
        .observe(&SAFE.parse().unwrap())
        .await
        .unwrap()
        .awake
}

#[tokio::test(start_paused = true)]
async fn an_idle_account_is_put_to_sleep_and_woken_by_a_request() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    assert_eq!(awake(&universe).await, 0, "connecting wakes nobody");
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(awake(&universe).await, 1);
    tokio::time::sleep(Duration::from_secs(800)).await;
    assert_eq!(awake(&universe).await, 0);
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(awake(&universe).await, 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_account_is_woken_when_it_falls_due() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    tokio::time::sleep(Duration::from_secs(3300)).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1);
    assert_eq!(universe.grant(&id).generation, 2);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_question_is_lost_while_an_account_falls_asleep() {
    let universe = Universe::tuned(|settings| settings.idle_after = Some(Duration::from_secs(1))).await;
    universe.connect("ada", SAFE).await;
    for n in 0..300 {
        tokio::time::sleep(Duration::from_millis(990 + n % 20 * 30)).await;
        for token in join_all((0..5).map(|_| universe.token("ada", SAFE))).await {
            token.unwrap();
        }
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn accounts_woken_for_their_own_work_alone_sleep_again_when_it_is_done_however_many() {
    let universe = Universe::new().await;
    let mut ids = Vec::new();
    for n in 0..1_200 {
        ids.push(universe.connect(&format!("user-{n}"), SAFE).await);
    }
    let now = universe.clock.later(Duration::ZERO);
    for id in &ids {
        universe.edit_grant(id, |grant| grant.next_refresh_at = Some(now));
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(universe.provider.calls(SAFE, Call::Refresh), 1_200);
    tokio::time::sleep(Duration::from_secs(70)).await;
    assert_eq!(awake(&universe).await, 0);
    universe.end().await;
}
