//! The code exchange (security.md, B): where the code comes back to, what proves that it is ours, and that it is sent once.

use std::collections::BTreeSet;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::json;

use crate::harness::{APPLICATION, End, Flow, Service};

fn exchanges(service: &Service) -> usize {
    service
        .simulator
        .requests_to(Provider::Google, Endpoint::Token)
        .len()
}

async fn confirm(service: &Service, user: &str, end: &End) -> crate::harness::Answer {
    let path = format!(
        "/authorizations/{}/confirm",
        end.query("authorization_id").unwrap()
    );
    let body = json!({ "confirmation": end.query("confirmation").unwrap() });
    service.user(user).post(&path, body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn redirect_uri_constant_under_forged_host() {
    let service = Service::start().await;
    let begun = service
        .user("ada")
        .post(
            "/authorizations",
            json!({ "provider": "google", "return_to": APPLICATION }),
        )
        .await
        .expect_status(201);
    let link = begun["authorization_url"].as_str().unwrap();
    assert!(link.starts_with(&service.base_url), "{link}");
    let answer = service
        .http
        .get(link)
        .header("host", "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("x-forwarded-proto", "https")
        .header("forwarded", "host=evil.example;proto=https")
        .send()
        .await
        .unwrap();
    let location: url::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
    let expected = format!("{}/api/v1/oauth/callback/google", service.base_url);
    assert_eq!(
        crate::harness::parameter(&location, "redirect_uri"),
        Some(expected.clone())
    );
    assert!(!format!("{:?}", answer.headers()).contains("evil.example"));

    service.connect("ada", "google").await;
    for request in service
        .simulator
        .requests_to(Provider::Google, Endpoint::Exchange)
    {
        assert_eq!(request.field("redirect_uri"), Some(expected.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pkce_s256_always_and_unique() {
    let service = Service::start().await;
    let providers = [
        Provider::Google,
        Provider::Microsoft,
        Provider::Notion,
        Provider::YouTube,
    ];
    for provider in providers {
        for _ in 0..3 {
            service.connect("ada", provider.key()).await;
        }
    }
    let (mut challenges, mut states, mut verifiers) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for provider in providers {
        for request in service.simulator.requests_to(provider, Endpoint::Authorize) {
            let method = request.query("code_challenge_method");
            assert_eq!(method, Some("S256"), "{request:?}");
            challenges.insert(request.query("code_challenge").unwrap().to_owned());
            let state = request.query("state").unwrap();
            assert!(state.len() >= 22, "less than 128 bit: {state}");
            states.insert(state.to_owned());
            assert_eq!(request.query("response_type"), Some("code"));
        }
        for request in service.simulator.requests_to(provider, Endpoint::Exchange) {
            let verifier = request.field("code_verifier").unwrap();
            assert!((43..=128).contains(&verifier.len()), "{verifier}");
            verifiers.insert(verifier.to_owned());
        }
    }
    assert_eq!((challenges.len(), states.len(), verifiers.len()), (12, 12, 12));
    assert!(service.simulator.refusals().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn verifier_row_gone_after_exchange() {
    let service = Service::start().await;
    let sql = service.sql().await;
    let secrets = "SELECT status, data_key IS NULL, pkce_verifier IS NULL, code IS NULL, nonce IS NULL, \
                   confirmation IS NULL FROM oauth_authorizations WHERE id = $1::text::uuid";
    let left = "SELECT count(*) FROM oauth_authorization_redirects WHERE authorization_id = $1::text::uuid \
                AND (data_key IS NOT NULL OR pkce_verifier IS NOT NULL OR nonce IS NOT NULL)";
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let left = async |id: &str| sql.query_one(left, &[&id]).await.unwrap().get::<_, i64>(0);
    assert_eq!(
        left(&flow.id).await,
        1,
        "the verifier is needed until the exchange"
    );
    let end = flow.arrive().await;
    let row = sql.query_one(secrets, &[&flow.id]).await.unwrap();
    assert!(
        !row.get::<_, bool>(2),
        "the verifier is needed until the exchange"
    );
    confirm(&service, "ada", &end).await.expect_status(200);
    let row = sql.query_one(secrets, &[&flow.id]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "connected");
    for column in 1..=5 {
        assert!(
            row.get::<_, bool>(column),
            "column {column} still holds something"
        );
    }

    // The same when the exchange fails, and when it was denied.
    service.simulator.inject(
        Provider::Google,
        Endpoint::Exchange,
        Fault::Error {
            code: "invalid_grant".into(),
        },
        1,
    );
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    assert!(confirm(&service, "ada", &end).await.status >= 400);
    let mut denied = Flow::begin(&service, "ada", "google").await;
    let url = denied.callback_with("error", Some("access_denied"));
    denied.arrive_at(&url).await;
    for id in [&flow.id, &denied.id] {
        assert_eq!(left(id).await, 0, "{id}");
        let row = sql.query_one(secrets, &[id]).await.unwrap();
        for column in 1..=5 {
            assert!(
                row.get::<_, bool>(column),
                "column {column} of {id} still holds something"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn code_exchange_never_retried_after_send() {
    let service = Service::start().await;
    for (fault, what) in [
        (Fault::LoseAnswer, "the answer is lost"),
        (Fault::Reset, "the connection is reset"),
        (Fault::ServerError { status: 503 }, "the provider has trouble"),
        (Fault::NonsenseJson, "the answer is nonsense"),
        (
            Fault::TooManyRequests {
                retry_after: Some("0".into()),
            },
            "the provider has too much to do",
        ),
    ] {
        let before = exchanges(&service);
        service
            .simulator
            .inject(Provider::Google, Endpoint::Exchange, fault, 1);
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let end = flow.arrive().await;
        let answer = confirm(&service, "ada", &end).await;
        assert!(matches!(answer.status, 502 | 503), "{what}: {answer:?}");
        // Asking again does not send it again either.
        assert!(confirm(&service, "ada", &end).await.status >= 400, "{what}");
        assert_eq!(exchanges(&service), before + 1, "{what}");
        let sent = service
            .simulator
            .requests_to(Provider::Google, Endpoint::Exchange);
        assert_eq!(sent.last().unwrap().field("code"), Some(&*flow.parameter("code")));
        // The next one works; but a provider that asks for a pause gets one.
        if what != "the provider has too much to do" {
            service.connect("ada", "google").await;
        }
    }
}
