//! What a service may receive: what its policy names and the user granted, and nothing besides.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use oauth_manager_actors::domain::client::Policy;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::Service;

const CALENDAR: &str = "https://www.googleapis.com/auth/calendar.readonly";
const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";

#[tokio::test(flavor = "multi_thread")]
async fn service_policy_enforced() {
    let service = Service::start().await;
    let google = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let notion = service.connect("ada", "notion").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let calendar = service.service(&["google:calendar"]).await;
    for path in [
        "/users/ada/token?feature=google.calendar".to_owned(),
        format!("/users/ada/token?scopes={CALENDAR}"),
        format!("/integrations/{google}/token"),
        format!("/integrations/{google}?user=ada"),
    ] {
        calendar.get(&path).await.expect_status(200);
    }
    for path in [
        "/users/ada/token?feature=google.gmail".to_owned(),
        "/users/ada/token?provider=notion".to_owned(),
        format!("/users/ada/token?scopes={GMAIL}"),
        format!("/integrations/{notion}/token"),
        format!("/integrations/{notion}?user=ada"),
    ] {
        let problem = calendar.get(&path).await.expect_problem(403, "forbidden");
        assert!(problem.get("access_token").is_none());
    }
    // It does not even see the other account, and cannot touch it.
    let list = calendar.get("/integrations?user=ada").await.expect_status(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list:#}");
    calendar
        .delete(&format!("/integrations/{notion}?user=ada"))
        .await
        .expect_problem(403, "forbidden");

    let nothing = service
        .client(Policy {
            allow: vec![],
            sessions: false,
            admin: false,
        })
        .await;
    for path in [
        "/users/ada/token?provider=google".to_owned(),
        format!("/integrations/{google}/token"),
        format!("/integrations/{google}?user=ada"),
        "/integrations?user=ada".to_owned(),
    ] {
        nothing.get(&path).await.expect_problem(403, "forbidden");
    }
    nothing
        .post("/sessions", json!({ "user": "ada" }))
        .await
        .expect_problem(403, "forbidden");
    nothing
        .post("/authorizations", json!({ "provider": "google", "user": "ada" }))
        .await
        .expect_problem(403, "forbidden");
}

#[tokio::test(flavor = "multi_thread")]
async fn partial_grant_blocks_missing_scope() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    service.simulator.inject(
        Provider::Google,
        Endpoint::Authorize,
        Fault::FewerScopes {
            without: vec![GMAIL.into()],
        },
        1,
    );
    let both = json!({ "provider": "google", "features": ["google.calendar", "google.gmail"] });
    let partial = service.connect_with("ada", both.clone()).await;
    let id = partial["id"].as_str().unwrap();
    let features = partial["features"].to_string();
    assert!(
        features.contains("missing_scopes") && features.contains(GMAIL),
        "{features}"
    );
    assert!(!partial["scopes"].to_string().contains(GMAIL), "{partial:#}");

    consumer
        .get("/users/ada/token?feature=google.calendar")
        .await
        .expect_status(200);
    for path in [
        "/users/ada/token?feature=google.gmail".to_owned(),
        format!("/users/ada/token?scopes={GMAIL}"),
    ] {
        let problem = consumer
            .get(&path)
            .await
            .expect_problem(403, "insufficient_scope");
        assert_eq!(problem["missing_scopes"], json!([GMAIL]), "{problem:#}");
        assert_eq!(problem["upgrade"]["integration_id"], id, "{problem:#}");
        assert_eq!(problem["who_must_act"], "user", "{problem:#}");
    }
    // The user grants the rest: the same account, widened.
    let mut request = both;
    request["integration_id"] = id.into();
    let whole = service.connect_with("ada", request).await;
    assert_eq!(whole["id"], id);
    consumer
        .get("/users/ada/token?feature=google.gmail")
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn extra_scopes_not_exposed() {
    let service = Service::start().await;
    // The provider grants more than was asked for: the token carries mail as well.
    service.simulator.inject(
        Provider::Google,
        Endpoint::Authorize,
        Fault::ExtraScopes {
            scopes: vec![GMAIL.into()],
        },
        1,
    );
    let integration = service
        .connect_with(
            "ada",
            json!({ "provider": "google", "features": ["google.calendar"] }),
        )
        .await;
    assert!(
        integration["scopes"].to_string().contains(GMAIL),
        "{integration:#}"
    );
    let id = integration["id"].as_str().unwrap();
    let calendar = service.service(&["google:calendar"]).await;
    for path in [
        "/users/ada/token?feature=google.calendar".to_owned(),
        "/users/ada/token?provider=google".to_owned(),
        format!("/integrations/{id}/token"),
    ] {
        let problem = calendar.get(&path).await.expect_problem(403, "forbidden");
        assert!(problem.get("access_token").is_none(), "{problem:#}");
    }
    let both = service.service(&["google:calendar", "google:gmail"]).await;
    both.get("/users/ada/token?feature=google.calendar")
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn token_answers_not_cacheable() {
    let service = Service::start().await;
    service.connect("ada", "google").await;
    let consumer = service.service(&["*:*"]).await;
    let answer = consumer.get("/users/ada/token?provider=google&min_ttl=10m").await;
    assert_eq!(answer.headers["cache-control"], "no-store");
    let token = answer.expect_status(200);
    assert_eq!(token["token_type"], "Bearer");
    assert!(token["expires_in"].as_i64().unwrap() >= 600, "{token:#}");
    assert!(token["expires_at"].is_string() && token["scopes"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_receive_no_tokens_and_services_no_users_records() {
    let service = Service::start().await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    for path in [
        "/users/ada/token?provider=google".to_owned(),
        format!("/integrations/{id}/token"),
    ] {
        ada.get(&path).await.expect_problem(403, "forbidden");
        consumer.get(&path).await.expect_status(200);
    }
    ada.post("/sessions", json!({ "user": "ada" }))
        .await
        .expect_problem(403, "forbidden");
    for path in ["/audit".to_owned(), format!("/integrations/{id}/consents")] {
        consumer.get(&path).await.expect_problem(403, "forbidden");
        ada.get(&path).await.expect_status(200);
    }
    // A user is always the one of the credential.
    for path in ["/integrations?user=ben", "/integrations?user=ada"] {
        ada.get(path).await.expect_problem(400, "invalid_request");
    }
    consumer
        .get("/integrations")
        .await
        .expect_problem(400, "invalid_request");
}

/// However often others ask meanwhile: once the application has been told that it worked, it works.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_just_granted_is_handed_out_at_once() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    for round in 0..6 {
        let user = format!("user-{round}");
        let stop = CancellationToken::new();
        let mut impatient = JoinSet::new();
        for feature in ["google.calendar", "google.gmail"] {
            let (consumer, stop) = (consumer.clone(), stop.clone());
            let path = format!("/users/{user}/token?feature={feature}");
            impatient.spawn(async move {
                while !stop.is_cancelled() {
                    let answer = consumer.get(&path).await;
                    assert!(matches!(answer.status, 200 | 403 | 404), "{answer:?}");
                }
            });
        }
        let mut request = json!({ "provider": "google", "features": ["google.calendar"] });
        let integration = service.connect_with(&user, request.clone()).await;
        consumer
            .get(&format!("/users/{user}/token?feature=google.calendar"))
            .await
            .expect_status(200);
        request["features"] = json!(["google.gmail"]);
        request["integration_id"] = integration["id"].clone();
        service.connect_with(&user, request).await;
        consumer
            .get(&format!("/users/{user}/token?feature=google.gmail"))
            .await
            .expect_status(200);
        stop.cancel();
        impatient.join_all().await;
    }
}
