//! Callbacks that must connect nothing: no token request is made, the user gets a clear answer, the audit says why. Each
//! test also shows that the same flow, unspoiled, works.

use oauth_manager::dev::simulator::{Consent, Endpoint, Fault, Provider};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{APPLICATION, End, Flow, Service, ServiceOptions};

/// A page of ours that sends nobody anywhere, and shows a code for those who help.
#[track_caller]
fn expect_page(end: &End, reason: &str) {
    assert_eq!(end.status, 400, "{end:?}");
    assert!(!end.headers.contains_key("location"), "{end:?}");
    let content_type = end.headers["content-type"].to_str().unwrap();
    assert!(content_type.starts_with("text/html"), "{end:?}");
    assert!(end.body.contains("Connecting did not work"), "{end:?}");
    assert!(end.body.contains(&format!("<code>{reason}</code>")), "{end:?}");
}

/// Back to the application, which hears why.
#[track_caller]
fn expect_redirect(end: &End, status: &str, reason: &str) {
    assert_eq!(end.status, 303, "{end:?}");
    assert!(end.url.as_str().starts_with(APPLICATION), "{end:?}");
    assert_eq!(end.query("status").as_deref(), Some(status), "{end:?}");
    assert_eq!(end.query("error").as_deref(), Some(reason), "{end:?}");
    assert_eq!(end.query("confirmation"), None, "{end:?}");
}

fn exchanges(service: &Service, provider: Provider) -> usize {
    service.simulator.requests_to(provider, Endpoint::Token).len()
}

/// Reasons of the user's refused callbacks, newest first, as the user sees them.
async fn refused_callbacks(service: &Service, user: &str) -> Vec<String> {
    let audit = service.user(user).get("/audit").await.expect_status(200);
    let rows = audit["items"].as_array().unwrap();
    rows.iter()
        .filter(|row| row["action"] == "callback" && row["outcome"] != "success")
        .map(|row| row["error"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The positive control: a flow that nobody spoils does make one token request.
async fn unspoiled_flow_connects(service: &Service, provider: Provider) {
    let before = exchanges(service, provider);
    let integration = service.connect("ada", provider.key()).await;
    assert_eq!(integration["status"], "active");
    assert_eq!(exchanges(service, provider), before + 1);
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
async fn callback_without_or_with_unknown_state_is_refused_and_harms_no_flow() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let unknown = "A".repeat(43);
    for (url, reason) in [
        (flow.callback_with("state", None), "state_missing"),
        (flow.callback_with("state", Some(&unknown)), "state_unknown"),
        (flow.callback_with("state", Some("")), "state_unknown"),
        (
            flow.callback_with("state", Some("\0\u{ffff}'--")),
            "state_unknown",
        ),
    ] {
        let end = flow.arrive_at(&url).await;
        expect_page(&end, reason);
    }
    assert_eq!(exchanges(&service, Provider::Google), 0);
    let rows = service
        .sql()
        .await
        .query(
            "SELECT DISTINCT error FROM oauth_audit_log WHERE action = 'callback' AND outcome = 'denied' ORDER BY error",
            &[],
        )
        .await
        .unwrap();
    let reasons: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(
        reasons,
        ["state_missing", "state_unknown"],
        "how often is counted"
    );

    // Whoever guesses states does not disturb the flow that waits.
    let end = flow.arrive().await;
    confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service, Provider::Google), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn callback_replay_is_inert() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    // Used already, though not exchanged yet: a further code is not looked at.
    let other = flow.callback_with("code", Some("other"));
    let replayed = flow.arrive_at(&other).await;
    assert_eq!(replayed.query("confirmation"), end.query("confirmation"));
    expect_page(
        &service.browser().step(flow.callback.as_str()).await,
        "state_used",
    );
    assert_eq!(exchanges(&service, Provider::Google), 0);
    let first = confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service, Provider::Google), 1);

    let replayed = flow.arrive_at(&other).await;
    assert_eq!(
        replayed.query("status").as_deref(),
        Some("connected"),
        "{replayed:?}"
    );
    // An application that lost our answer asks again, and is told the same.
    let again = confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(again["id"], first["id"]);
    assert_eq!(exchanges(&service, Provider::Google), 1);
    assert_eq!(refused_callbacks(&service, "ada").await, ["state_used"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_state_rejected_even_if_row_present() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let sql = service.sql().await;
    let past = "UPDATE oauth_authorizations SET expires_at = now() - interval '1 second'";
    assert_eq!(sql.execute(past, &[]).await.unwrap(), 1);
    expect_redirect(&flow.arrive().await, "failed", "expired");

    // Cleared away meanwhile: the same answer, and recorded all the same.
    let mut flow = Flow::begin(&service, "ada", "google").await;
    sql.execute(past, &[]).await.unwrap();
    use oauth_manager_actors::ports::store::AuthorizationStore as _;
    assert!(service.assembly().storage.purge().await.unwrap() >= 1);
    expect_redirect(&flow.arrive().await, "failed", "expired");

    // Expired between callback and confirmation.
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    sql.execute(past, &[]).await.unwrap();
    confirm(&service, "ada", &end)
        .await
        .expect_problem(410, "expired");

    assert_eq!(exchanges(&service, Provider::Google), 0);
    assert_eq!(refused_callbacks(&service, "ada").await, ["expired", "expired"]);
    unspoiled_flow_connects(&service, Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callback_on_wrong_integration_path_rejected() {
    let service = Service::start().await;
    for other in ["microsoft", "notion", "nobody"] {
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let mut url = flow.callback.clone();
        url.set_path(&format!("/api/v1/oauth/callback/{other}"));
        expect_page(&flow.arrive_at(&url).await, "provider_mismatch");
        // It is used up: the right path is too late now.
        expect_redirect(&flow.arrive().await, "failed", "provider_mismatch");
    }
    for provider in [Provider::Google, Provider::Microsoft, Provider::Notion] {
        assert_eq!(exchanges(&service, provider), 0);
    }
    let reasons = refused_callbacks(&service, "ada").await;
    assert_eq!(reasons.iter().filter(|r| *r == "provider_mismatch").count(), 3);
    unspoiled_flow_connects(&service, Provider::Google).await;
}

/// Google and YouTube share one authorization server and one `iss`: only the path and the state tell them apart.
#[tokio::test(flavor = "multi_thread")]
async fn google_code_on_youtube_callback_rejected() {
    let service = Service::start().await;
    let mut google = Flow::begin(&service, "ada", "google").await;
    let mut url = google.callback.clone();
    url.set_path("/api/v1/oauth/callback/youtube");
    expect_page(&google.arrive_at(&url).await, "provider_mismatch");

    // Google's code under the state of a YouTube flow of the same browser reaches Google's client nowhere.
    let google = Flow::begin(&service, "ada", "google").await;
    let mut youtube = Flow::begin(&service, "ada", "youtube").await;
    let injected = youtube.callback_with("code", Some(&google.parameter("code")));
    let end = youtube.arrive_at(&injected).await;
    assert_eq!(exchanges(&service, Provider::YouTube), 0);
    confirm(&service, "ada", &end)
        .await
        .expect_problem(502, "provider_error");
    assert_eq!(exchanges(&service, Provider::Google), 0);
    assert_eq!(
        service.user("ada").get("/integrations").await.body["items"],
        json!([])
    );
    unspoiled_flow_connects(&service, Provider::YouTube).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callback_with_missing_or_foreign_cookie_rejected() {
    let service = Service::start().await;
    // No cookie at all.
    let flow = Flow::begin(&service, "ada", "google").await;
    let end = service.browser().step(flow.callback.as_str()).await;
    expect_page(&end, "browser_mismatch");
    // The cookie of another flow.
    let flow = Flow::begin(&service, "ada", "google").await;
    let mut other = Flow::begin(&service, "ada", "google").await;
    expect_page(&other.arrive_at(&flow.callback).await, "browser_mismatch");
    // Another flow's value under this flow's name.
    let flow = Flow::begin(&service, "ada", "google").await;
    let names: Vec<String> = flow.browser.cookies_for(&service.base_url).into_keys().collect();
    let line = format!("{}={}", names[0], "B".repeat(43));
    let answer = crate::harness::http_client()
        .get(flow.callback.clone())
        .header("cookie", line)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);

    assert_eq!(exchanges(&service, Provider::Google), 0);
    assert_eq!(refused_callbacks(&service, "ada").await, ["browser_mismatch"; 3]);
    let end = other.arrive().await;
    confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service, Provider::Google), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn error_callback_needs_state_and_escapes_description() {
    let service = Service::start().await;
    let denied = |name: &str| Fault::Error { code: name.into() };
    for (code, status) in [
        ("access_denied", "denied"),
        ("server_error", "failed"),
        ("<script>alert(1)</script>", "failed"),
    ] {
        service
            .simulator
            .inject(Provider::Google, Endpoint::Authorize, denied(code), 1);
        let mut flow = Flow::begin(&service, "ada", "google").await;
        assert_eq!(flow.parameter("error"), code);
        let end = flow.arrive().await;
        assert_eq!(end.query("status").as_deref(), Some(status), "{end:?}");
        let shown = end.query("error").unwrap();
        assert!(!shown.contains(['<', '>', '(']), "{shown}");
        assert_eq!(refused_callbacks(&service, "ada").await[0], shown);
        // It used the state up.
        expect_redirect(&flow.arrive().await, status, &shown);
    }
    let stray = format!(
        "{}/api/v1/oauth/callback/google?error=access_denied&error_description=<b>x</b>",
        service.base_url
    );
    let end = service.browser().step(&stray).await;
    expect_page(&end, "state_missing");
    assert!(!end.body.contains("<b>x"), "{end:?}");
    assert_eq!(exchanges(&service, Provider::Google), 0);
    unspoiled_flow_connects(&service, Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn callback_param_pollution_rejected() {
    let service = Service::start().await;
    type Spoil = fn(&Flow) -> Url;
    let spoilers: [(&str, Spoil); 5] = [
        ("two codes", |flow| flow.callback_and("code", "other")),
        ("the same code twice", |flow| {
            flow.callback_and("code", &flow.parameter("code"))
        }),
        ("a code and an error", |flow| {
            flow.callback_and("error", "access_denied")
        }),
        ("two states", |flow| flow.callback_and("state", "other")),
        ("two issuers", |flow| {
            flow.callback_and("iss", "https://evil.example")
        }),
    ];
    for (what, spoil) in spoilers {
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let url = spoil(&flow);
        let end = flow.arrive_at(&url).await;
        assert_eq!(end.status, 303, "{what}: {end:?}");
        expect_redirect(&end, "failed", "conflicting_parameters");
    }
    // A state that is not ours first: nothing is known about that flow.
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let state = flow.parameter("state");
    let mut url = flow.callback_with("state", Some("other"));
    url.query_pairs_mut().append_pair("state", &state);
    expect_page(&flow.arrive_at(&url).await, "state_unknown");

    assert_eq!(exchanges(&service, Provider::Google), 0);
    assert_eq!(
        refused_callbacks(&service, "ada").await,
        ["conflicting_parameters"; 5]
    );
    unspoiled_flow_connects(&service, Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn iss_mismatch_aborts_before_token_request() {
    let service = Service::start().await;
    let honest = Flow::begin(&service, "ada", "google").await.parameter("iss");
    let slash = format!("{honest}/");
    for wrong in ["https://evil.example", slash.as_str(), ""] {
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let url = flow.callback_with("iss", Some(wrong));
        expect_redirect(&flow.arrive_at(&url).await, "failed", "issuer_mismatch");
    }
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let url = flow.callback_with("code", None);
    expect_redirect(&flow.arrive_at(&url).await, "failed", "code_missing");
    assert_eq!(exchanges(&service, Provider::Google), 0);
    assert_eq!(
        refused_callbacks(&service, "ada").await,
        [
            "code_missing",
            "issuer_mismatch",
            "issuer_mismatch",
            "issuer_mismatch"
        ]
    );
    unspoiled_flow_connects(&service, Provider::Google).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_flow_is_told_to_its_owner() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let url = flow.callback_and("code", "other");
    flow.arrive_at(&url).await;
    let path = format!("/authorizations/{}", flow.id);
    let view: Value = service.user("ada").get(&path).await.expect_status(200);
    assert_eq!(view["status"], "failed", "{view:#}");
    assert_eq!(view["error"], "conflicting_parameters", "{view:#}");
}

/// The provider asks, and the user says no, or grants.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_says_no_at_the_provider_is_heard() {
    let service = Service::start_with(ServiceOptions {
        consent: Consent::Ask,
        ..ServiceOptions::default()
    })
    .await;
    for (provider, decision, status) in [
        ("google", "deny", "denied"),
        ("microsoft", "deny", "denied"),
        ("notion", "deny", "denied"),
        ("notion", "allow", "confirmation_required"),
    ] {
        let request = json!({ "provider": provider, "return_to": APPLICATION });
        let begun = service.user("ada").post("/authorizations", request).await;
        let begun = begun.expect_status(201);
        let mut browser = service.browser();
        let asked = browser.open(begun["authorization_url"].as_str().unwrap()).await;
        assert_eq!(asked.status, 200, "{asked:?}");
        let end = browser
            .submit(asked.url.as_str(), &[("decision", decision)])
            .await;
        assert_eq!(
            end.query("status").as_deref(),
            Some(status),
            "{provider}: {end:?}"
        );
        if decision == "deny" {
            assert_eq!(end.query("error").as_deref(), Some("access_denied"), "{end:?}");
            let path = format!("/authorizations/{}", begun["authorization_id"].as_str().unwrap());
            let view = service.user("ada").get(&path).await.expect_status(200);
            assert_eq!(view["status"], "denied", "{view:#}");
        } else {
            confirm(&service, "ada", &end).await.expect_status(200);
        }
    }
    assert_eq!(refused_callbacks(&service, "ada").await, ["access_denied"; 3]);
}
