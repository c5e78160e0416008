//! How far a verdict reaches, end to end: answers that real providers gave, to one account or one flow, and what becomes of
//! everybody else.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider, Simulator};
use serde_json::{Value, json};

use crate::{
    foreign_provider,
    harness::{Answer, Flow, Service},
};

fn answer(status: u16, body: &Value) -> Fault {
    Fault::Answer {
        status,
        content_type: "application/json".to_owned(),
        headers: Vec::new(),
        body: match body {
            Value::String(text) => text.clone(),
            body => body.to_string(),
        },
    }
}

async fn refresh(service: &Service, user: &str, integration: &Value) -> Answer {
    let path = format!("/integrations/{}/refresh", integration["id"].as_str().unwrap());
    service.user(user).post(&path, json!({})).await
}

async fn is_open(service: &Service, provider: &str) -> bool {
    let observed = service.manager.observe(&provider.parse().unwrap()).await.unwrap();
    observed.breaker.is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_code_at_microsoft_stops_nobody_but_its_own_flow() {
    let service = Service::start().await;
    let honest = service.connect("ada", "microsoft").await;
    // As traced at Microsoft.
    let malformed = json!({
        "error": "invalid_grant",
        "error_description": "AADSTS9002313: Invalid request. Request is malformed or invalid.",
        "error_codes": [9_002_313],
        "error_uri": "https://login.microsoftonline.com/error?code=9002313"
    });
    for round in 0..3 {
        service.simulator.inject(
            Provider::Microsoft,
            Endpoint::Exchange,
            answer(400, &malformed),
            1,
        );
        let mut flow = Flow::begin(&service, "eve", "microsoft").await;
        let made_up = flow.callback_with("code", Some("garbage"));
        let end = flow.arrive_at(&made_up).await;
        let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
        let path = format!("/authorizations/{}/confirm", flow.id);
        let refused = service.user("eve").post(&path, confirmation).await;
        let problem = refused.expect_problem(502, "provider_error");
        assert_eq!(problem["who_must_act"], "user", "{problem:#}");
        assert_eq!(service.simulator.pending_faults(), 0);

        assert!(!is_open(&service, "microsoft").await, "round {round}");
        refresh(&service, "ada", &honest).await.expect_status(200);
        service.connect(&format!("new{round}"), "microsoft").await;
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_accounts_401_at_a_configured_provider_leaves_the_others_refreshing() {
    let service = foreign_provider::start(foreign_provider::openid).await;
    let wanted = || json!({ "provider": "acme", "features": ["acme.profile"] });
    let healthy = service.connect_with("healthy", wanted()).await;
    for (n, (status, body)) in [
        (401, json!("")),
        (403, json!("")),
        (403, json!("<html>go away</html>")),
        (401, json!({ "error": "unauthorized" })),
        (400, json!({ "error": "unauthorized_client" })),
        (
            401,
            json!({ "error": "access_denied", "error_description": "Unauthorized" }),
        ),
        (
            200,
            json!({ "errcode": 40030, "errmsg": "invalid refresh_token" }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{n}");
        let account = service.connect_with(&user, wanted()).await;
        service
            .simulator
            .inject(Provider::Oidc, Endpoint::Refresh, answer(status, &body), 1);
        let problem = refresh(&service, &user, &account)
            .await
            .expect_problem(503, "provider_paused");
        assert_eq!(problem["who_must_act"], "operator", "{status} {body}");
        assert_eq!(service.simulator.pending_faults(), 0, "{status} {body}");

        assert!(!is_open(&service, "acme").await, "{status} {body}");
        refresh(&service, "healthy", &healthy).await.expect_status(200);
        service.connect_with(&format!("new{n}"), wanted()).await;
        // Nothing was lost: the next answer is a good one.
        refresh(&service, &user, &account).await.expect_status(200);
    }
    service.stop().await;
}

const TO_COME: &str = "the-secret-to-come";

fn with_two_secrets(simulator: &Simulator) -> String {
    let loopback = "allow_loopback = true\n";
    let both = format!("{loopback}client_secret_next = \"{TO_COME}\"\n");
    foreign_provider::openid(simulator).replacen(loopback, &both, 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_secret_is_tried_in_whatever_words_a_provider_refuses_the_first() {
    let service = foreign_provider::start(with_two_secrets).await;
    let (_, first) = service.simulator.client(Provider::Oidc);
    let account = service
        .connect_with("ada", json!({ "provider": "acme", "features": ["acme.profile"] }))
        .await;
    let mut expected = 0;
    for (n, (name, status, body)) in [
        (
            "Keycloak",
            401,
            json!({ "error": "unauthorized_client", "error_description": "Invalid client or Invalid client credentials" }),
        ),
        (
            "Auth0",
            401,
            json!({ "error": "access_denied", "error_description": "Unauthorized" }),
        ),
        ("Zoho", 200, json!({ "error": "invalid_client_secret" })),
        (
            "HubSpot",
            400,
            json!({ "status": "BAD_CLIENT_SECRET", "message": "missing or invalid client secret" }),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        // Exchanged at the provider, there and back.
        let secret = if n % 2 == 0 { TO_COME } else { first.as_str() };
        service.simulator.set_client_secret(Provider::Oidc, secret);
        service
            .simulator
            .inject(Provider::Oidc, Endpoint::Refresh, answer(status, &body), 1);
        refresh(&service, "ada", &account).await.expect_status(200);
        // From then on it is presented at once.
        refresh(&service, "ada", &account).await.expect_status(200);
        expected += 3;
        let asked = service.simulator.requests_to(Provider::Oidc, Endpoint::Refresh).len();
        assert_eq!(asked, expected, "{name}: refused, taken, taken");
        assert!(!is_open(&service, "acme").await, "{name}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_right_is_not_doubted_for_one_accounts_401() {
    let service = foreign_provider::start(with_two_secrets).await;
    let wanted = || json!({ "provider": "acme", "features": ["acme.profile"] });
    let account = service.connect_with("ada", wanted()).await;
    let other = service.connect_with("bob", wanted()).await;
    // The other secret is not valid yet: the provider says so, and that is not believed.
    service.simulator.inject(
        Provider::Oidc,
        Endpoint::Refresh,
        answer(401, &json!({ "reason": "Invalid Token!" })),
        1,
    );
    let problem = refresh(&service, "ada", &account)
        .await
        .expect_problem(503, "provider_paused");
    assert_ne!(problem["reason"], "invalid_client", "{problem:#}");
    assert!(!is_open(&service, "acme").await);
    refresh(&service, "bob", &other).await.expect_status(200);
    service.connect_with("new", wanted()).await;
    service.stop().await;
}

fn with_declared_errors(simulator: &Simulator) -> String {
    let declared = "[providers.acme.errors]\n\
                    dead = [{ pointer = \"/reason\", equals = \"Invalid Token!\" }, \"session_over\"]\n\
                    admin = [{ pointer = \"/error/code\", equals = 10 }]\n\
                    transient = [\"Access Denied\"]\n";
    foreign_provider::openid(simulator) + declared
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_declares_says_who_must_act() {
    let service = foreign_provider::start(with_declared_errors).await;
    for (n, (status, body, problem, who, state)) in [
        (
            401,
            json!({ "reason": "Invalid Token!" }),
            (409, "reauth_required"),
            "user",
            "reauth_required",
        ),
        (
            400,
            json!({ "error": "Session_Over" }),
            (409, "reauth_required"),
            "user",
            "reauth_required",
        ),
        (
            400,
            json!({ "error": { "code": 10 } }),
            (409, "admin_required"),
            "admin",
            "paused",
        ),
        (
            403,
            json!({ "error": "Access Denied" }),
            (503, "provider_unavailable"),
            "nobody",
            "degraded",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{n}");
        let account = service
            .connect_with(&user, json!({ "provider": "acme", "features": ["acme.profile"] }))
            .await;
        service
            .simulator
            .inject(Provider::Oidc, Endpoint::Refresh, answer(status, &body), 1);
        let told = refresh(&service, &user, &account)
            .await
            .expect_problem(problem.0, problem.1);
        assert_eq!(told["who_must_act"], who, "{body}: {told:#}");
        let path = format!("/integrations/{}", account["id"].as_str().unwrap());
        let view = service.user(&user).get(&path).await.expect_status(200);
        assert_eq!(view["status"], state, "{body}: {view:#}");
    }
    service.stop().await;
}
