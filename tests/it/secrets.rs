//! Secrets stay inside: not in the database, not in the log at its finest, not in what callers are told.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::json;

use crate::harness::{
    Answer, Api, Flow, Service,
    canary::{Canaries, found},
    database, logs,
};

const PROVIDERS: [Provider; 4] = [
    Provider::Google,
    Provider::Microsoft,
    Provider::Notion,
    Provider::YouTube,
];

/// Every secret that passed between the service and the providers.
fn of_simulator(service: &Service, canaries: &mut Canaries) {
    for request in service.simulator.requests() {
        for (what, name) in [
            ("code", "code"),
            ("verifier", "code_verifier"),
            ("refresh token", "refresh_token"),
            ("token", "token"),
            ("client secret", "client_secret"),
        ] {
            if let Some(secret) = request.field(name) {
                canaries.add(what, secret);
            }
        }
        if let Some(state) = request.query("state") {
            canaries.add("state", state);
        }
        match request
            .header("authorization")
            .and_then(|line| line.split_once(' '))
        {
            Some(("Bearer", token)) => canaries.add("access token", token),
            Some(("Basic", pair)) => canaries.add("client credentials", pair),
            _ => {}
        }
    }
    for provider in PROVIDERS {
        canaries.add("client secret", &service.simulator.client(provider).1);
    }
    canaries.add("key of users' JWTs", crate::harness::AUTH_SECRET);
    canaries.add("encryption key", crate::harness::ENCRYPTION_KEY);
}

async fn hand_out(consumer: &Api, id: &str, canaries: &mut Canaries) {
    let token = consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    canaries.add("access token", token["access_token"].as_str().unwrap());
}

fn last_segment(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pg_dump_grep_finds_no_secret() {
    let service = Service::start().await;
    let mut canaries = Canaries::default();
    let consumer = service.service(&["*:*"]).await;
    canaries.add("service credential", consumer.token());
    canaries.add("user's JWT", service.user("ada").token());
    let mut ids = Vec::new();
    for provider in PROVIDERS {
        let integration = service.connect("ada", provider.key()).await;
        let id = integration["id"].as_str().unwrap().to_owned();
        hand_out(&consumer, &id, &mut canaries).await;
        let path = format!("/integrations/{id}/refresh");
        service
            .user("ada")
            .post(&path, json!({}))
            .await
            .expect_status(200);
        hand_out(&consumer, &id, &mut canaries).await;
        ids.push(id);
    }
    // One revoked, whose tokens the provider was told.
    let path = format!("/integrations/{}", ids.pop().unwrap());
    service.user("ada").delete(&path).await.expect_status(200);
    // One at the provider, with state and verifier; one that awaits its confirmation, with a code.
    let away = Flow::begin(&service, "ada", "google").await;
    let mut waiting = Flow::begin(&service, "ada", "microsoft").await;
    let end = waiting.arrive().await;
    for flow in [&away, &waiting] {
        canaries.add("handle", last_segment(&flow.link));
        canaries.add("code", &flow.parameter("code"));
    }
    for (name, value) in away.browser.cookies_for(&service.base_url) {
        canaries.add(&format!("cookie {name}"), &value);
    }
    canaries.add("confirmation", &end.query("confirmation").unwrap());
    // A session link, and a session.
    let link = consumer
        .post(
            "/sessions",
            json!({ "user": "ada", "return_to": crate::harness::APPLICATION }),
        )
        .await
        .expect_status(201);
    canaries.add("session link", last_segment(link["url"].as_str().unwrap()));
    let mut browser = service.browser();
    let asked = browser.open(link["url"].as_str().unwrap()).await;
    canaries.add(
        "session confirmation",
        &asked.query("session_confirmation").unwrap(),
    );
    for value in browser.cookies_for(&service.base_url).values() {
        canaries.add("pending session", value);
    }
    let browser = service.browser_of("ada").await;
    for value in browser.cookies_for(&service.base_url).values() {
        canaries.add("session", value);
    }
    of_simulator(&service, &mut canaries);
    assert!(canaries.count("access token") >= 8 && canaries.count("state") >= 6);
    assert!(canaries.count("verifier") >= 4 && canaries.count("refresh token") >= 3);

    let dump = database::dump(&service.database_url).await;
    // The control: what is no secret is there, and so is the sealed code.
    let uuid = ids[0].rsplit('_').next().unwrap();
    assert!(
        dump.replace('-', "").contains(uuid),
        "the dump is not of this database"
    );
    let code = "SELECT code IS NOT NULL FROM oauth_authorizations WHERE id = $1::text::uuid";
    let row = service.sql().await.query_one(code, &[&waiting.id]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    canaries.expect_none_in("the database", &dump);
}

#[tokio::test(flavor = "multi_thread")]
async fn canary_never_leaves_in_any_encoding() {
    let service = Service::start().await;
    let since = logs::length();
    let mut canaries = Canaries::default();
    let mut told = Vec::new();
    let consumer = service.service(&["*:*"]).await;
    canaries.add("service credential", consumer.token());
    canaries.add("user's JWT", service.user("ada").token());

    let good = service.connect("ada", "google").await;
    let id = good["id"].as_str().unwrap().to_owned();
    hand_out(&consumer, &id, &mut canaries).await;
    exchanges_that_fail(&service, &mut canaries, &mut told).await;
    refreshes_that_fail(&service, &id, &consumer, &mut told).await;
    credentials_that_fail(&service, &mut canaries, &mut told).await;
    browsers_that_fail(&service, &mut canaries, &mut told).await;
    hand_out(&consumer, &id, &mut canaries).await;
    service.simulator.inject(
        Provider::Google,
        Endpoint::Revoke,
        Fault::ServerError { status: 500 },
        1,
    );
    let revoked = service.user("ada").delete(&format!("/integrations/{id}")).await;
    told.push(revoked.expect_status(200).to_string());

    of_simulator(&service, &mut canaries);
    for body in &told {
        canaries.expect_none_in("an answer", body);
    }
    let audit = service.user("ada").get("/audit?limit=200").await;
    canaries.expect_none_in("the audit", &audit.expect_status(200).to_string());
    let log = logs::since(since);
    // The controls: it is our log, and it would have been found.
    let uuid = id.rsplit('_').next().unwrap();
    assert!(
        log.replace('-', "").contains(uuid),
        "nothing was logged of this test"
    );
    assert!(found(&format!("{:?}", "an account is connected"), &log).is_some());
    canaries.expect_none_in("the log", &log);
    for line in log
        .lines()
        .filter(|line| line.contains("\"DEBUG\"") || line.contains("\"TRACE\""))
    {
        assert!(
            line.contains("\"target\":\"oauth_manager"),
            "a library is heard: {line}"
        );
    }
}

fn keep(told: &mut Vec<String>, answer: Answer) {
    assert!(answer.status >= 400, "{answer:?}");
    assert!(answer.status != 500, "{answer:?}");
    told.push(format!("{:?} {}", answer.headers, answer.body));
}

async fn exchanges_that_fail(service: &Service, canaries: &mut Canaries, told: &mut Vec<String>) {
    // The provider's own words repeat what it was sent.
    let echo = json!({ "error": "invalid_grant", "error_description": "bad: CANARY-IN-A-DESCRIPTION-1234" });
    canaries.add("provider's words", "CANARY-IN-A-DESCRIPTION-1234");
    let tokens = json!({ "access_token": "CANARY-ACCESS-TOKEN-12345678", "refresh_token": "CANARY-REFRESH-TOKEN-1234" });
    canaries.add("access token", "CANARY-ACCESS-TOKEN-12345678");
    canaries.add("refresh token", "CANARY-REFRESH-TOKEN-1234");
    let answer = |status: u16, body: String| Fault::Answer {
        status,
        content_type: "application/json".into(),
        headers: vec![],
        body,
    };
    for fault in [
        answer(400, echo.to_string()),
        // No token type, no ID token; and the same broken off.
        answer(200, tokens.to_string()),
        answer(200, tokens.to_string().replace("\"}", "")),
        Fault::TruncateAfterRefreshToken,
    ] {
        service
            .simulator
            .inject(Provider::Google, Endpoint::Exchange, fault, 1);
        let mut flow = Flow::begin(service, "ada", "google").await;
        let end = flow.arrive().await;
        canaries.add("confirmation", &end.query("confirmation").unwrap());
        canaries.add("handle", last_segment(&flow.link));
        let path = format!("/authorizations/{}/confirm", flow.id);
        let body = json!({ "confirmation": end.query("confirmation").unwrap() });
        keep(told, service.user("ada").post(&path, body.clone()).await);
        keep(told, service.user("ben").post(&path, body).await);
        // A success in between keeps the provider's breaker closed.
        service.connect("ada", "google").await;
    }
}

async fn refreshes_that_fail(service: &Service, id: &str, consumer: &Api, told: &mut Vec<String>) {
    let path = format!("/integrations/{id}/refresh");
    for fault in [
        Fault::LoseAnswer,
        Fault::TruncateQuietly,
        Fault::ServerError { status: 503 },
    ] {
        service
            .simulator
            .inject(Provider::Google, Endpoint::Refresh, fault, 1);
        let answer = service.user("ada").post(&path, json!({})).await;
        told.push(answer.body.to_string());
        // A reconnect brings it back whatever the failure was.
        service.connect("ada", "google").await;
        let path = format!("/integrations/{id}/token?min_ttl=24h");
        let answer = consumer.get(&path).await;
        if answer.status != 200 {
            told.push(answer.body.to_string());
        }
    }
}

async fn credentials_that_fail(service: &Service, canaries: &mut Canaries, told: &mut Vec<String>) {
    let jwt = service.user("ada").token().to_owned();
    for bad in [
        format!("{jwt}x"),
        "oms_0123456789abcdef0123456789abcdef".to_owned(),
        "garbled.CANARY-OF-A-CREDENTIAL.garbled".to_owned(),
    ] {
        canaries.add("refused credential", &bad);
        let api = service.with_token(&bad);
        keep(told, api.get("/integrations").await);
        keep(told, api.get("/users/ada/token?provider=google").await);
    }
    let user = service.user("ada");
    canaries.add("a body's value", "CANARY-IN-A-BODY-VALUE");
    let body = json!({ "confirmation": "CANARY-IN-A-BODY-VALUE" });
    let path = "/authorizations/01890a5d-ac96-774b-bcce-b302099a8057/confirm";
    keep(told, user.post(path, body).await);
}

async fn browsers_that_fail(service: &Service, canaries: &mut Canaries, told: &mut Vec<String>) {
    let mut browser = service.browser();
    for (what, path) in [
        ("handle", "/connect/google.CANARY-OF-A-HANDLE-1234567"),
        ("session link", "/session/CANARY-OF-A-SESSION-LINK-12"),
        (
            "code and state",
            "/api/v1/oauth/callback/google?code=CANARY-OF-A-CODE-123456&state=CANARY-OF-A-STATE-12345",
        ),
        ("path", "/CANARY-OF-NO-PATH-AT-ALL?x=CANARY-OF-NO-QUERY"),
    ] {
        for word in path
            .split(['/', '?', '&', '=', '.'])
            .filter(|word| word.starts_with("CANARY"))
        {
            canaries.add(what, word);
        }
        let end = browser.step(&format!("{}{path}", service.base_url)).await;
        assert!((400..500).contains(&end.status), "{end:?}");
        told.push(end.body);
    }
    let flow = Flow::begin(service, "ada", "google").await;
    for value in flow.browser.cookies_for(&service.base_url).values() {
        canaries.add("flow cookie", value);
    }
    canaries.add("code", &flow.parameter("code"));
    let end = browser.step(flow.callback.as_str()).await;
    assert_eq!(end.status, 400);
    told.push(end.body);
}
