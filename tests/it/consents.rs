//! What users agree to: in which words, for how long, and what becomes of it when they take it back.

use std::{collections::BTreeMap, time::Duration};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::harness::{Api, Service, ServiceOptions, eventually};

const EVENTS: &str = "https://www.googleapis.com/auth/calendar.events";
const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";
/// How long another node may go on handing out what was taken back.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

async fn connect(service: &Service, features: &[&str]) -> String {
    let request = json!({ "provider": "google", "features": features });
    id_of(&service.connect_with("ada", request).await)
}

fn id_of(view: &Value) -> String {
    view["id"].as_str().unwrap().to_owned()
}

/// The consents of an account, by what they are for.
async fn consents(api: &Api, id: &str) -> Vec<Value> {
    let path = format!("/integrations/{id}/consents");
    let list = api.get(&path).await.expect_status(200);
    list["items"].as_array().unwrap().clone()
}

async fn consent_to(api: &Api, id: &str, features: Value) -> Value {
    let all = consents(api, id).await;
    let found = all.iter().find(|consent| consent["features"] == features);
    found
        .unwrap_or_else(|| panic!("no consent to {features}: {all:#?}"))
        .clone()
}

fn path_of(id: &str, consent: &Value) -> String {
    format!("/integrations/{id}/consents/{}", consent["id"].as_str().unwrap())
}

fn token_of(feature: &str) -> String {
    format!("/users/ada/token?feature={feature}")
}

/// How a feature of the account stands.
async fn standing(api: &Api, id: &str, feature: &str) -> Value {
    let view = api.get(&format!("/integrations/{id}")).await.expect_status(200);
    let features = view["features"].as_array().unwrap();
    let found = features.iter().find(|state| state["key"] == feature);
    found
        .unwrap_or_else(|| panic!("{feature} is not on: {view:#}"))
        .clone()
}

async fn elsewhere(service: &Service, caller: &Api) -> (Api, impl Sized) {
    let node = service.second_node().await;
    let api = Api::new(
        service.http.clone(),
        &node.base_url,
        Some(caller.token().to_owned()),
    );
    (api, node)
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_versioned_and_required_before_start() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let request = json!({ "provider": "google", "features": ["google.calendar", "google.gmail"], "return_to": crate::harness::APPLICATION });
    let begun = ada
        .post("/authorizations", request.clone())
        .await
        .expect_status(201);
    let shown: BTreeMap<String, Value> = begun["consent"]
        .as_array()
        .unwrap()
        .iter()
        .map(|words| (words["feature"].as_str().unwrap().to_owned(), words.clone()))
        .collect();
    assert_eq!(
        shown.keys().collect::<Vec<_>>(),
        ["google.calendar", "google.gmail"],
        "the words come with the link"
    );
    for (feature, words) in &shown {
        let version = if feature == "google.gmail" { "1.1" } else { "1.0" };
        assert_eq!(words["wording_version"], version);
        assert_eq!(words["wording_hash"].as_str().unwrap().len(), 64);
    }
    let mail = shown["google.gmail"]["wording"].as_str().unwrap();
    assert!(
        mail.contains("Gmail") && mail.contains("Read all messages"),
        "{mail}"
    );
    assert_ne!(
        shown["google.gmail"]["wording_hash"],
        shown["google.calendar"]["wording_hash"]
    );

    let id = id_of(&service.connect_with("ada", request).await);
    let given = consents(&ada, &id).await;
    assert_eq!(given.len(), 2, "{given:#?}");
    for (feature, words) in &shown {
        let consent = consent_to(&ada, &id, json!([feature])).await;
        for field in ["wording_version", "wording_hash", "wording"] {
            assert_eq!(consent[field], words[field], "{field} of {feature}");
        }
        assert_eq!(
            (&consent["user"], &consent["ip"]),
            (&json!("ada"), &json!("127.0.0.1"))
        );
        assert!(consent["granted_at"].is_string() && consent["withdrawn_at"].is_null());
        // What the other feature needs is no part of this consent.
        for field in ["requested_scopes", "granted_scopes"] {
            let about_mail = consent[field].to_string().contains(GMAIL);
            assert_eq!(about_mail, feature == "google.gmail", "{field}: {consent:#}");
        }
    }

    // Widened: one more, in words of its own, and the others are left alone.
    let wider = json!({ "provider": "google", "features": ["google.tasks"], "integration_id": id });
    service.connect_with("ada", wider).await;
    let wider = consents(&ada, &id).await;
    assert_eq!(wider.len(), 3);
    assert_eq!(wider[0]["features"], json!(["google.tasks"]));
    assert_eq!(wider[1..], given[..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_withdrawn_stops_all_nodes_within_1s() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let (elsewhere, _node) = elsewhere(&service, &consumer).await;
    let id = connect(&service, &["google.calendar", "google.gmail"]).await;
    let (mail, calendar) = (token_of("google.gmail"), token_of("google.calendar"));
    let mail_by_scope = format!("/users/ada/token?scopes={GMAIL}");
    let whole = format!("/integrations/{id}/token");
    for api in [&consumer, &elsewhere] {
        for path in [&mail, &calendar, &mail_by_scope, &whole] {
            api.get(path).await.expect_status(200);
        }
    }
    let provider_asked = service.simulator.requests().len();

    let consent = consent_to(&ada, &id, json!(["google.gmail"])).await;
    let path = path_of(&id, &consent);
    let withdrawn = ada.delete(&path).await.expect_status(200);
    let begun = Instant::now();
    assert!(withdrawn["withdrawn_at"].is_string(), "{withdrawn:#}");
    assert!(
        withdrawn["still_granted"].to_string().contains(GMAIL),
        "{withdrawn:#}"
    );
    let refused = consumer
        .get(&mail)
        .await
        .expect_problem(403, "insufficient_scope");
    assert_eq!(refused["upgrade"]["feature"], "google.gmail");
    let refused = consumer
        .get(&mail_by_scope)
        .await
        .expect_problem(403, "insufficient_scope");
    assert_eq!(refused["reason"], "feature_off", "{refused:#}");
    eventually("the other node refuses it too", || async {
        (elsewhere.get(&mail).await.status == 403).then_some(())
    })
    .await;
    assert!(begun.elapsed() < HEARD_WITHIN, "{:?}", begun.elapsed());
    elsewhere
        .get(&mail_by_scope)
        .await
        .expect_problem(403, "insufficient_scope");
    for api in [&consumer, &elsewhere] {
        api.get(&calendar).await.expect_status(200);
        api.get(&whole).await.expect_status(200);
    }
    let kept = consent_to(&ada, &id, json!(["google.gmail"])).await;
    assert_eq!(kept["id"], consent["id"], "the row stays");
    assert_eq!(kept["granted_at"], consent["granted_at"]);

    // The last one: whatever is asked for, nothing was agreed to any more.
    let last = consent_to(&ada, &id, json!(["google.calendar"])).await;
    ada.delete(&path_of(&id, &last)).await.expect_status(200);
    for path in [&calendar, &whole, &"/users/ada/token?provider=google".to_owned()] {
        consumer.get(path).await.expect_problem(403, "insufficient_scope");
    }

    // Taken back twice is taken back once; nobody else may.
    ada.delete(&path).await.expect_status(200);
    let audit = ada.get("/audit?limit=200").await.expect_status(200).to_string();
    assert_eq!(audit.matches("\"consent_withdrawn\"").count(), 2, "{audit}");
    service
        .user("ben")
        .delete(&path)
        .await
        .expect_problem(404, "not_found");
    consumer.delete(&path).await.expect_problem(403, "forbidden");
    for nobodys in ["x", "00000000-0000-0000-0000-000000000000"] {
        let path = format!("/integrations/{id}/consents/{nobodys}");
        ada.delete(&path).await.expect_problem(404, "not_found");
    }
    assert_eq!(
        service.simulator.requests().len(),
        provider_asked,
        "the provider was asked"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_consent_stops_hand_outs_by_time_alone_until_the_user_agrees_again() {
    let service = Service::start_with(ServiceOptions {
        extra_toml: "[consents]\nlifetime = \"4s\"\n".into(),
        ..ServiceOptions::default()
    })
    .await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let (elsewhere, _node) = elsewhere(&service, &consumer).await;
    let id = connect(&service, &["google.calendar"]).await;
    let calendar = token_of("google.calendar");
    for api in [&consumer, &elsewhere] {
        api.get(&calendar).await.expect_status(200);
    }
    let state = standing(&ada, &id, "google.calendar").await;
    assert_eq!(state["status"], "active");
    assert!(state["consent_expires_at"].is_string(), "{state:#}");
    let events = "SELECT count(*) FROM oauth_events";
    let sql = service.sql().await;
    let changes: i64 = sql.query_one(events, &[]).await.unwrap().get(0);

    for api in [&consumer, &elsewhere] {
        let refused = eventually("the consent is over", || async {
            let answer = api.get(&calendar).await;
            (answer.status != 200).then_some(answer)
        })
        .await
        .expect_problem(403, "insufficient_scope");
        assert_eq!(refused["reason"], "consent_expired");
        assert_eq!(refused["who_must_act"], "user");
        assert_eq!(
            refused["upgrade"],
            json!({ "provider": "google", "feature": "google.calendar", "integration_id": id })
        );
    }
    let unchanged: i64 = sql.query_one(events, &[]).await.unwrap().get(0);
    assert_eq!(unchanged, changes, "it needs nobody to say so");
    let state = standing(&ada, &id, "google.calendar").await;
    assert_eq!(
        (&state["status"], &state["consent_lapse"]),
        (&json!("consent_required"), &json!("expired"))
    );
    let listed = ada.get("/features").await.expect_status(200);
    let listed = listed["items"].as_array().unwrap().clone();
    let calendar_there = listed
        .iter()
        .find(|item| item["key"] == "google.calendar")
        .unwrap();
    assert_eq!(calendar_there["status"], "consent_required");

    // Agreed to again: the provider has granted it, and need not be asked.
    let provider_asked = service.simulator.requests().len();
    let path = format!("/integrations/{id}/features/google.calendar");
    ada.send(Method::PUT, &path, None).await.expect_status(200);
    consumer.get(&calendar).await.expect_status(200);
    eventually("the other node hears of it", || async {
        (elsewhere.get(&calendar).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(service.simulator.requests().len(), provider_asked);
    let given = consents(&ada, &id).await;
    assert_eq!(given.len(), 2, "the old one stays on record: {given:#?}");
    assert!(given[0]["expires_at"].as_str() > given[1]["expires_at"].as_str());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_agreed_to_an_older_major_wording_is_asked_again_and_a_minor_one_changes_nothing() {
    let service = Service::start().await;
    let id = connect(&service, &["google.calendar", "google.gmail"]).await;
    let database_url = service.database_url.clone();
    let (mut simulator, _) = service.stop().await;
    for (version, outdated) in [("1.7", false), ("2.0", true)] {
        let service = Service::start_before(
            simulator,
            ServiceOptions {
                extra_toml: format!("[consents.wording]\n\"google.calendar\" = \"{version}\"\n"),
                database_url: Some(database_url.clone()),
                ..ServiceOptions::default()
            },
        )
        .await;
        let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
        let calendar = token_of("google.calendar");
        consumer.get(&token_of("google.gmail")).await.expect_status(200);
        if outdated {
            let refused = consumer
                .get(&calendar)
                .await
                .expect_problem(403, "insufficient_scope");
            assert_eq!(refused["reason"], "consent_outdated");
            assert_eq!(refused["upgrade"]["feature"], "google.calendar");
            let state = standing(&ada, &id, "google.calendar").await;
            assert_eq!(
                (&state["status"], &state["consent_lapse"]),
                (&json!("consent_required"), &json!("wording_changed"))
            );
            assert_eq!(standing(&ada, &id, "google.gmail").await["status"], "active");
            // As `upgrade` says: the user goes through it again, and is shown the new words.
            let again =
                json!({ "provider": "google", "features": ["google.calendar"], "integration_id": id });
            assert_eq!(service.connect_with("ada", again).await["id"], id.as_str());
            let newest = &consents(&ada, &id).await[0];
            assert_eq!(
                (&newest["features"], &newest["wording_version"]),
                (&json!(["google.calendar"]), &json!("2.0"))
            );
        }
        consumer.get(&calendar).await.expect_status(200);
        assert_eq!(standing(&ada, &id, "google.calendar").await["status"], "active");
        (simulator, _) = service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_asked_for_by_name_have_a_consent_of_their_own_that_can_be_taken_back() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let request = json!({ "provider": "google", "scopes": [EVENTS] });
    let id = id_of(&service.connect_with("ada", request).await);
    let by_scope = format!("/users/ada/token?scopes={EVENTS}");
    consumer.get(&by_scope).await.expect_status(200);
    let consent = consent_to(&ada, &id, json!([])).await;
    assert!(consent["granted_scopes"].to_string().contains(EVENTS));
    assert!(
        consent["wording"]
            .as_str()
            .unwrap()
            .contains("View and change events"),
        "{consent:#}"
    );
    ada.delete(&path_of(&id, &consent)).await.expect_status(200);
    let whole = format!("/integrations/{id}/token");
    for path in [&by_scope, &whole] {
        let refused = consumer.get(path).await.expect_problem(403, "insufficient_scope");
        assert_eq!(refused["reason"], "consent_withdrawn");
    }
    let taken_back = consent_to(&ada, &id, json!([])).await;
    assert!(taken_back["withdrawn_at"].is_string());
}
