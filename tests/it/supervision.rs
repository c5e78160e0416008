//! An actor that fails takes nobody with it, and comes back from its row.

use oauth_manager_actors::{domain::ids::IntegrationId, handle::Observation};
use serde_json::json;

use crate::harness::{Api, Service, eventually};

const FAILURES_UNTIL_QUARANTINE: u64 = 5;

fn id_of(integration: &serde_json::Value) -> IntegrationId {
    integration["id"].as_str().unwrap().parse().unwrap()
}

async fn google(service: &Service) -> Observation {
    service.manager.observe(&"google".parse().unwrap()).await.unwrap()
}

async fn token(consumer: &Api, id: &IntegrationId) -> String {
    let token = consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    token["access_token"].as_str().unwrap().to_owned()
}

/// Two accounts of one provider, awake.
async fn two_accounts(service: &Service) -> (Api, IntegrationId, IntegrationId) {
    let consumer = service.service(&["*:*"]).await;
    let victim = id_of(&service.connect("ada", "google").await);
    let sibling = id_of(&service.connect("grace", "google").await);
    token(&consumer, &victim).await;
    token(&consumer, &sibling).await;
    assert_eq!(google(service).await.awake, 2);
    (consumer, victim, sibling)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_panics_is_restarted_from_its_row_and_its_sibling_notices_nothing() {
    let service = Service::start().await;
    let (consumer, victim, sibling) = two_accounts(&service).await;
    let before = token(&consumer, &victim).await;

    service.manager.inject_panic(&victim);
    // Asked right away, both answer: one has never stopped, the other is asked again when it is back.
    let (of_victim, of_sibling) = tokio::join!(token(&consumer, &victim), token(&consumer, &sibling));
    assert_eq!(of_victim, before, "the row has what the actor had");
    assert!(service.simulator.access_token_is_live(&of_sibling));
    // What the one had laid out may have been taken before it failed: it is back a moment later.
    let observed = eventually("both are awake", || async {
        let observed = google(&service).await;
        (observed.restarts == 1 && observed.awake == 2).then_some(observed)
    })
    .await;
    assert_eq!(observed.quarantined, 0, "{observed:?}");

    // It is a whole actor again.
    service
        .user("ada")
        .post(&format!("/integrations/{victim}/refresh"), json!({}))
        .await
        .expect_status(200);
    assert_ne!(token(&consumer, &victim).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_actor_that_panics_during_a_refresh_loses_nothing() {
    use oauth_manager::dev::simulator::{Endpoint, Provider};
    let service = Service::start().await;
    let (consumer, victim, _) = two_accounts(&service).await;
    let before = token(&consumer, &victim).await;
    let gate = service.simulator.gate_answer(Provider::Google, Endpoint::Refresh);
    let user = service.user("ada");
    let path = format!("/integrations/{victim}/refresh");
    let asked = user.post(&path, json!({}));
    let meanwhile = async {
        gate.arrived().await;
        service.manager.inject_panic(&victim);
        eventually("it is restarted", || async {
            let observed = google(&service).await;
            (observed.restarts == 1 && observed.awake == 2).then_some(())
        })
        .await;
        gate.release();
    };
    let (answer, ()) = tokio::join!(asked, meanwhile);
    answer.expect_status(200);
    // The answer that was under way is the one that counts: the provider was called once.
    eventually("the new token is handed out", || async {
        (token(&consumer, &victim).await != before).then_some(())
    })
    .await;
    let refreshes = service
        .simulator
        .requests_to(Provider::Google, Endpoint::Refresh)
        .len();
    assert!(refreshes <= 2, "{refreshes}");
    assert!(
        service
            .simulator
            .access_token_is_live(&token(&consumer, &victim).await)
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_panics_in_a_minute_quarantine_one_account_and_the_others_work() {
    let service = Service::start().await;
    let (consumer, victim, sibling) = two_accounts(&service).await;
    for failures in 1..=FAILURES_UNTIL_QUARANTINE {
        service.manager.inject_panic(&victim);
        eventually("the failure is counted", || async {
            let observed = google(&service).await;
            let settled = observed.awake == 2 || observed.quarantined == 1;
            (observed.restarts == failures && settled).then_some(())
        })
        .await;
        token(&consumer, &sibling).await;
    }
    let observed = google(&service).await;
    assert_eq!((observed.awake, observed.quarantined), (1, 1), "{observed:?}");

    let problem = consumer
        .get(&format!("/integrations/{victim}/token"))
        .await
        .expect_problem(503, "overloaded");
    assert!(
        problem["detail"].as_str().unwrap().contains("quarantine"),
        "{problem:#}"
    );
    // Whoever does not need its actor sees it as ever; its sibling and other providers work.
    let view = service
        .user("ada")
        .get(&format!("/integrations/{victim}"))
        .await
        .expect_status(200);
    assert_eq!(view["status"], "active");
    service
        .user("grace")
        .post(&format!("/integrations/{sibling}/refresh"), json!({}))
        .await
        .expect_status(200);
    let other = id_of(&service.connect("ada", "notion").await);
    token(&consumer, &other).await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_panics_is_restarted_and_its_accounts_wake_again() {
    let service = Service::start().await;
    let (consumer, victim, sibling) = two_accounts(&service).await;
    let other = id_of(&service.connect("ada", "notion").await);
    let before = token(&consumer, &victim).await;

    service.manager.inject_provider_panic(&"google".parse().unwrap());
    // Another provider's accounts have no part in it.
    token(&consumer, &other).await;
    eventually("google's accounts answer again", || async {
        let answer = consumer.get(&format!("/integrations/{victim}/token")).await;
        assert!(
            answer.status == 200 || answer.status == 503,
            "typed, meanwhile: {answer:?}"
        );
        (answer.status == 200).then_some(())
    })
    .await;
    // What its accounts had laid out may still have been taken: they are all awake again a moment later.
    eventually("google's accounts are awake", || async {
        for id in [&victim, &sibling] {
            consumer.get(&format!("/integrations/{id}/token")).await;
        }
        let observed = service.manager.observe(&"google".parse().unwrap()).await.ok()?;
        (observed.awake == 2).then_some(())
    })
    .await;
    assert_eq!(token(&consumer, &victim).await, before);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_supervisor_panics_in_a_row_end_the_service_for_its_orchestrator_to_restart() {
    use oauth_manager::app::Exit;
    let service = Service::start().await;
    let (consumer, victim, _) = two_accounts(&service).await;
    for _ in 0..3 {
        service.manager.inject_provider_panic(&"google".parse().unwrap());
        eventually("it is back, or has given up", || async {
            let answer = service.manager.observe(&"google".parse().unwrap()).await;
            let gave_up = service.has_ended();
            (answer.is_ok() || gave_up).then_some(())
        })
        .await;
    }
    let _ = (consumer, victim);
    let (_, exit) = service.ended().await;
    assert_eq!(exit, Exit::Defective);
}
