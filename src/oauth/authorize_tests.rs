//! Authorization URLs, provider by provider.

use std::collections::HashMap;

use oauth_manager_actors::ports::oauth::OAuth;

use super::*;
use crate::oauth::{
    settings::{ProviderKind, ProviderSettings},
    testing::{CHALLENGE, CLIENT_ID, NONCE, authorization, engine, server::Server, settings_at},
};

async fn url_of(settings: ProviderSettings, request: AuthorizationUrlRequest) -> HashMap<String, String> {
    let key = settings.key.clone();
    let url = engine(settings).authorization_url(&key, request).await.unwrap();
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let map: HashMap<_, _> = pairs.iter().cloned().collect();
    assert_eq!(map.len(), pairs.len(), "a parameter is given twice: {url}");
    map
}

fn configured(kind: ProviderKind) -> ProviderSettings {
    let mut settings = ProviderSettings::new(kind.as_str().parse().unwrap(), kind);
    settings.client_id = Some(CLIENT_ID.to_owned());
    settings.client_secret = Some(crate::oauth::settings::ClientSecret::new("s"));
    settings
}

#[tokio::test]
async fn pkce_s256_always_and_code_only() {
    let server = Server::start();
    for kind in [
        ProviderKind::Google,
        ProviderKind::Youtube,
        ProviderKind::Microsoft,
        ProviderKind::Notion,
        ProviderKind::Oidc,
        ProviderKind::Oauth2,
    ] {
        let sent = url_of(settings_at(&server, kind), authorization(&["a", "b"])).await;
        assert_eq!(sent["code_challenge"], CHALLENGE, "{kind:?}");
        assert_eq!(sent["code_challenge_method"], "S256");
        assert_eq!(sent["response_type"], "code");
        assert_eq!(sent["client_id"], CLIENT_ID);
        assert_eq!(sent["state"], "state-1");
        assert_eq!(sent["redirect_uri"], "https://oauth.example.com/callback");
        assert!(!sent.contains_key("client_secret"));
    }
}

#[tokio::test]
async fn provider_without_pkce_needs_explicit_opt_out() {
    let mut settings = configured(ProviderKind::Google);
    settings.pkce = Pkce::Off;
    let sent = url_of(settings, authorization(&["a"])).await;
    assert!(!sent.contains_key("code_challenge") && !sent.contains_key("code_challenge_method"));
}

#[tokio::test]
async fn google_asks_for_consent_only_without_a_grant() {
    let sent = url_of(
        configured(ProviderKind::Google),
        authorization(&["openid", "email"]),
    )
    .await;
    assert_eq!(
        (sent["access_type"].as_str(), sent["prompt"].as_str()),
        ("offline", "consent")
    );
    assert_eq!(sent["include_granted_scopes"], "true");
    assert_eq!(sent["nonce"], NONCE);
    assert_eq!(sent["scope"], "email openid");

    let mut request = authorization(&["openid"]);
    request.has_grant = true;
    request.login_hint = Some("ada@example.com".to_owned());
    let sent = url_of(configured(ProviderKind::Google), request).await;
    assert!(!sent.contains_key("prompt"));
    assert_eq!(sent["login_hint"], "ada@example.com");
}

#[tokio::test]
async fn youtube_stays_apart_from_google() {
    let sent = url_of(configured(ProviderKind::Youtube), authorization(&["openid"])).await;
    assert_eq!(sent["include_granted_scopes"], "false");
    assert_eq!(sent["access_type"], "offline");
}

#[tokio::test]
async fn microsoft_selects_an_account_or_takes_the_hint() {
    let sent = url_of(
        configured(ProviderKind::Microsoft),
        authorization(&["openid", "Mail.Read"]),
    )
    .await;
    assert_eq!(
        (sent["prompt"].as_str(), sent["response_mode"].as_str()),
        ("select_account", "query")
    );
    let mut request = authorization(&["openid"]);
    request.login_hint = Some("ada@example.com".to_owned());
    let sent = url_of(configured(ProviderKind::Microsoft), request).await;
    assert!(!sent.contains_key("prompt"));
    assert_eq!(sent["login_hint"], "ada@example.com");
}

#[tokio::test]
async fn notion_has_an_owner_and_neither_scope_nor_nonce() {
    let sent = url_of(
        configured(ProviderKind::Notion),
        authorization(&["capability:read_content"]),
    )
    .await;
    assert_eq!(sent["owner"], "user");
    assert!(!sent.contains_key("scope") && !sent.contains_key("nonce"));
}

#[tokio::test]
async fn extra_parameters_win_over_the_dialects() {
    let mut settings = configured(ProviderKind::Google);
    settings
        .extra_authorize_params
        .insert("prompt".to_owned(), "select_account consent".to_owned());
    settings
        .extra_authorize_params
        .insert("hd".to_owned(), "example.com".to_owned());
    let sent = url_of(settings, authorization(&["openid"])).await;
    assert_eq!(
        (sent["prompt"].as_str(), sent["hd"].as_str()),
        ("select_account consent", "example.com")
    );
}

#[tokio::test]
async fn the_scope_separator_is_the_providers() {
    let server = Server::start();
    let mut settings = settings_at(&server, ProviderKind::Oauth2);
    settings.scope_separator = Some(",".to_owned());
    assert_eq!(url_of(settings, authorization(&["b", "a"])).await["scope"], "a,b");
}

#[tokio::test]
async fn the_callbacks_issuer_is_googles_own_and_nobody_elses() {
    let issuer = |kind: ProviderKind| async move {
        let settings = configured(kind);
        let key = settings.key.clone();
        engine(settings).callback_issuer(&key).await.unwrap()
    };
    let google = CallbackIssuer {
        issuer: "https://accounts.google.com".to_owned(),
        required: false,
    };
    assert_eq!(issuer(ProviderKind::Google).await, Some(google.clone()));
    assert_eq!(issuer(ProviderKind::Youtube).await, Some(google));
    assert_eq!(issuer(ProviderKind::Microsoft).await, None);
    assert_eq!(issuer(ProviderKind::Notion).await, None);
}

#[tokio::test]
async fn offline_access_is_asked_for_with_consent_unless_configured_otherwise() {
    let server = Server::start();
    let offline = || authorization(&["openid", "offline_access"]);
    let oidc = || settings_at(&server, ProviderKind::Oidc);
    assert_eq!(url_of(oidc(), offline()).await["prompt"], "consent");
    assert!(
        !url_of(oidc(), authorization(&["openid"]))
            .await
            .contains_key("prompt")
    );
    let otherwise = |prompt: &str| {
        let mut settings = oidc();
        settings
            .extra_authorize_params
            .insert("prompt".to_owned(), prompt.to_owned());
        settings
    };
    let chosen = url_of(otherwise("login consent"), offline()).await;
    assert_eq!(chosen["prompt"], "login consent");
    assert!(!url_of(otherwise(""), offline()).await.contains_key("prompt"));
}

#[tokio::test]
async fn spaces_between_scopes_are_percent_encoded_and_a_given_query_stays() {
    let server = Server::start();
    let mut settings = settings_at(&server, ProviderKind::Oauth2);
    settings.endpoints.authorization = Some(server.url("/authorize?audience=a%20b"));
    let key = settings.key.clone();
    let mut request = authorization(&["read:user", "b+c"]);
    request.state = oauth_manager_actors::domain::secret::State::new("a&b=c/\u{e4}");
    let url = engine(settings).authorization_url(&key, request).await.unwrap();
    let query = url.query().unwrap();
    assert!(!query.contains('+'), "{query}");
    assert!(query.contains("scope=b%2Bc%20read%3Auser"), "{query}");
    assert!(query.starts_with("audience=a%20b&"), "{query}");
    let pairs: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(
        (
            pairs["scope"].as_str(),
            pairs["state"].as_str(),
            pairs["audience"].as_str()
        ),
        ("b+c read:user", "a&b=c/\u{e4}", "a b")
    );
}
