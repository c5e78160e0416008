//! The engine against scripted providers: whole flows, and every way an answer can fail to come.

use oauth_manager_actors::ports::oauth::{FailureKind, OAuth, ProviderFailure, Revoked};
use serde_json::{Value, json};

use super::*;
use crate::oauth::testing::{
    CLIENT_ID, CLIENT_SECRET, NOW, StillClock, VERIFIER, authorization, engine as start, engine_with,
    exchange, refresh, revocation,
    server::{Reply, Server},
    settings_at,
    tokens::{Signer, claims, key_set},
};

/// The certificate of the scripted TLS server, as the only trusted root.
const TRUSTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/oauth/testing/tls.pem");

fn key(kind: ProviderKind) -> ProviderKey {
    kind.as_str().parse().unwrap()
}

fn tokens(extra: Value) -> Reply {
    let mut body = json!({"access_token": "canary-access", "token_type": "Bearer", "expires_in": 3600});
    body.as_object_mut()
        .unwrap()
        .extend(extra.as_object().unwrap().clone());
    Reply::json(200, &body)
}

async fn refresh_with(kind: ProviderKind, reply: Reply) -> (Result<TokenAnswer, ProviderFailure>, Server) {
    let server = Server::start();
    server.on("/token", reply);
    let refreshed = start(settings_at(&server, kind))
        .refresh(&key(kind), refresh(Value::Null))
        .await;
    (refreshed, server)
}

// === Exchange ===

#[tokio::test]
async fn google_exchange_verifies_the_id_token_and_normalises_scopes() {
    let server = Server::start();
    let signer = Signer::rsa();
    let id_token = signer.sign(Some("k1"), &claims("accounts.google.com", json!({})));
    server.on("/keys", Reply::json(200, &key_set(&[signer.jwk(Some("k1"))])));
    server.on(
        "/token",
        tokens(json!({
            "id_token": id_token, "refresh_token": "canary-refresh", "refresh_token_expires_in": 604_799,
            "scope": "https://www.googleapis.com/auth/userinfo.email openid",
        })),
    );
    let google = key(ProviderKind::Google);
    let done = start(settings_at(&server, ProviderKind::Google))
        .exchange(&google, exchange(&["openid", "email", "profile"]))
        .await
        .unwrap();
    assert_eq!(done.account.id, "sub-1");
    // Both spellings of the issuer are one identity.
    assert_eq!(
        done.account.issuer.as_deref(),
        Some("https://accounts.google.com")
    );
    assert_eq!(
        done.answer.scopes,
        Some(["email", "openid"].into_iter().collect())
    );
    assert_eq!(done.answer.expires_at.unwrap().as_second(), NOW + 3600);
    assert_eq!(
        done.answer.refresh_token_expires_at.unwrap().as_second(),
        NOW + 604_799
    );
    assert_eq!(done.answer.refresh_token.unwrap().expose(), "canary-refresh");

    let asked = &server.asked("/token")[0];
    let form = asked.form();
    assert_eq!(asked.method, "POST");
    assert_eq!(form["grant_type"], "authorization_code");
    assert_eq!(
        (form["code"].as_str(), form["code_verifier"].as_str()),
        ("canary-code", VERIFIER)
    );
    assert_eq!(
        (form["client_id"].as_str(), form["client_secret"].as_str()),
        (CLIENT_ID, CLIENT_SECRET)
    );
    assert_eq!(form["redirect_uri"], "https://oauth.example.com/callback");
    assert!(!asked.headers.contains_key("authorization"));
    assert_eq!(asked.headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn microsoft_identity_is_directory_and_object() {
    let server = Server::start();
    let signer = Signer::rsa();
    let tid = "11111111-2222-3333-4444-555555555555";
    let issuer = format!("https://login.microsoftonline.com/{tid}/v2.0");
    let id_token = signer.sign(Some("k1"), &claims(&issuer, json!({"tid": tid, "oid": "oid-1"})));
    server.on("/keys", Reply::json(200, &key_set(&[signer.jwk(Some("k1"))])));
    server.on("/token", tokens(json!({
        "id_token": id_token, "refresh_token": "r", "scope": "https://graph.microsoft.com/mail.READ openid",
    })));
    let mut settings = settings_at(&server, ProviderKind::Microsoft);
    settings.endpoints.token = Some(server.url("/token/{tenant}"));
    server.on("/token/common", tokens(json!({"id_token": id_token, "refresh_token": "r", "scope": "https://graph.microsoft.com/mail.READ openid"})));
    server.on(&format!("/token/{tid}"), tokens(json!({"refresh_token": "r2"})));
    let engine = start(settings);
    let microsoft = key(ProviderKind::Microsoft);
    let done = engine
        .exchange(&microsoft, exchange(&["Mail.Read"]))
        .await
        .unwrap();
    assert_eq!(done.account.id, format!("{tid}.oid-1"));
    assert_eq!(done.account.issuer, Some(issuer));
    let granted = done.answer.scopes.unwrap();
    for scope in ["Mail.Read", "openid", "offline_access"] {
        assert!(granted.iter().any(|granted| granted.as_str() == scope), "{scope}");
    }

    // The refresh goes to the account's own directory, and names Graph's scopes.
    let mut again = refresh(done.metadata);
    again.scopes = ["Mail.Read", "https://contoso.sharepoint.com/AllSites.Read"]
        .into_iter()
        .collect();
    engine.refresh(&microsoft, again).await.unwrap();
    let form = server.asked(&format!("/token/{tid}"))[0].form();
    assert_eq!(form["scope"], "Mail.Read email offline_access openid profile");
}

#[tokio::test]
async fn notion_speaks_json_with_basic_authentication_and_a_version() {
    let server = Server::start();
    server.on(
        "/token",
        Reply::json(
            200,
            &json!({
                "access_token": "ntn_x", "token_type": "bearer", "refresh_token": "nrt_x", "bot_id": "b",
                "workspace_id": "w", "workspace_name": "Acme", "owner": {"type": "user", "user": {"id": "u"}},
            }),
        ),
    );
    let done = start(settings_at(&server, ProviderKind::Notion))
        .exchange(&key(ProviderKind::Notion), exchange(&[]))
        .await
        .unwrap();
    assert_eq!(
        (done.account.id.as_str(), done.account.name.as_deref()),
        ("u.w.b", Some("Acme"))
    );
    assert_eq!(done.answer.expires_at, None);
    assert!(
        done.answer
            .scopes
            .unwrap()
            .iter()
            .any(|scope| scope.as_str() == "capability:read_content")
    );
    assert_eq!(done.metadata["bot_id"], "b");

    let asked = &server.asked("/token")[0];
    assert_eq!(asked.headers["notion-version"], "2025-09-03");
    assert_eq!(asked.headers["content-type"], "application/json");
    assert!(asked.headers["authorization"].starts_with("Basic "));
    let body: Value = serde_json::from_str(&asked.body).unwrap();
    assert_eq!(
        (&body["grant_type"], &body["code"]),
        (&json!("authorization_code"), &json!("canary-code"))
    );
    assert!(body.get("client_secret").is_none());
}

#[tokio::test]
async fn youtube_identity_is_the_channel_and_only_a_plain_no_falls_back() {
    let signer = Signer::rsa();
    let id_token = signer.sign(Some("k1"), &claims("https://accounts.google.com", json!({})));
    let with = async |reply: Reply| {
        let server = Server::start();
        server.on("/keys", Reply::json(200, &key_set(&[signer.jwk(Some("k1"))])));
        server.on("/token", tokens(json!({ "id_token": id_token })));
        server.on("/userinfo", reply);
        let youtube = start(settings_at(&server, ProviderKind::Youtube));
        let done = youtube.exchange(&key(ProviderKind::Youtube), exchange(&[])).await;
        let asked = server.asked("/userinfo");
        assert_eq!(asked[0].query, "part=id%2Csnippet&mine=true");
        assert_eq!(asked[0].headers["authorization"], "Bearer canary-access");
        done
    };
    let channel = json!({"items": [{"id": "UC1", "snippet": {"title": "Ada's channel"}}]});
    let done = with(Reply::json(200, &channel)).await.unwrap();
    assert_eq!(
        (done.account.id.as_str(), done.account.name.as_deref()),
        ("UC1", Some("Ada's channel"))
    );
    assert_eq!(done.metadata["sub"], "sub-1");

    let none = with(Reply::json(200, &json!({"pageInfo": {}}))).await.unwrap();
    assert_eq!(none.account.id, "sub-1");
    let reason = |reason: &str| json!({"error": {"code": 403, "errors": [{"reason": reason}]}});
    let no_channel = with(Reply::json(401, &reason("youtubeSignupRequired")))
        .await
        .unwrap();
    assert_eq!(no_channel.account.id, "sub-1");
    let quota = with(Reply::json(403, &reason("quotaExceeded")))
        .await
        .unwrap_err();
    // The code is spent, whatever the quota.
    assert_eq!(quota.kind, FailureKind::OutcomeUnknown);
    let outage = with(Reply::text(503, "")).await.unwrap_err();
    assert_eq!(outage.kind, FailureKind::OutcomeUnknown);
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_found_missing_before_the_code_is_spent() {
    let server = Server::start();
    server.on("/keys", Reply::text(503, ""));
    let google = start(settings_at(&server, ProviderKind::Google));
    let failure = google
        .exchange(&key(ProviderKind::Google), exchange(&[]))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Passing);
    assert!(server.asked("/token").is_empty());
}

#[tokio::test]
async fn rp_key_rotation_op_sign_key_and_refetch_storm() {
    let server = Server::start();
    let (old, new) = (Signer::ec(), Signer::ec());
    server.on("/keys", Reply::json(200, &key_set(&[old.jwk(Some("old"))])));
    server.on("/keys", Reply::json(200, &key_set(&[new.jwk(Some("new"))])));
    let issuer = server.url("");
    server.on(
        "/token",
        tokens(json!({"id_token": new.sign(Some("new"), &claims(&issuer, json!({})))})),
    );
    let clock = StillClock::new();
    let engine = engine_with(
        EngineSettings::default(),
        settings_at(&server, ProviderKind::Oidc),
        clock.clone(),
    );
    let oidc = key(ProviderKind::Oidc);
    engine.exchange(&oidc, exchange(&["openid"])).await.unwrap();
    assert_eq!(server.asked("/keys").len(), 2);

    // Tokens with invented key ids do not become requests.
    let storm = Server::start();
    storm.on("/keys", Reply::json(200, &key_set(&[old.jwk(Some("old"))])));
    let issuer = storm.url("");
    storm.on(
        "/token",
        tokens(json!({"id_token": new.sign(Some("x"), &claims(&issuer, json!({})))})),
    );
    let engine = engine_with(
        EngineSettings::default(),
        settings_at(&storm, ProviderKind::Oidc),
        clock.clone(),
    );
    for _ in 0..5 {
        let failure = engine.exchange(&oidc, exchange(&["openid"])).await.unwrap_err();
        assert_eq!(failure.reason.as_str(), "id_token_key_unknown");
    }
    assert_eq!(storm.asked("/keys").len(), 2);
    clock.advance(31);
    let _ = engine.exchange(&oidc, exchange(&["openid"])).await;
    assert_eq!(storm.asked("/keys").len(), 3);
}

#[tokio::test]
async fn oidc_is_discovered_and_falls_back_on_userinfo() {
    let server = Server::start();
    let issuer = server.url("");
    server.on("/.well-known/openid-configuration", Reply::json(200, &json!({
        "issuer": issuer, "authorization_endpoint": server.url("/a"), "token_endpoint": server.url("/t"),
        "userinfo_endpoint": server.url("/u"), "jwks_uri": server.url("/k"),
        "authorization_response_iss_parameter_supported": true,
        "token_endpoint_auth_methods_supported": ["client_secret_post"],
    })));
    server.on("/k", Reply::json(200, &key_set(&[])));
    server.on("/t", tokens(json!({"scope": "profile", "refresh_token": "r"})));
    server.on("/u", Reply::json(200, &json!({"sub": "sub-9", "name": "Ada"})));
    let mut settings = settings_at(&server, ProviderKind::Oidc);
    settings.endpoints = crate::oauth::settings::EndpointOverrides {
        issuer: Some(issuer.clone()),
        ..Default::default()
    };
    let engine = start(settings);
    let oidc = key(ProviderKind::Oidc);
    let expected = engine.callback_issuer(&oidc).await.unwrap().unwrap();
    assert_eq!(
        (expected.issuer.as_str(), expected.required),
        (issuer.as_str(), true)
    );
    let done = engine
        .exchange(&oidc, exchange(&["openid", "offline_access", "profile"]))
        .await
        .unwrap();
    assert_eq!(
        (done.account.id.as_str(), done.account.issuer),
        ("sub-9", Some(issuer))
    );
    assert_eq!(
        done.answer.scopes,
        Some(["openid", "offline_access", "profile"].into_iter().collect())
    );
    assert_eq!(server.asked("/t")[0].form()["client_secret"], CLIENT_SECRET);
    assert_eq!(server.asked("/.well-known/openid-configuration").len(), 1);
    assert_eq!(
        engine.revoke(&oidc, revocation()).await.unwrap(),
        Revoked::Unsupported
    );
}

#[tokio::test]
async fn rp_userinfo_bad_sub_claim() {
    let server = Server::start();
    let signer = Signer::ec();
    let issuer = server.url("");
    let anonymous = claims(&issuer, json!({"name": null, "email": null}));
    server.on("/keys", Reply::json(200, &key_set(&[signer.jwk(Some("k1"))])));
    server.on(
        "/token",
        tokens(json!({"id_token": signer.sign(Some("k1"), &anonymous)})),
    );
    server.on(
        "/userinfo",
        Reply::json(200, &json!({"sub": "somebody-else", "name": "Eve"})),
    );
    let engine = start(settings_at(&server, ProviderKind::Oidc));
    let failure = engine
        .exchange(&key(ProviderKind::Oidc), exchange(&["openid"]))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Refused, "userinfo_subject_mismatch")
    );
}

#[tokio::test]
async fn plain_oauth2_knows_one_account_unless_asked_where_the_id_is() {
    let server = Server::start();
    server.on("/token", tokens(json!({})));
    server.on("/userinfo", Reply::json(200, &json!({"data": {"id": 7}})));
    let oauth2 = key(ProviderKind::Oauth2);
    let mut settings = settings_at(&server, ProviderKind::Oauth2);
    settings.account_id_pointer = Some("/data/id".to_owned());
    let done = start(settings.clone())
        .exchange(&oauth2, exchange(&["a"]))
        .await
        .unwrap();
    assert_eq!(done.account.id, "7");
    assert_eq!(done.answer.scopes, None);
    settings.endpoints.userinfo = None;
    assert_eq!(
        start(settings)
            .exchange(&oauth2, exchange(&["a"]))
            .await
            .unwrap()
            .account
            .id,
        "default"
    );
}

// === Refresh ===

#[tokio::test]
async fn a_refresh_without_a_new_token_keeps_the_old_and_one_with_it_replaces() {
    let (kept, server) = refresh_with(ProviderKind::Google, tokens(json!({}))).await;
    assert!(kept.unwrap().refresh_token.is_none());
    let form = server.asked("/token")[0].form();
    assert_eq!(
        (form["grant_type"].as_str(), form["refresh_token"].as_str()),
        ("refresh_token", "canary-old-refresh")
    );
    let (replaced, _) = refresh_with(ProviderKind::Notion, tokens(json!({"refresh_token": "new"}))).await;
    assert_eq!(replaced.unwrap().refresh_token.unwrap().expose(), "new");
}

#[tokio::test]
async fn unusable_success_gives_up_its_refresh_token() {
    for (reply, reason) in [
        (
            Reply::text(200, r#"{"refresh_token":"new","access_token":"a\nb"}"#),
            "access_token_unfit",
        ),
        (
            Reply::text(200, r#"{"refresh_token":"new"}"#),
            "access_token_missing",
        ),
        (
            Reply::text(200, r#"{"refresh_token":"new","x":NaN}"#),
            "answer_not_json",
        ),
        (
            Reply::text(
                200,
                r#"{"access_token":"a","access_token":"b","refresh_token":"new"}"#,
            ),
            "answer_not_json",
        ),
        (
            Reply::text(
                200,
                r#"{"access_token":"a","token_type":"mac","refresh_token":"new"}"#,
            ),
            "token_type_unknown",
        ),
        (
            Reply::CutAfter(br#"{"refresh_token":"new","acc"#.to_vec()),
            "connection_lost",
        ),
    ] {
        let failure = refresh_with(ProviderKind::Notion, reply).await.0.unwrap_err();
        assert_eq!(
            (failure.kind, failure.reason.as_str()),
            (FailureKind::Unreadable, reason)
        );
        assert_eq!(failure.salvaged.unwrap().expose(), "new", "{reason}");
    }
    // Nothing to salvage: the answer is simply lost.
    let lost = refresh_with(
        ProviderKind::Notion,
        Reply::CutAfter(br#"{"refresh_tok"#.to_vec()),
    )
    .await
    .0
    .unwrap_err();
    assert_eq!(lost.kind, FailureKind::OutcomeUnknown);
    let html = refresh_with(ProviderKind::Notion, Reply::text(200, "<html>"))
        .await
        .0
        .unwrap_err();
    assert_eq!(
        (html.kind, html.reason.as_str()),
        (FailureKind::Unreadable, "answer_is_html")
    );
}

#[tokio::test]
async fn a_success_that_says_error_is_a_failure() {
    let body = json!({"error": "bad_refresh_token", "access_token": "a"});
    let failure = refresh_with(ProviderKind::Oauth2, Reply::json(200, &body))
        .await
        .0
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::DeadGrant, "bad_refresh_token")
    );
}

#[tokio::test]
async fn an_answer_about_another_account_is_refused() {
    let other = Signer::ec().sign(None, &json!({"sub": "somebody-else"}));
    let failure = refresh_with(ProviderKind::Google, tokens(json!({"id_token": other})))
        .await
        .0
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Refused, "account_mismatch")
    );
    // Where refresh tokens rotate, the presented one is spent: it is not simply tried again, and the other's is not kept.
    let other = Signer::ec().sign(None, &json!({"sub": "somebody-else"}));
    let answer = tokens(json!({"id_token": other, "refresh_token": "somebody-elses"}));
    let failure = refresh_with(ProviderKind::Oidc, answer).await.0.unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Unreadable, "account_mismatch")
    );
    assert!(failure.salvaged.is_none());
    let same = Signer::ec().sign(None, &json!({"sub": "sub-1"}));
    assert!(
        refresh_with(ProviderKind::Google, tokens(json!({"id_token": same})))
            .await
            .0
            .is_ok()
    );
}

#[tokio::test]
async fn never_left_is_told_from_may_have_been_done() {
    let gone = Server::start();
    let settings = settings_at(&gone, ProviderKind::Notion);
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut refused = settings.clone();
    refused.endpoints.token = Some(format!("http://{closed}/token"));
    let failure = start(refused)
        .refresh(&key(ProviderKind::Notion), refresh(Value::Null))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Passing, "connect_failed")
    );

    for (kind, expected) in [
        (ProviderKind::Notion, FailureKind::OutcomeUnknown),
        (ProviderKind::Google, FailureKind::Passing),
    ] {
        let (failure, server) = refresh_with(kind, Reply::HangUp).await;
        assert_eq!(failure.unwrap_err().kind, expected, "{kind:?}");
        assert_eq!(server.asked("/token").len(), 1, "sent again");
    }
}

// === Transport ===

#[tokio::test]
async fn token_307_never_reposts_secret() {
    let elsewhere = Server::start();
    elsewhere.on("/token", tokens(json!({})));
    for status in [301, 302, 303, 307, 308] {
        let location = vec![("location".to_owned(), elsewhere.url("/token"))];
        let reply = Reply::Whole(status, location, Vec::new());
        let failure = refresh_with(ProviderKind::Oauth2, reply).await.0.unwrap_err();
        assert_eq!(
            (failure.kind, failure.reason.as_str()),
            (FailureKind::Refused, "redirected")
        );
    }
    assert!(elsewhere.asked("/token").is_empty());
}

#[tokio::test]
async fn token_body_without_end_aborts_at_cap() {
    let failure = refresh_with(ProviderKind::Notion, Reply::Flood)
        .await
        .0
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Unreadable, "answer_too_large")
    );
}

#[tokio::test]
async fn dripping_does_not_outlast_the_total_deadline() {
    let server = Server::start();
    server.on("/token", Reply::Drip);
    let settings = EngineSettings {
        deadline: Duration::from_millis(200),
        ..EngineSettings::default()
    };
    let engine = engine_with(
        settings,
        settings_at(&server, ProviderKind::Notion),
        StillClock::new(),
    );
    let begun = Instant::now();
    let failure = engine
        .refresh(&key(ProviderKind::Notion), refresh(Value::Null))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::OutcomeUnknown, "timeout")
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
}

/// A provider with this window, and when its engine gives up on connections.
fn with_window(server: &Server, window: Duration) -> (ProviderSettings, Duration) {
    let mut settings = settings_at(server, ProviderKind::Notion);
    settings.refresh_class = Some(RefreshClass::Grace { window });
    let declared = Registration::new(settings.clone()).unwrap().provider.clone();
    (settings, connect_timeout(&EngineSettings::default(), &[declared]))
}

#[tokio::test]
async fn a_refresh_at_a_grace_provider_is_over_in_time_to_be_repeated_within_its_window() {
    let server = Server::start();
    server.on("/token", Reply::Drip);
    let (settings, connect) = with_window(&server, Duration::from_secs(6));
    let begun = Instant::now();
    let failure = start(settings)
        .refresh(&key(ProviderKind::Notion), refresh(Value::Null))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutcomeUnknown);
    assert!(begun.elapsed() < Duration::from_secs(3), "and not after ten");
    assert_eq!(
        connect,
        Duration::from_millis(900),
        "what never left is known before"
    );
    let (_, connect) = with_window(&server, Duration::from_secs(60));
    assert_eq!(connect, EngineSettings::default().connect_timeout);
}

#[tokio::test]
async fn a_compressed_answer_that_cannot_be_unfolded_is_unreadable() {
    let headers = vec![("content-encoding".to_owned(), "gzip".to_owned())];
    let reply = Reply::Whole(200, headers, vec![0x1f, 0x8b, 8, 0, 0xff]);
    let failure = refresh_with(ProviderKind::Notion, reply).await.0.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreadable);
}

#[tokio::test]
async fn a_loopback_provider_needs_an_explicit_word() {
    let server = Server::start();
    let mut settings = settings_at(&server, ProviderKind::Oauth2);
    settings.allow_loopback = false;
    assert!(Engine::new(EngineSettings::default(), vec![settings], StillClock::new()).is_err());
}

/// Runs one test of this file in a process of its own, where the environment can be set.
fn passes_in_a_child(test: &str, name: &str, value: &str) -> bool {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child
        .args(["--exact", &format!("oauth::engine::tests::{test}")])
        .env(name, value);
    let output = child.output().unwrap();
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("1 passed")
}

#[test]
fn http_proxy_env_ignored() {
    let proxy = Server::start();
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        let test = "a_refresh_without_a_new_token_keeps_the_old_and_one_with_it_replaces";
        assert!(passes_in_a_child(test, name, &proxy.url("")), "{name}");
    }
    assert!(!proxy.was_asked());
}

#[tokio::test]
async fn tls_trusts_the_machines_roots_and_no_others() {
    let server = Server::start_tls();
    server.on("/token", tokens(json!({})));
    let engine = start(settings_at(&server, ProviderKind::Notion));
    let refreshed = engine
        .refresh(&key(ProviderKind::Notion), refresh(Value::Null))
        .await;
    if std::env::var_os("SSL_CERT_FILE").is_some_and(|file| file == TRUSTED) {
        refreshed.unwrap();
        return;
    }
    let failure = refreshed.unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Passing, "connect_failed")
    );
    assert!(!server.was_asked());
    assert!(passes_in_a_child(
        "tls_trusts_the_machines_roots_and_no_others",
        "SSL_CERT_FILE",
        TRUSTED
    ));
}

// === Revocation ===

#[tokio::test]
async fn google_revokes_the_whole_grant_without_credentials() {
    for (reply, confirmed) in [
        (Reply::text(200, ""), true),
        (Reply::json(400, &json!({"error": "invalid_token"})), true),
        (Reply::text(503, ""), false),
        (Reply::json(400, &json!({"error": "invalid_request"})), false),
    ] {
        let server = Server::start();
        server.on("/revoke", reply);
        let google = start(settings_at(&server, ProviderKind::Google));
        let revoked = google.revoke(&key(ProviderKind::Google), revocation()).await;
        assert_eq!(
            revoked.is_ok_and(|revoked| revoked == Revoked::Confirmed),
            confirmed
        );
        let asked = server.asked("/revoke");
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].body, "token=canary-old-refresh");
        assert!(!asked[0].headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn notion_revokes_token_by_token_and_rfc7009_names_the_kind() {
    let server = Server::start();
    server.on("/revoke", Reply::json(200, &json!({"request_id": "x"})));
    let notion = start(settings_at(&server, ProviderKind::Notion));
    notion
        .revoke(&key(ProviderKind::Notion), revocation())
        .await
        .unwrap();
    let bodies: Vec<String> = server
        .asked("/revoke")
        .into_iter()
        .map(|asked| asked.body)
        .collect();
    assert_eq!(
        bodies,
        [
            r#"{"token":"canary-access"}"#,
            r#"{"token":"canary-old-refresh"}"#
        ]
    );

    let server = Server::start();
    server.on("/revoke", Reply::text(200, ""));
    let oidc = start(settings_at(&server, ProviderKind::Oidc));
    oidc.revoke(&key(ProviderKind::Oidc), revocation()).await.unwrap();
    let first = &server.asked("/revoke")[0];
    assert_eq!(first.form()["token_type_hint"], "refresh_token");
    assert!(first.headers["authorization"].starts_with("Basic "));
}

#[tokio::test]
async fn microsoft_cannot_revoke_and_asks_nobody() {
    let server = Server::start();
    let microsoft = start(settings_at(&server, ProviderKind::Microsoft));
    let revoked = microsoft
        .revoke(&key(ProviderKind::Microsoft), revocation())
        .await
        .unwrap();
    assert_eq!(revoked, Revoked::Unsupported);
    assert!(server.asked("/revoke").is_empty());
}

// === The engine itself ===

#[tokio::test]
async fn built_in_providers_are_always_known_and_refuse_while_unconfigured() {
    let engine = Engine::new(EngineSettings::default(), Vec::new(), StillClock::new()).unwrap();
    let keys: Vec<_> = engine
        .providers()
        .iter()
        .map(|provider| provider.key.to_string())
        .collect();
    assert_eq!(keys, ["google", "microsoft", "notion", "youtube"]);
    let failure = engine
        .refresh(&key(ProviderKind::Google), refresh(Value::Null))
        .await
        .unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Operator, "not_configured")
    );
    let unknown = engine
        .callback_issuer(&"nobody".parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(unknown.reason.as_str(), "unknown_provider");
}

#[test]
fn a_provider_declared_twice_is_refused() {
    let twice = ProviderSettings::new("acme".parse().unwrap(), ProviderKind::Google);
    assert!(
        Engine::new(
            EngineSettings::default(),
            vec![twice.clone(), twice],
            StillClock::new()
        )
        .is_err()
    );
    let google = ProviderSettings::new("google".parse().unwrap(), ProviderKind::Google);
    assert!(
        Engine::new(
            EngineSettings::default(),
            vec![google.clone(), google],
            StillClock::new()
        )
        .is_err()
    );
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    let echo = "canary-old-refresh";
    for reply in [
        Reply::json(400, &json!({"error": echo, "error_description": echo})),
        Reply::json(
            400,
            &json!({"error": {"status": echo}, "error_subtype": "Canary0123456789"}),
        ),
        Reply::text(200, "refresh_token=canary-new&error=canary-old-refresh"),
        Reply::text(200, r#"{"refresh_token":"canary-new""#),
        Reply::text(500, "canary-old-refresh"),
        Reply::HangUp,
    ] {
        let failure = refresh_with(ProviderKind::Notion, reply).await.0.unwrap_err();
        let shown = format!("{failure} {failure:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
}

// === What providers send, the way they send it ===

fn gzip(text: &str) -> Vec<u8> {
    use std::io::Write as _;

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn gzipped(body: Vec<u8>) -> Reply {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Reply::Whole(
        200,
        vec![
            header("content-type", "application/json"),
            header("content-encoding", "gzip"),
        ],
        body,
    )
}

#[tokio::test]
async fn a_compressed_refresh_answer_is_read_and_a_broken_one_gives_up_its_refresh_token() {
    let body =
        json!({"access_token": "new", "refresh_token": "canary-rotated", "expires_in": 3600}).to_string();
    let (refreshed, _) = refresh_with(ProviderKind::Oauth2, gzipped(gzip(&body))).await;
    assert_eq!(
        refreshed.unwrap().refresh_token.unwrap().expose(),
        "canary-rotated"
    );

    let salvaged = |failure: ProviderFailure| failure.salvaged.map(|token| token.expose().to_owned());
    let odd = format!(
        "{{\"access_token\":17,{}",
        &body[1..].replace("access_token", "x")
    );
    let (refreshed, _) = refresh_with(ProviderKind::Oauth2, gzipped(gzip(&odd))).await;
    assert_eq!(
        salvaged(refreshed.unwrap_err()).as_deref(),
        Some("canary-rotated")
    );
    // Cut off in the middle, with a content-length that promised more.
    let long = format!("{},\"x\":\"{}\"}}", &body[..body.len() - 1], "z1y".repeat(300));
    let folded = gzip(&long);
    let cut = folded[..folded.len() - 12].to_vec();
    let (refreshed, _) = refresh_with(ProviderKind::Oauth2, Reply::CutAfter(cut.clone())).await;
    let failure = refreshed.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreadable);
    assert_eq!(salvaged(failure).as_deref(), Some("canary-rotated"));
    // Cut off by whoever folded it: the connection says that all is well.
    let (refreshed, _) = refresh_with(ProviderKind::Oauth2, gzipped(cut)).await;
    assert_eq!(
        salvaged(refreshed.unwrap_err()).as_deref(),
        Some("canary-rotated")
    );
}

#[tokio::test]
async fn a_gzip_bomb_stops_at_the_cap() {
    let bomb = gzip(&" ".repeat(30_000_000));
    assert!(bomb.len() < 64 * 1024);
    let (refreshed, _) = refresh_with(ProviderKind::Oauth2, gzipped(bomb)).await;
    assert_eq!(refreshed.unwrap_err().reason.as_str(), "answer_too_large");
}

/// The account at a plain OAuth 2 server whose userinfo answers this.
async fn account_of(reply: Reply) -> Result<String, ProviderFailure> {
    let server = Server::start();
    server.on("/token", tokens(json!({})));
    server.on("/userinfo", reply);
    let mut settings = settings_at(&server, ProviderKind::Oauth2);
    settings.account_id_pointer = Some("/id".to_owned());
    let done = start(settings)
        .exchange(&key(ProviderKind::Oauth2), exchange(&[]))
        .await;
    done.map(|done| done.account.id)
}

#[tokio::test]
async fn two_accounts_with_long_numbers_stay_two_and_fractions_are_no_ids() {
    for number in ["100000000000000000001", "100000000000000000002"] {
        let id = account_of(Reply::text(200, &format!("{{\"id\":{number}}}"))).await;
        assert_eq!(id.unwrap(), number);
    }
    for fraction in ["1e20", "4.5"] {
        let failure = account_of(Reply::text(200, &format!("{{\"id\":{fraction}}}")))
            .await
            .unwrap_err();
        assert_eq!(failure.reason.as_str(), "account_id_not_whole", "{fraction}");
    }
}

#[tokio::test]
async fn userinfo_of_a_hundred_kilobytes_is_read_and_one_without_end_is_not() {
    let long = json!({"id": "ada", "groups": "g".repeat(100_000)});
    assert_eq!(account_of(Reply::json(200, &long)).await.unwrap(), "ada");
    assert_eq!(account_of(gzipped(gzip(&long.to_string()))).await.unwrap(), "ada");
    let failure = account_of(Reply::Flood).await.unwrap_err();
    assert_eq!(failure.reason.as_str(), "answer_too_large");
}

/// An OpenID provider that is discovered; its documents are written by this.
fn discovered(signer: &Signer, algorithms: &Value, write: impl Fn(Value) -> Reply) -> (Server, Engine) {
    let server = Server::start();
    let issuer = server.url("");
    server.on(
        "/.well-known/openid-configuration",
        write(json!({
            "issuer": issuer, "authorization_endpoint": server.url("/a"), "token_endpoint": server.url("/t"),
            "userinfo_endpoint": server.url("/u"), "jwks_uri": server.url("/k"),
            "id_token_signing_alg_values_supported": algorithms,
        })),
    );
    server.on("/k", write(key_set(&[signer.jwk(Some("k1"))])));
    let nameless = claims(&issuer, json!({"name": null, "email": null}));
    server.on(
        "/t",
        write(json!({"access_token": "a", "id_token": signer.sign(Some("k1"), &nameless)})),
    );
    server.on("/u", write(json!({"sub": "sub-1", "name": "Ada"})));
    let mut settings = settings_at(&server, ProviderKind::Oidc);
    settings.endpoints = crate::oauth::settings::EndpointOverrides {
        issuer: Some(issuer),
        ..Default::default()
    };
    let engine = start(settings);
    (server, engine)
}

#[tokio::test]
async fn a_byte_order_mark_before_any_document_is_nobodys_data() {
    let signer = Signer::ec();
    let marked = |document: Value| Reply::text(200, &format!("\u{feff}{document}"));
    let (_server, engine) = discovered(&signer, &json!(["ES256"]), marked);
    let done = engine
        .exchange(&key(ProviderKind::Oidc), exchange(&["openid"]))
        .await
        .unwrap();
    assert_eq!(
        (done.account.id.as_str(), done.account.name.as_deref()),
        ("sub-1", Some("Ada"))
    );
}

#[tokio::test]
async fn an_id_token_that_names_rs512_is_verified_where_discovery_says_so() {
    let signer = Signer::rsa_by(jsonwebtoken::Algorithm::RS512);
    let (_server, engine) = discovered(&signer, &json!(["RS512"]), |document| Reply::json(200, &document));
    let oidc = key(ProviderKind::Oidc);
    assert!(
        engine
            .authorization_url(&oidc, authorization(&["openid"]))
            .await
            .is_ok()
    );
    assert!(engine.exchange(&oidc, exchange(&["openid"])).await.is_ok());
}

#[tokio::test]
async fn what_can_never_be_verified_is_refused_before_anybody_consents() {
    let oidc = key(ProviderKind::Oidc);
    let begun = async |engine: &Engine| engine.authorization_url(&oidc, authorization(&["openid"])).await;
    let plain = |document: Value| Reply::json(200, &document);
    let (_server, engine) = discovered(&Signer::ec(), &json!(["HS256", "none"]), plain);
    let failure = begun(&engine).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Operator, "discovery_algorithms_unsupported")
    );
    // Keys of which none is of use.
    let weak = |document: Value| match document.get("keys") {
        None => Reply::json(200, &document),
        Some(_) => Reply::json(200, &json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]})),
    };
    let (_server, engine) = discovered(&Signer::ec(), &json!(["ES256"]), weak);
    let failure = begun(&engine).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.reason.as_str()),
        (FailureKind::Operator, "jwks_unusable")
    );
    // Keys that are out of reach for a moment keep nobody from consenting.
    let away = |document: Value| match document.get("keys") {
        None => Reply::json(200, &document),
        Some(_) => Reply::text(503, ""),
    };
    let (_server, engine) = discovered(&Signer::ec(), &json!(["ES256"]), away);
    assert!(begun(&engine).await.is_ok());
}
