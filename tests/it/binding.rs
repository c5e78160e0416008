//! Who finishes is who began (security.md, A): whoever else carries a flow to its end connects nothing.

use futures_util::future::join_all;
use oauth_manager::dev::simulator::{Endpoint, Provider};
use serde_json::json;

use crate::harness::{End, Flow, Service, parameter};

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
        .expect_problem(410, "expired");
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

/// The attacker's link, which the victim opens too: the victim's browser is refused, and the code goes nowhere; whoever began
/// may still finish in their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_another_user_opened_too_connects_only_its_owner() {
    let service = Service::start().await;
    let request = json!({ "provider": "google" });
    let browser = service.browser_of("ada").await;
    let mut own = Flow::begin_in(browser, &service, "ada", request).await;
    let mut victim = service.browser_of("victim").await;
    let away = victim.step(&own.link).await;
    let back = victim.step(away.url.as_str()).await;
    for _ in 0..2 {
        let end = victim.step(back.url.as_str()).await;
        assert_eq!(end.status, 400, "{end:?}");
        assert!(end.body.contains("binding_mismatch"), "{end:?}");
    }
    assert!(audited(&service, "ada", "binding_mismatch").await);
    links_nothing(&service, &["ada", "victim"]).await;
    // The victim's code under the owner's state, in the owner's browser: it was asked for with another verifier.
    let code = parameter(&back.url, "code").unwrap();
    let end = own.arrive_at(&own.callback_with("code", Some(&code))).await;
    assert_eq!(end.query("status").as_deref(), Some("failed"), "{end:?}");
    let list = service.user("ada").get("/integrations").await.expect_status(200);
    assert_eq!(list["items"], json!([]));

    let browser = service.browser_of("ada").await;
    let mut own = Flow::begin_in(browser, &service, "ada", json!({ "provider": "google" })).await;
    let away = victim.step(&own.link).await;
    let back = victim.step(away.url.as_str()).await;
    assert_eq!(victim.step(back.url.as_str()).await.status, 400);
    let end = own.arrive().await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
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
async fn state_consumed_once_under_64_parallel_callbacks_and_all_are_led_on() {
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
        let request = first.http.get(url).header("cookie", cookie.clone());
        async move { request.send().await.unwrap() }
    });
    let mut confirmations = std::collections::BTreeSet::new();
    for answer in join_all(arrivals).await {
        assert_eq!(answer.status().as_u16(), 303);
        let location: url::Url = answer.headers()["location"].to_str().unwrap().parse().unwrap();
        assert_eq!(
            parameter(&location, "status").as_deref(),
            Some("confirmation_required")
        );
        confirmations.insert(parameter(&location, "confirmation").unwrap());
    }
    assert_eq!(exchanges(&first), 0);
    // One code waits, and each of them held its confirmation.
    assert_eq!(confirmations.len(), 1);
    let held = "SELECT count(*) FROM oauth_audit_log WHERE action = 'callback' AND outcome = 'success'";
    assert_eq!(
        first
            .sql()
            .await
            .query_one(held, &[])
            .await
            .unwrap()
            .get::<_, i64>(0),
        1
    );
    let path = format!("/authorizations/{}/confirm", flow.id);
    let confirm = || {
        let body = json!({ "confirmation": confirmations.first().unwrap() });
        let (api, path) = (first.user("ada"), path.clone());
        async move { api.post(&path, body).await }
    };
    let answers = join_all((0..8).map(|_| confirm())).await;
    assert!(answers.iter().any(|answer| answer.status == 200));
    assert_eq!(exchanges(&first), 1);
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
    // The same callbacks again, as browsers do: each is told its own end.
    for callback in &callbacks {
        let end = browser.step(callback.as_str()).await;
        assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    }
}

/// A reconnect never swaps the account silently: the one that was to be reconnected stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn reconnect_with_another_account_is_refused_and_leaves_the_first_working() {
    let service = Service::start().await;
    let first = service.connect("ada", "notion").await;
    let id = first["id"].as_str().unwrap();
    let request =
        json!({ "provider": "notion", "integration_id": id, "return_to": crate::harness::APPLICATION });
    let begun = service.user("ada").post("/authorizations", request).await;
    let begun = begun.expect_status(201);
    let mut browser = service.browser();
    let away = browser.step(begun["authorization_url"].as_str().unwrap()).await;
    let mut url = away.url;
    url.query_pairs_mut().append_pair("_sim_user", "ben");
    let end = browser.open(url.as_str()).await;
    confirm(&service, "ada", &end)
        .await
        .expect_problem(409, "account_mismatch");
    let list = service.user("ada").get("/integrations").await.expect_status(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list:#}");
    assert_eq!(list["items"][0]["account"], first["account"]);
    let consumer = service.service(&["*:*"]).await;
    consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
}

/// A runaway caller is told to wait; other users are not touched, and what has expired does not count.
#[tokio::test(flavor = "multi_thread")]
async fn pending_flow_cap_and_purge() {
    let service = Service::start().await;
    let begin = |user: &str| {
        let api = service.user(user);
        let request = json!({ "provider": "google", "return_to": crate::harness::APPLICATION });
        async move { api.post("/authorizations", request).await }
    };
    begin("ada").await.expect_status(201);
    let sql = service.sql().await;
    let fill = "INSERT INTO oauth_authorizations (id, user_id, subject, provider, status, handle, features, \
                requested_scopes, redirect_uri, expires_at) \
                SELECT gen_random_uuid(), u.id, u.subject, 'google', 'created', sha256(n::text::bytea), '{}', '{}', \
                'http://127.0.0.1/', now() + interval '10 minutes' \
                FROM users u, generate_series(1, 1999) n WHERE u.subject = 'ada'";
    assert_eq!(sql.execute(fill, &[]).await.unwrap(), 1_999);
    let refused = begin("ada").await;
    assert!(refused.headers.contains_key("retry-after"), "{refused:?}");
    refused.expect_problem(429, "rate_limited");
    begin("ben").await.expect_status(201);

    let past = "UPDATE oauth_authorizations SET expires_at = now() - interval '8 days' WHERE subject = 'ada'";
    sql.execute(past, &[]).await.unwrap();
    begin("ada").await.expect_status(201);
    use oauth_manager_actors::ports::store::AuthorizationStore as _;
    service.assembly().storage.purge().await.unwrap();
    let left = "SELECT count(*) FROM oauth_authorizations WHERE subject = 'ada'";
    let left: i64 = sql.query_one(left, &[]).await.unwrap().get(0);
    assert_eq!(left, 1);
}
