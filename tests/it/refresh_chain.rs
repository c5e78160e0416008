//! Three refreshes in a row, with the service stopped and started between them: most ways to lose a rotated refresh token
//! show only at the second.

use serde_json::json;

use crate::harness::{Service, ServiceOptions};

async fn three_refreshes_across_restarts(provider: &str) {
    let mut service = Service::start().await;
    let integration = service.connect("ada", provider).await;
    let id = integration["id"].as_str().unwrap().to_owned();
    let consumer = service.service(&["*:*"]).await.token().to_owned();
    let mut seen: Vec<String> = Vec::new();
    for round in 0..4 {
        if round > 0 {
            let view = service
                .user("ada")
                .post(&format!("/integrations/{id}/refresh"), json!({}))
                .await
                .expect_status(200);
            assert_eq!(view["status"], "active", "round {round}: {view:#}");
        }
        let api = crate::harness::Api::new(
            crate::harness::http_client(),
            &service.base_url,
            Some(consumer.clone()),
        );
        let token = api
            .get(&format!("/integrations/{id}/token?min_ttl=60"))
            .await
            .expect_status(200);
        let access_token = token["access_token"].as_str().unwrap().to_owned();
        assert!(
            service.simulator.access_token_is_live(&access_token),
            "round {round}"
        );
        assert!(!seen.contains(&access_token), "round {round} brought nothing new");
        seen.push(access_token);

        let database_url = Some(service.database_url.clone());
        let (simulator, _) = service.stop().await;
        let options = ServiceOptions {
            database_url,
            ..ServiceOptions::default()
        };
        service = Service::start_before(simulator, options).await;
    }
    let refusals = service.simulator.refusals();
    assert!(refusals.is_empty(), "{refusals:#?}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn google_is_refreshed_three_times_in_a_row_across_restarts() {
    three_refreshes_across_restarts("google").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn microsoft_is_refreshed_three_times_in_a_row_across_restarts() {
    three_refreshes_across_restarts("microsoft").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn notion_is_refreshed_three_times_in_a_row_across_restarts() {
    three_refreshes_across_restarts("notion").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn youtube_is_refreshed_three_times_in_a_row_across_restarts() {
    three_refreshes_across_restarts("youtube").await;
}
