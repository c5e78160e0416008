//! Who finishes is who began (security.md, A): whoever else carries a flow to its end connects nothing.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::json;

use crate::harness::{APPLICATION, End, Flow, Service, http_client};

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

/// Whether the owner's audit names this reason.
async fn audited(service: &Service, owner: &str, reason: &str) -> bool {
    let audit = service.user(owner).get("/audit").await.expect_status(200);
    let rows = audit["items"].as_array().unwrap();
    rows.iter()
        .any(|row| row["action"] == "callback" && row["error"] == reason && row["outcome"] != "success")
}

async fn links_nothing(service: &Service, users: &[&str]) {
    assert_eq!(exchanges(service), 0);
    for user in users {
        let list = service.user(user).get("/integrations").await.expect_status(200);
        assert_eq!(list["items"], json!([]), "{user}");
    }
}

/// The attacker begins, and sends the provider's address to a victim who has a session with us.
#[tokio::test(flavor = "multi_thread")]
async fn cosf_authorize_url_sent_to_victim_links_nothing() {
    let service = Service::start().await;
    // The link was opened by the attacker, so the flow's cookie is in the attacker's browser; even a victim's browser
    // that somehow held it too is refused, because its session is the victim's.
    let attack = Flow::begin(&service, "mallory", "google").await;
    let mut victim = service.browser_of("victim").await;
    let end = victim.step(attack.callback.as_str()).await;
    assert_eq!(end.status, 400, "{end:?}");
    assert!(audited(&service, "mallory", "browser_mismatch").await);

    let attack = Flow::begin(&service, "mallory", "google").await;
    let mut victim = service.browser_of("victim").await;
    victim.borrow_cookies(&attack.browser);
    let end = victim.step(attack.callback.as_str()).await;
    assert_eq!(end.status, 400, "{end:?}");
    assert!(audited(&service, "mallory", "binding_mismatch").await);
    links_nothing(&service, &["mallory", "victim"]).await;

    // The control: with the owner's own session the code is exchanged at once.
    let mut own = Flow::begin_in(
        service.browser_of("mallory").await,
        &service,
        "mallory",
        json!({ "provider": "google" }),
    )
    .await;
    let end = own.arrive().await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    assert_eq!(exchanges(&service), 1);
}

/// The attacker sends our own link: the victim's browser holds the flow's cookie, and still is not the attacker's.
#[tokio::test(flavor = "multi_thread")]
async fn cosf_start_url_sent_to_victim_links_nothing() {
    let service = Service::start().await;
    // A victim with a session of ours.
    let mut attack = Flow::begin_in(
        service.browser_of("victim").await,
        &service,
        "mallory",
        json!({ "provider": "google" }),
    )
    .await;
    let end = attack.arrive().await;
    assert_eq!(end.status, 400, "{end:?}");
    assert!(audited(&service, "mallory", "binding_mismatch").await);

    // A victim without one: the application confirms, as the victim.
    let mut attack = Flow::begin(&service, "mallory", "google").await;
    let end = attack.arrive().await;
    assert_eq!(end.query("status").as_deref(), Some("confirmation_required"));
    confirm(&service, "victim", &end)
        .await
        .expect_problem(409, "binding_mismatch");
    // The code is dropped: the attacker cannot confirm it either, not even with the right confirmation.
    confirm(&service, "mallory", &end)
        .await
        .expect_problem(400, "invalid_request");
    let row = service
        .sql()
        .await
        .query_one(
            "SELECT status, error, code IS NULL AND pkce_verifier IS NULL AND data_key IS NULL AND nonce IS NULL \
             FROM oauth_authorizations WHERE id = $1::text::uuid",
            &[&attack.id],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, String>(0), "failed");
    assert_eq!(
        row.get::<_, Option<String>>(1).as_deref(),
        Some("binding_mismatch")
    );
    assert!(row.get::<_, bool>(2), "the code is still there");
    links_nothing(&service, &["mallory", "victim"]).await;
    // Both the first and the second refusal are in the owner's audit, the latter naming who tried.
    let audit = service.user("mallory").get("/audit").await.expect_status(200);
    let tried = audit["items"].as_array().unwrap().iter().any(|row| {
        row["error"] == "binding_mismatch"
            && row["authorization_id"] == attack.id.as_str()
            && row["actor"].as_str().unwrap().contains("victim")
    });
    assert!(tried, "{audit:#}");

    let mut own = Flow::begin(&service, "mallory", "google").await;
    let end = own.arrive().await;
    confirm(&service, "mallory", &end).await.expect_status(200);
    assert_eq!(exchanges(&service), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callback_without_user_session_requires_reauth() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    assert_eq!(end.query("status").as_deref(), Some("confirmation_required"));
    links_nothing(&service, &["ada"]).await;
    // Knowing the confirmation is not enough without a credential, nor a credential without the confirmation.
    let path = format!("/authorizations/{}/confirm", flow.id);
    let right = json!({ "confirmation": end.query("confirmation").unwrap() });
    service
        .anonymous()
        .post(&path, right.clone())
        .await
        .expect_problem(401, "unauthenticated");
    service
        .user("ada")
        .post(&path, json!({ "confirmation": "guess" }))
        .await
        .expect_problem(400, "invalid_request");
    links_nothing(&service, &["ada"]).await;
    service.user("ada").post(&path, right).await.expect_status(200);
    assert_eq!(exchanges(&service), 1);
}

/// Login CSRF: the attacker's own code and state, planted in the victim's browser.
#[tokio::test(flavor = "multi_thread")]
async fn attacker_code_into_victim_browser_rejected() {
    let service = Service::start().await;
    let attacker = Flow::begin(&service, "mallory", "google").await;
    let mut victim = Flow::begin_in(
        service.browser_of("victim").await,
        &service,
        "victim",
        json!({ "provider": "google" }),
    )
    .await;
    // With the attacker's state, the flow's cookie is missing.
    let end = victim.arrive_at(&attacker.callback).await;
    assert_eq!(end.status, 400, "{end:?}");
    links_nothing(&service, &["mallory", "victim"]).await;
    // With the victim's state, the code does not fit the victim's verifier (PKCE).
    let injected = victim.callback_with("code", Some(&attacker.parameter("code")));
    let end = victim.arrive_at(&injected).await;
    assert_eq!(end.query("status").as_deref(), Some("failed"), "{end:?}");
    assert_eq!(exchanges(&service), 1);
    let list = service.user("victim").get("/integrations").await;
    assert_eq!(list.expect_status(200)["items"], json!([]));
    service.connect("victim", "google").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn state_consumed_once_under_64_parallel_callbacks() {
    let first = Service::start().await;
    let second = first.second_node().await;
    let flow = Flow::begin(&first, "ada", "google").await;
    let cookies = flow.browser.cookies_for(&first.base_url);
    let (name, value) = cookies.iter().next().unwrap();
    let cookie = format!("{name}={value}");
    let arrivals = (0..64).map(|n| {
        let mut url = flow.callback.clone();
        if n % 2 == 1 {
            let other: url::Url = second.base_url.parse().unwrap();
            url.set_port(other.port()).unwrap();
        }
        let request = http_client().get(url).header("cookie", cookie.clone());
        async move { request.send().await.unwrap() }
    });
    let mut redirected = 0;
    for answer in join_all(arrivals).await {
        match answer.status().as_u16() {
            303 => {
                let location = answer.headers()["location"].to_str().unwrap();
                assert!(location.contains("status=confirmation_required"), "{location}");
                redirected += 1;
            }
            400 => assert!(answer.text().await.unwrap().contains("state_used")),
            other => panic!("{other}"),
        }
    }
    assert_eq!(redirected, 1);
    assert_eq!(exchanges(&first), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_flows_do_not_clobber() {
    let service = Service::start().await;
    let mut browser = service.browser_of("ada").await;
    let mut callbacks = Vec::new();
    for provider in ["google", "notion", "google", "microsoft"] {
        let flow = Flow::begin_in(
            browser,
            &service,
            "ada",
            json!({ "provider": provider, "login_hint": format!("person-{}", callbacks.len()) }),
        )
        .await;
        callbacks.push(flow.callback.clone());
        browser = flow.browser;
    }
    // They come back in another order than they left.
    callbacks.rotate_left(1);
    callbacks.reverse();
    for callback in &callbacks {
        let end = browser.step(callback.as_str()).await;
        assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    }
    let list = service.user("ada").get("/integrations").await.expect_status(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 4, "{list:#}");
    let cookies = browser.cookies_for(&service.base_url);
    assert!(
        cookies.keys().all(|name| !name.starts_with("oauth_flow_")),
        "flows left their cookies: {cookies:?}"
    );
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
    let answer = http_client()
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
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let row = sql.query_one(secrets, &[&flow.id]).await.unwrap();
    assert!(
        !row.get::<_, bool>(2),
        "the verifier is needed until the exchange"
    );
    let end = flow.arrive().await;
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
