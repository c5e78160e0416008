//! Several accounts of one user at one provider.

use serde_json::json;

use super::{begin, connect, link, page, service, view};
use crate::harness::{Api, ConsentPage};

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
    let consumer = Api::new(
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
    known.sort();
    ids.sort();
    assert_eq!(known, ids);
    assert!(!problem.to_string().contains("shared@example.com"));
    let one = format!("/users/ada/token?feature=google.calendar&account={}", ids[0]);
    consumer.get(&one).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_subject_at_another_issuer_is_another_account_and_the_same_address_is_no_identity() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let elsewhere = "UPDATE oauth_integrations SET provider_issuer = 'https://elsewhere.example'";
    service.sql().await.execute(elsewhere, &[]).await.unwrap();
    let before = view(&ada, &id).await;
    let again = json!({ "provider": "google", "integration_id": id });
    let begun = begin(&service, "ada", again).await;
    let mut browser = service.browser_of("ada").await;
    let end = browser.open(link(&begun)).await;
    let end = match end.status {
        200 => ConsentPage::of(browser, end).allow().await.1,
        _ => end,
    };
    assert_eq!(end.query("error").as_deref(), Some("account_mismatch"), "{end:?}");
    assert_ne!(connect(&service, "ada", &["google.calendar"]).await, id);
    assert_eq!(view(&ada, &id).await, before);

    // Another account that happens to have the address of this one.
    let request = json!({ "provider": "google", "features": ["google.calendar"] });
    let (_, end) = page(&service, "ada", request).await.allow_as("ben").await;
    let path = format!("/authorizations/{}", end.query("authorization_id").unwrap());
    let bens = ada.get(&path).await.expect_status(200)["integration_id"].clone();
    let same = "UPDATE oauth_integrations SET account_email = 'same@example.com'";
    service.sql().await.execute(same, &[]).await.unwrap();
    let list = ada.get("/integrations").await.expect_status(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 3, "{list:#}");
    assert_ne!(bens, id.as_str());
}
