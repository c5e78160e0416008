//! Notion.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::{Bench, Got, bench, text};
use crate::dev::simulator::Provider::Notion;

async fn post(bench: &Bench, path: &str, token: &str) -> Got {
    let (id, secret) = bench.simulator.client(Notion);
    let request = bench
        .http
        .post(bench.url(path))
        .header(
            "authorization",
            format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))),
        )
        .header("content-type", "application/json")
        .header("notion-version", "2025-09-03");
    bench
        .send(request.body(json!({ "token": token }).to_string()))
        .await
        .unwrap()
}

#[tokio::test]
async fn happy_path_has_an_owner_and_neither_lifetime_nor_scope() {
    let bench = bench().await;
    let tokens = bench.connect(Notion, &[]).await;
    assert!(tokens.get("expires_in").is_none() && tokens.get("scope").is_none());
    assert_eq!(text(&tokens, "token_type"), "bearer");
    assert!(text(&tokens, "access_token").starts_with("ntn_"));
    assert!(text(&tokens, "refresh_token").starts_with("nrt_"));
    let ada = bench.simulator.account(Notion, "ada");
    assert_eq!(tokens["owner"]["user"]["id"], ada.subject);
    assert_eq!(text(&tokens, "workspace_id"), ada.tenant);
    let me = bench
        .get_as("notion/v1/users/me", text(&tokens, "access_token"))
        .await
        .json();
    assert_eq!(me["id"], tokens["bot_id"]);
    let bare = bench.http.get(bench.url("notion/v1/users/me"));
    let bare = bare.header(
        "authorization",
        format!("Bearer {}", text(&tokens, "access_token")),
    );
    assert_eq!(
        bench.send(bare).await.unwrap().refusal(),
        (400, "missing_version".into())
    );
}

#[tokio::test]
async fn refresh_ends_the_old_pair() {
    let bench = bench().await;
    let old = bench.connect(Notion, &[]).await;
    let new = bench.refresh(Notion, text(&old, "refresh_token")).await.json();
    assert_ne!(new["refresh_token"], old["refresh_token"]);
    let dead = bench
        .get_as("notion/v1/users/me", text(&old, "access_token"))
        .await;
    assert_eq!(dead.refusal(), (401, "unauthorized".into()));
    assert_eq!(
        bench
            .refresh(Notion, text(&old, "refresh_token"))
            .await
            .refusal()
            .1,
        "invalid_grant"
    );
    assert_eq!(
        bench
            .get_as("notion/v1/users/me", text(&new, "access_token"))
            .await
            .status,
        200
    );
    assert_eq!(
        bench.refresh(Notion, text(&new, "refresh_token")).await.status,
        200
    );
}

#[tokio::test]
async fn every_authorization_is_a_grant_of_its_own_for_the_same_bot() {
    let bench = bench().await;
    let (first, second) = (bench.connect(Notion, &[]).await, bench.connect(Notion, &[]).await);
    assert_eq!(first["bot_id"], second["bot_id"]);
    assert_eq!(
        post(&bench, "notion/v1/oauth/revoke", text(&second, "refresh_token"))
            .await
            .status,
        200
    );
    assert_eq!(
        bench
            .get_as("notion/v1/users/me", text(&first, "access_token"))
            .await
            .status,
        200
    );
    assert_eq!(
        bench
            .get_as("notion/v1/users/me", text(&second, "access_token"))
            .await
            .status,
        401
    );
    let introspect = |token: String| {
        let bench = &bench;
        async move { post(bench, "notion/v1/oauth/introspect", &token).await.json()["active"].clone() }
    };
    assert_eq!(introspect(text(&first, "access_token").to_owned()).await, true);
    assert_eq!(introspect(text(&second, "access_token").to_owned()).await, false);
}

#[tokio::test]
async fn only_basic_json_and_a_version_are_understood() {
    let bench = bench().await;
    let (id, secret) = bench.simulator.client(Notion);
    let body = json!({
        "grant_type": "refresh_token", "refresh_token": "x", "client_id": id, "client_secret": secret,
    });
    let in_body = bench.post_json("notion/v1/oauth/token", body).await;
    assert_eq!(
        (in_body.status, &in_body.json()["error"]),
        (401, &"invalid_client".into())
    );
    let basic = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let form = bench.form_request("notion/v1/oauth/token", &[("grant_type", "refresh_token")]);
    let form = form.header("authorization", &basic);
    assert_eq!(
        bench.send(form).await.unwrap().refusal(),
        (400, "missing_version".into())
    );
    let form = bench.form_request("notion/v1/oauth/token", &[("grant_type", "refresh_token")]);
    let form = form
        .header("authorization", &basic)
        .header("notion-version", "2025-09-03");
    assert_eq!(
        bench.send(form).await.unwrap().refusal(),
        (400, "validation_error".into())
    );
    assert_eq!(bench.authorize(Notion, &[("owner", "")]).await.status, 400);
}

#[tokio::test]
async fn redirect_uri_of_the_authorization_belongs_in_the_exchange() {
    let bench = bench().await;
    let code = bench.code(Notion, &[]).await;
    let fields = [("grant_type", "authorization_code"), ("code", code.as_str())];
    let got = bench.send(bench.token_request(Notion, &fields)).await.unwrap();
    assert_eq!(got.refusal(), (400, "invalid_grant".into()));
}
