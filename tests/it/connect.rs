//! The thin line through all layers: connect, hand out, refresh, take back, for each of the four providers.

use serde_json::json;

use crate::harness::Service;

const PROVIDERS: [&str; 4] = ["google", "microsoft", "notion", "youtube"];

#[tokio::test(flavor = "multi_thread")]
async fn every_provider_connects_hands_out_refreshes_and_is_taken_back() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let user = service.user("ada");
    for provider in PROVIDERS {
        let integration = service.connect("ada", provider).await;
        let id = integration["id"].as_str().unwrap();
        assert_eq!(integration["status"], "active", "{integration:#}");

        let token = consumer
            .get(&format!("/users/ada/token?provider={provider}"))
            .await
            .expect_status(200);
        assert_eq!(token["integration_id"], id);
        assert!(
            service
                .simulator
                .access_token_is_live(token["access_token"].as_str().unwrap())
        );

        let refreshed = user
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await
            .expect_status(200);
        assert!(refreshed["last_refreshed_at"].is_string(), "{refreshed:#}");
        let next = consumer
            .get(&format!("/integrations/{id}/token"))
            .await
            .expect_status(200);
        assert_ne!(next["access_token"], token["access_token"]);

        let report = user
            .delete(&format!("/integrations/{id}"))
            .await
            .expect_status(200);
        let expected = if provider == "microsoft" {
            "unsupported"
        } else {
            "confirmed"
        };
        assert_eq!(report["provider_revocation"], expected, "{report:#}");
        consumer
            .get(&format!("/users/ada/token?provider={provider}"))
            .await
            .expect_problem(404, "not_connected");
    }
    assert!(
        service.simulator.refusals().is_empty(),
        "{:#?}",
        service.simulator.refusals()
    );
    service.stop().await;
}
