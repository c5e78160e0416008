//! Features switched on and off one by one: what services receive follows at once, and what was agreed to is on record.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Answer, Api, Service, eventually};

const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
/// How long another node may go on handing out what was switched off.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

async fn connect(service: &Service, user: &str, features: &[&str]) -> String {
    let request = json!({ "provider": "google", "features": features });
    let view = service.connect_with(user, request).await;
    view["id"].as_str().unwrap().to_owned()
}

async fn put(api: &Api, id: &str, feature: &str) -> Answer {
    let path = format!("/integrations/{id}/features/{feature}");
    api.send(Method::PUT, &path, None).await
}

async fn delete(api: &Api, id: &str, feature: &str) -> Answer {
    api.delete(&format!("/integrations/{id}/features/{feature}"))
        .await
}

fn keys(view: &Value) -> Vec<&str> {
    let features = view["features"].as_array().unwrap();
    features
        .iter()
        .map(|state| state["key"].as_str().unwrap())
        .collect()
}

async fn consents(api: &Api, id: &str) -> Vec<(String, bool)> {
    let list = api
        .get(&format!("/integrations/{id}/consents"))
        .await
        .expect_status(200);
    let one = |consent: &Value| (consent["features"].to_string(), consent["withdrawn_at"].is_null());
    let mut all: Vec<_> = list["items"].as_array().unwrap().iter().map(one).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_switched_off_is_handed_to_nobody_and_on_again_needs_no_provider() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let node = service.second_node().await;
    let elsewhere = Api::new(
        service.http.clone(),
        &node.base_url,
        Some(consumer.token().to_owned()),
    );
    let id = connect(&service, "ada", &["google.calendar", "google.gmail"]).await;
    let (mail, calendar) = (
        "/users/ada/token?feature=google.gmail",
        "/users/ada/token?feature=google.calendar",
    );
    for api in [&consumer, &elsewhere] {
        api.get(mail).await.expect_status(200);
        api.get(calendar).await.expect_status(200);
    }
    let provider_asked = service.simulator.requests().len();

    let off = delete(&ada, &id, "google.gmail").await.expect_status(200);
    let begun = Instant::now();
    assert_eq!(keys(&off), ["google.calendar"]);
    assert_eq!(off["still_granted"], json!([GMAIL]));
    assert!(
        off["detail"].as_str().unwrap().contains("still grants"),
        "{off:#}"
    );
    let refused = consumer.get(mail).await.expect_problem(403, "insufficient_scope");
    assert_eq!(refused["upgrade"]["feature"], "google.gmail");
    eventually("the other node refuses it too", || async {
        (elsewhere.get(mail).await.status == 403).then_some(())
    })
    .await;
    assert!(begun.elapsed() < HEARD_WITHIN, "{:?}", begun.elapsed());
    consumer.get(calendar).await.expect_status(200);
    assert_eq!(
        consents(&ada, &id).await,
        [
            ("[\"google.calendar\"]".to_owned(), true),
            ("[\"google.gmail\"]".to_owned(), false)
        ]
    );

    let on = put(&ada, &id, "google.gmail").await.expect_status(200);
    assert_eq!(keys(&on), ["google.calendar", "google.gmail"]);
    consumer.get(mail).await.expect_status(200);
    assert_eq!(
        consents(&ada, &id)
            .await
            .iter()
            .filter(|(_, holds)| *holds)
            .count(),
        2
    );
    assert_eq!(
        service.simulator.requests().len(),
        provider_asked,
        "the provider was asked"
    );

    // Said twice, it is so once.
    delete(&ada, &id, "google.tasks").await.expect_status(200);
    put(&ada, &id, "google.gmail").await.expect_status(200);
    assert_eq!(consents(&ada, &id).await.len(), 3);
    let audit = ada.get("/audit?limit=200").await.expect_status(200).to_string();
    assert_eq!(audit.matches("\"feature_disabled\"").count(), 1, "{audit}");
    assert_eq!(audit.matches("\"feature_enabled\"").count(), 1, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_that_needs_more_is_a_link_and_changes_nothing_until_it_is_granted() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let before = ada.get(&format!("/integrations/{id}")).await.expect_status(200);

    let begun = put(&ada, &id, "google.gmail").await.expect_status(202);
    assert!(begun["requested_scopes"].to_string().contains(GMAIL), "{begun:#}");
    assert_eq!(
        ada.get(&format!("/integrations/{id}")).await.expect_status(200),
        before
    );

    // Denied at the provider: nothing has changed, and what worked works.
    let denied = Fault::Error {
        code: "access_denied".to_owned(),
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Authorize, denied, 1);
    let url = begun["authorization_url"].as_str().unwrap();
    service.browser_of("ada").await.open(url).await;
    assert_eq!(
        ada.get(&format!("/integrations/{id}")).await.expect_status(200),
        before
    );
    consumer
        .get("/users/ada/token?feature=google.calendar")
        .await
        .expect_status(200);
    assert_eq!(consents(&ada, &id).await.len(), 1);

    let begun = put(&ada, &id, "google.gmail").await.expect_status(202);
    let url = begun["authorization_url"].as_str().unwrap();
    service.browser_of("ada").await.open(url).await;
    let widened = ada.get(&format!("/integrations/{id}")).await.expect_status(200);
    assert_eq!(keys(&widened), ["google.calendar", "google.gmail"]);
    consumer
        .get("/users/ada/token?feature=google.gmail")
        .await
        .expect_status(200);
    assert_eq!(
        consents(&ada, &id).await,
        [
            ("[\"google.calendar\"]".to_owned(), true),
            ("[\"google.gmail\"]".to_owned(), true)
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_feature_is_listed_with_how_it_stands() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let list = async |api: &Api| api.get("/features").await.expect_status(200)["items"].clone();
    let of = |items: &Value, key: &str| {
        let found = items.as_array().unwrap().iter().find(|item| item["key"] == key);
        found.unwrap_or_else(|| panic!("{key} is not listed")).clone()
    };
    let none = list(&ada).await;
    for item in none.as_array().unwrap() {
        assert_eq!(
            (&item["status"], &item["accounts"]),
            (&json!("inactive"), &json!([]))
        );
        assert!(!item["description"].as_str().unwrap().is_empty());
    }

    let without = Fault::FewerScopes {
        without: vec![GMAIL.into()],
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Authorize, without, 1);
    let id = connect(&service, "ada", &["google.calendar", "google.gmail"]).await;
    let items = list(&ada).await;
    assert_eq!(items.as_array().unwrap().len(), none.as_array().unwrap().len());
    let calendar = of(&items, "google.calendar");
    assert_eq!(calendar["status"], "active");
    assert_eq!(calendar["accounts"][0]["integration_id"], id.as_str());
    assert!(calendar["accounts"][0]["account"]["id"].is_string());
    let mail = of(&items, "google.gmail");
    assert_eq!(mail["status"], "missing_scopes");
    assert_eq!(mail["accounts"][0]["missing_scopes"], json!([GMAIL]));
    assert_eq!(of(&items, "google.drive")["status"], "inactive");
    assert_eq!(of(&items, "notion.pages")["accounts"], json!([]));

    let dead = "UPDATE oauth_integrations SET status = 'reauth_required', status_reason = 'invalid_grant', who_must_act = 'user'";
    service.sql().await.execute(dead, &[]).await.unwrap();
    assert_eq!(
        of(&list(&ada).await, "google.calendar")["status"],
        "reauth_required"
    );
    assert_eq!(
        list(&service.user("ben")).await,
        none,
        "another user's accounts are not shown"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_makes_no_sense_is_refused_with_what_there_is() {
    let service = Service::start().await;
    let (ada, ben) = (service.user("ada"), service.user("ben"));
    let id = connect(&service, "ada", &["google.calendar"]).await;
    for feature in [
        "google.nothing",
        "notion.pages",
        "%20",
        "google",
        "GOOGLE.CALENDAR",
    ] {
        for answer in [put(&ada, &id, feature).await, delete(&ada, &id, feature).await] {
            let problem = answer.expect_problem(400, "invalid_request");
            assert!(
                problem["known"].to_string().contains("google.calendar"),
                "{problem:#}"
            );
        }
    }
    for body in [
        "{\"return_to\":\"https://evil.example\"}",
        "{\"scopes\":[]}",
        "[]",
        "{",
    ] {
        let path = format!("/integrations/{id}/features/google.gmail");
        let answer = ada.send(Method::PUT, &path, Some(body.to_owned())).await;
        answer.expect_problem(400, "invalid_request");
    }
    let nobodys = "google_01890a5dac96774bbcceb302099a8057";
    for (api, id) in [
        (&ben, id.as_str()),
        (&ada, nobodys),
        (&ada, "x"),
        (&ada, "nobody_00"),
    ] {
        put(api, id, "google.calendar")
            .await
            .expect_problem(404, "not_found");
        delete(api, id, "google.calendar")
            .await
            .expect_problem(404, "not_found");
    }
    let consumer = service.service(&["*:*"]).await;
    put(&consumer, &id, "google.gmail")
        .await
        .expect_problem(403, "forbidden");
    consumer.get("/features").await.expect_problem(403, "forbidden");
    let path = format!("/integrations/{id}/features/google.calendar");
    let answer = ada.get(&path).await;
    assert_eq!(
        (answer.status, answer.headers["allow"].to_str().unwrap()),
        (405, "PUT, DELETE")
    );

    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    put(&ada, &id, "google.calendar")
        .await
        .expect_problem(404, "not_found");
}
