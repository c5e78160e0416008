//! Tokens that live a minute or less: what a caller gets who does not say how long it needs one, and who does.

use std::time::Duration;

use crate::harness::{Service, ServiceOptions};

async fn with_tokens_of(lifetime: Duration) -> Service {
    Service::start_with(ServiceOptions {
        token_lifetime: Some(lifetime),
        ..ServiceOptions::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_does_not_say_gets_a_token_however_short_they_live() {
    for seconds in [4, 60, 90] {
        let service = with_tokens_of(Duration::from_secs(seconds)).await;
        let consumer = service.service(&["*:*"]).await;
        service.connect("ada", "google").await;
        let token = consumer
            .get("/users/ada/token?provider=google")
            .await
            .expect_status(200);
        let left = token["expires_in"].as_u64().unwrap();
        assert!(
            (seconds / 2..=seconds).contains(&(left + 1)),
            "{left} of {seconds}"
        );
        assert!(
            service
                .simulator
                .access_token_is_live(token["access_token"].as_str().unwrap())
        );
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_asks_for_more_than_there_is_is_told_what_there_is() {
    let service = with_tokens_of(Duration::from_secs(60)).await;
    let consumer = service.service(&["*:*"]).await;
    service.connect("ada", "google").await;
    let path = "/users/ada/token?provider=google&min_ttl";
    consumer.get(&format!("{path}=10")).await.expect_status(200);
    let problem = consumer
        .get(&format!("{path}=120"))
        .await
        .expect_problem(400, "invalid_request");
    assert!(
        problem["detail"].as_str().unwrap().contains("min_ttl"),
        "{problem:#}"
    );
    service.stop().await;
}
