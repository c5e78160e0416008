//! Several accounts of one user at one provider.

use serde_json::json;

use super::{page, service};

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_named_by_its_ids_or_its_address_and_an_address_of_two_names_neither() {
    let service = service().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    for account in ["ada", "ben"] {
        let request = json!({ "provider": "google", "features": ["google.calendar"] });
        let (_, end) = page(&service, "ada", request).await.allow_as(account).await;
        assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    }
    let list = ada.get("/integrations").await.expect_status(200);
    let views = list["items"].as_array().unwrap().clone();
    assert_eq!(views.len(), 2);
    let named = async |name: &str| {
        consumer
            .get(&format!(
                "/users/ada/token?feature=google.calendar&account={name}"
            ))
            .await
    };
    for view in &views {
        for name in [&view["id"], &view["account"]["id"], &view["account"]["email"]] {
            let grant = named(name.as_str().unwrap()).await.expect_status(200);
            assert_eq!(grant["integration_id"], view["id"], "{name}");
        }
    }
    named("nobody@example.com")
        .await
        .expect_problem(404, "not_connected");

    let node = service.second_node().await;
    let shared = "UPDATE oauth_integrations SET account_email = 'shared@example.com'";
    service.sql().await.execute(shared, &[]).await.unwrap();
    let consumer = crate::harness::Api::new(
        service.http.clone(),
        &node.base_url,
        Some(consumer.token().to_owned()),
    );
    let path = "/users/ada/token?feature=google.calendar&account=Shared@example.com";
    let problem = consumer.get(path).await.expect_problem(400, "invalid_request");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("by its integration id"),
        "{problem:#}"
    );
    let mut known: Vec<String> = serde_json::from_value(problem["known"].clone()).unwrap();
    let mut ids: Vec<String> = views
        .iter()
        .map(|view| view["id"].as_str().unwrap().to_owned())
        .collect();
    (known.sort(), ids.sort());
    assert_eq!(known, ids);
    assert!(!problem.to_string().contains("shared@example.com"));
    let one = format!("/users/ada/token?feature=google.calendar&account={}", ids[0]);
    consumer.get(&one).await.expect_status(200);
}
