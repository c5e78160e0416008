//! A connected account is given more, feature by feature: only what is missing is asked for, and what came to nothing
//! changes nothing.

mod accounts;
mod crossed;
mod mismatch;
mod shared_grant;
mod switches;
mod upgrade;

use oauth_manager::dev::simulator::Consent;
use serde_json::{Value, json};

use crate::{
    foreign_provider::openid,
    harness::{APPLICATION, Api, ConsentPage, Service, ServiceOptions, start_simulator},
};

const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";

/// A service whose providers ask, and which knows an OpenID provider besides.
async fn service() -> Service {
    service_with(|toml| toml).await
}

async fn service_with(change_toml: fn(String) -> String) -> Service {
    let options = ServiceOptions {
        consent: Consent::Ask,
        change_toml,
        ..ServiceOptions::default()
    };
    let simulator = start_simulator(&options).await;
    let extra_toml = openid(&simulator);
    let options = ServiceOptions {
        extra_toml,
        ..options
    };
    Service::start_before(simulator, options).await
}

/// Begins a flow; returns the answer.
async fn begin(service: &Service, user: &str, mut request: Value) -> Value {
    request["return_to"] = APPLICATION.into();
    let begun = service.user(user).post("/authorizations", request).await;
    begun.expect_status(201)
}

/// Begins a flow and goes up to the provider's page.
async fn page(service: &Service, user: &str, request: Value) -> ConsentPage {
    let begun = begin(service, user, request).await;
    ConsentPage::open(service, user, link(&begun)).await
}

fn link(begun: &Value) -> &str {
    begun["authorization_url"].as_str().unwrap()
}

/// Connects an account with these features, all of it allowed; returns its id.
async fn connect(service: &Service, user: &str, features: &[&str]) -> String {
    let provider = features[0].split('.').next().unwrap();
    let request = json!({ "provider": provider, "features": features });
    let (_, end) = page(service, user, request).await.allow().await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    let path = format!("/authorizations/{}", end.query("authorization_id").unwrap());
    let flow = service.user(user).get(&path).await.expect_status(200);
    flow["integration_id"].as_str().unwrap().to_owned()
}

async fn view(api: &Api, id: &str) -> Value {
    api.get(&format!("/integrations/{id}")).await.expect_status(200)
}

/// Each feature with its status.
fn features(view: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let states = view["features"].as_array().unwrap().iter();
    states
        .map(|state| (text(&state["key"]), text(&state["status"])))
        .collect()
}

/// All of these, active.
fn active(keys: &[&str]) -> Vec<(String, String)> {
    let one = |key: &&str| ((*key).to_owned(), "active".to_owned());
    keys.iter().map(one).collect()
}

async fn consents(api: &Api, id: &str) -> usize {
    let path = format!("/integrations/{id}/consents");
    let list = api.get(&path).await.expect_status(200);
    list["items"].as_array().unwrap().len()
}

async fn token(consumer: &Api, feature: &str) -> String {
    let path = format!("/users/ada/token?feature={feature}");
    let grant = consumer.get(&path).await.expect_status(200);
    grant["access_token"].as_str().unwrap().to_owned()
}

async fn refresh(api: &Api, id: &str) {
    let path = format!("/integrations/{id}/refresh");
    api.post(&path, json!({})).await.expect_status(200);
}
