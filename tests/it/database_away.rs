//! Postgres goes away and comes back: what can be served is served, nothing is begun that could not be stored, and nobody
//! has to do anything afterwards.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};
use serde_json::json;

use crate::harness::{Answer, Api, Proxy, Service, ServiceOptions, eventually, fresh_database, http_client};

async fn get(service: &Service, path: &str) -> Answer {
    let url = format!("{}{path}", service.base_url);
    Answer::of(http_client().get(url).send().await.unwrap()).await
}

/// A service that reaches its database by a way that can be cut.
async fn behind_a_proxy(is_cut: bool) -> (Service, Proxy, String) {
    let direct = fresh_database().await;
    let proxy = Proxy::before(&direct, is_cut).await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(proxy.url(&direct)),
        await_ready: !is_cut,
        ..ServiceOptions::default()
    })
    .await;
    (service, proxy, direct)
}

async fn becomes_ready(service: &Service) {
    eventually("ready", || async {
        (get(service, "/ready").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_postgres_at_the_start_it_listens_says_so_and_becomes_ready_by_itself() {
    let (service, proxy, _) = behind_a_proxy(true).await;
    let health = get(&service, "/health").await.expect_status(200);
    assert_eq!(health["status"], "healthy");
    let ready = get(&service, "/ready").await.expect_status(503);
    assert_eq!(
        ready["checks"]["database"]
            .as_bool()
            .or(ready["database"].as_bool()),
        Some(false),
        "{ready:#}"
    );

    let credential = Api::new(
        crate::harness::http_client(),
        &service.base_url,
        Some("oms_0123456789abcdef0123456789abcdef".to_owned()),
    );
    for answer in [
        credential.get("/users/ada/token?provider=google").await,
        service.user("ada").get("/integrations").await,
        service
            .user("ada")
            .post(
                "/authorizations",
                json!({ "provider": "google", "return_to": crate::harness::APPLICATION }),
            )
            .await,
    ] {
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        answer.expect_problem(503, "overloaded");
    }
    // What needs no database works.
    service.user("ada").get("/providers").await.expect_status(200);

    proxy.mend();
    becomes_ready(&service).await;
    service.connect("ada", "google").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_away_tokens_of_awake_accounts_are_served_and_no_refresh_is_begun() {
    let (service, proxy, direct) = behind_a_proxy(false).await;
    let consumer = service.service(&["*:*"]).await;
    let integration = service.connect("ada", "google").await;
    let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
    let by_user = "/users/ada/token?provider=google";
    let before = consumer.get(&path).await.expect_status(200);
    consumer.get(by_user).await.expect_status(200);

    proxy.cut();
    eventually("its absence is noticed", || async {
        (get(&service, "/ready").await.status == 503).then_some(())
    })
    .await;
    for _ in 0..5 {
        let token = consumer.get(&path).await.expect_status(200);
        assert_eq!(token["access_token"], before["access_token"]);
        consumer.get(by_user).await.expect_status(200);
    }
    // A refresh could not be stored, so none is begun.
    let answer = service
        .user("ada")
        .post(&path.replace("/token", "/refresh"), json!({}))
        .await;
    answer.expect_problem(503, "overloaded");
    consumer.get(&path).await.expect_status(200);
    assert!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .is_empty()
    );
    // An account that sleeps cannot be read, and that is said.
    consumer
        .get("/users/grace/token?provider=google")
        .await
        .expect_problem(503, "overloaded");
    assert_eq!(get(&service, "/health").await.status, 200);

    proxy.mend();
    becomes_ready(&service).await;
    eventually("it refreshes again", || async {
        let answer = service
            .user("ada")
            .post(&path.replace("/token", "/refresh"), json!({}))
            .await;
        (answer.status == 200).then_some(())
    })
    .await;
    let after = consumer.get(&path).await.expect_status(200);
    assert_ne!(after["access_token"], before["access_token"]);
    assert!(
        service
            .simulator
            .access_token_is_live(after["access_token"].as_str().unwrap())
    );
    service.stop().await;
    // 2 before, 5 × 2 + 1 while it was away, 1 afterwards.
    assert_eq!(recorded(&direct).await, 14);
}

/// Hand-outs on record.
async fn recorded(database_url: &str) -> i64 {
    let client = crate::harness::database::as_system(database_url).await;
    let sum = "SELECT coalesce(sum(count), 0)::bigint FROM oauth_audit_log \
               WHERE action = 'token_issued' AND outcome = 'success'";
    client.query_one(sum, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_while_postgres_is_away_is_kept_and_stored_when_it_is_back() {
    let (service, proxy, _) = behind_a_proxy(false).await;
    let consumer = service.service(&["*:*"]).await;
    // Its refresh token works once: were the answer lost, so would the account be.
    let integration = service.connect("ada", "notion").await;
    let id = integration["id"].as_str().unwrap();
    let gate = service.simulator.gate_answer(Provider::Notion, Endpoint::Refresh);
    let user = service.user("ada");
    let path = format!("/integrations/{id}/refresh");
    let asked = user.post(&path, json!({}));
    let outage = async {
        gate.arrived().await;
        proxy.cut();
        gate.release();
        service
            .simulator
            .answered(Provider::Notion, Endpoint::Refresh, 1)
            .await;
        eventually("its absence is noticed", || async {
            (get(&service, "/ready").await.status == 503).then_some(())
        })
        .await;
        proxy.mend();
    };
    let (answer, ()) = tokio::join!(asked, outage);
    // Told that the database is away, unless it was back before that was worth telling.
    if answer.status != 200 {
        assert!(answer.headers.contains_key("retry-after"), "{answer:?}");
        answer.expect_problem(503, "overloaded");
    }
    eventually("the answer is stored", || async {
        let view = user.get(path.trim_end_matches("/refresh")).await;
        let is_stored = view.status == 200 && !view.body["last_refreshed_at"].is_null();
        (is_stored && view.body["status"] == "active").then_some(())
    })
    .await;
    for _ in 0..2 {
        let token = consumer
            .get(&format!("/integrations/{id}/token"))
            .await
            .expect_status(200);
        assert!(
            service
                .simulator
                .access_token_is_live(token["access_token"].as_str().unwrap())
        );
        user.post(&path, json!({})).await.expect_status(200);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_outs_made_right_before_a_graceful_stop_are_on_record() {
    const EACH: usize = 40;
    let service = Service::start().await;
    let consumers = [service.service(&["*:*"]).await, service.service(&["*:*"]).await];
    let mut expected = 0;
    for provider in ["google", "notion"] {
        let integration = service.connect("ada", provider).await;
        let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
        for consumer in &consumers {
            let asked = (0..EACH).map(|_| consumer.get(&path));
            for answer in futures_util::future::join_all(asked).await {
                answer.expect_status(200);
                expected += 1;
            }
        }
    }
    let database_url = service.database_url.clone();
    service.stop().await;
    assert_eq!(recorded(&database_url).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn hand_outs_are_on_record_soon_without_any_stop() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let integration = service.connect("ada", "google").await;
    let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
    consumer.get(&path).await.expect_status(200);
    let written = async {
        eventually("it is on record", || async {
            (recorded(&service.database_url).await == 1).then_some(())
        })
        .await;
    };
    tokio::time::timeout(Duration::from_secs(5), written)
        .await
        .expect("soon");
    service.stop().await;
}
