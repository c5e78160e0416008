//! What nodes agree on about calls to providers, raced over real connections.

use std::time::Duration;

use futures_util::future::join_all;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{ids::NodeId, provider::BudgetKey, reason::ReasonCode},
    ports::store::{EgressStore, FaultKind, ProbeClaim},
};

use super::fresh;
use crate::storage::Storage;

const SECOND: Duration = Duration::from_secs(1);

fn budget() -> BudgetKey {
    BudgetKey::new("id.example#1")
}

async fn open(storage: &Storage, fault: FaultKind, reason: &str, hold: Duration) -> bool {
    storage
        .open_breaker(&budget(), fault, &ReasonCode::new(reason), hold)
        .await
        .unwrap()
}

async fn claim(storage: &Storage) -> ProbeClaim {
    let node = NodeId(Uuid::new_v4());
    storage.claim_probe(&budget(), node, SECOND * 30).await.unwrap()
}

#[tokio::test]
async fn opening_is_news_once_and_an_operators_fault_outranks_an_outage() {
    let storage = fresh().await;
    assert_eq!(storage.look_at_breaker(&budget()).await.unwrap(), None);
    assert!(open(&storage, FaultKind::Outage, "http_503", SECOND * 30).await);
    assert!(!open(&storage, FaultKind::Outage, "timeout", SECOND * 5).await);
    let seen = storage.look_at_breaker(&budget()).await.unwrap().unwrap();
    assert_eq!(
        (seen.fault, seen.reason.as_str()),
        (FaultKind::Outage, "http_503")
    );
    assert!(seen.probe_in > SECOND * 25, "a hold is not shortened: {seen:?}");

    assert!(open(&storage, FaultKind::Operator, "invalid_client", SECOND).await);
    assert!(!open(&storage, FaultKind::Operator, "invalid_client", SECOND).await);
    assert!(!open(&storage, FaultKind::Outage, "http_503", SECOND * 60).await);
    let seen = storage.look_at_breaker(&budget()).await.unwrap().unwrap();
    assert_eq!(
        (seen.fault, seen.reason.as_str()),
        (FaultKind::Operator, "invalid_client")
    );
    assert!(seen.probe_in > SECOND * 55, "but an outage still holds: {seen:?}");
}

#[tokio::test]
async fn of_many_nodes_that_open_it_at_once_one_has_the_news() {
    let storage = fresh().await;
    let opened =
        join_all((0..12).map(|_| open(&storage, FaultKind::Operator, "invalid_client", SECOND))).await;
    assert_eq!(opened.iter().filter(|is_news| **is_news).count(), 1, "{opened:?}");
}

#[tokio::test]
async fn of_many_nodes_one_gets_the_probe_of_an_interval() {
    let storage = fresh().await;
    assert_eq!(claim(&storage).await, ProbeClaim::Closed);
    open(&storage, FaultKind::Outage, "http_503", SECOND * 30).await;
    assert!(matches!(claim(&storage).await, ProbeClaim::Wait(seen) if seen.probe_in > SECOND * 25));

    storage
        .system()
        .await
        .unwrap()
        .batch("UPDATE oauth_egress SET probe_due_at = now()")
        .await
        .unwrap();
    let claims = join_all((0..12).map(|_| claim(&storage))).await;
    assert_eq!(
        claims.iter().filter(|claim| **claim == ProbeClaim::Won).count(),
        1
    );
    for claim in claims {
        assert!(
            matches!(&claim, ProbeClaim::Won)
                || matches!(&claim, ProbeClaim::Wait(seen) if seen.probe_in > SECOND * 25),
            "{claim:?}"
        );
    }
}

#[tokio::test]
async fn a_probe_that_began_before_the_breaker_opened_does_not_close_it() {
    let storage = fresh().await;
    open(&storage, FaultKind::Outage, "http_503", SECOND).await;
    storage.close_breaker(&budget(), SECOND * 60).await.unwrap();
    assert!(storage.look_at_breaker(&budget()).await.unwrap().is_some());
    storage.close_breaker(&budget(), Duration::ZERO).await.unwrap();
    assert_eq!(storage.look_at_breaker(&budget()).await.unwrap(), None);
    assert!(
        open(&storage, FaultKind::Outage, "http_503", SECOND).await,
        "news again"
    );
}

#[tokio::test]
async fn turns_of_all_nodes_lie_one_after_the_other() {
    let storage = fresh().await;
    // Ten blocks of five turns at ten per second: five seconds, whoever takes them.
    let budget = budget();
    let firsts = join_all((0..10).map(|_| storage.take_turns(&budget, 10.0, 5))).await;
    let mut firsts: Vec<f64> = firsts
        .into_iter()
        .map(|first| first.unwrap().as_secs_f64())
        .collect();
    firsts.sort_by(f64::total_cmp);
    assert!(firsts[0] < 0.05, "{firsts:?}");
    for pair in firsts.windows(2) {
        // Statements come a little after each other, and what is told is how long to wait from then on.
        assert!(pair[1] - pair[0] > 0.3, "{firsts:?}");
    }
    assert!(firsts[9] > 4.0, "{firsts:?}");
}
