//! What the engine's tests share: a scripted HTTP server on a real socket, a clock that stands still, keys to sign with.
//! Not the provider simulator, on purpose: that one is an independent reading of the facts.

pub(crate) mod server;
pub(crate) mod tokens;

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use oauth_manager_actors::{
    domain::{
        account::Account,
        scope::ScopeSet,
        secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken, State},
    },
    ports::{
        clock::Clock,
        oauth::{AuthorizationUrlRequest, ExchangeRequest, RefreshRequest, RevocationRequest},
    },
};
use serde_json::Value;

use super::{
    engine::Engine,
    settings::{ClientSecret, EngineSettings, ProviderKind, ProviderSettings},
};
use server::Server;

pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const CLIENT_ID: &str = "client-1";
pub(crate) const CLIENT_SECRET: &str = "canary-client-secret";
pub(crate) const NONCE: &str = "nonce-1";
/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// A clock that moves only when told.
pub(crate) struct StillClock(Mutex<Timestamp>);

impl StillClock {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(Timestamp::from_second(NOW).unwrap())))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now += SignedDuration::from_secs(seconds);
    }
}

impl Clock for StillClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// Settings of a provider whose every endpoint is the scripted server's: `/authorize`, `/token`, `/revoke`, `/userinfo`,
/// `/keys`.
pub(crate) fn settings_at(server: &Server, kind: ProviderKind) -> ProviderSettings {
    let mut settings = ProviderSettings::new(kind.as_str().parse().unwrap(), kind);
    settings.client_id = Some(CLIENT_ID.to_owned());
    settings.client_secret = Some(ClientSecret::new(CLIENT_SECRET));
    settings.allow_loopback = true;
    let at = |path: &str| Some(server.url(path));
    settings.endpoints.authorization = at("/authorize");
    settings.endpoints.token = at("/token");
    settings.endpoints.revocation = at("/revoke");
    if kind != ProviderKind::Notion {
        settings.endpoints.userinfo = at("/userinfo");
        settings.endpoints.jwks = at("/keys");
    }
    if matches!(kind, ProviderKind::Oidc | ProviderKind::Oauth2) {
        settings.endpoints.issuer = Some(server.url(""));
    }
    settings
}

pub(crate) fn engine(settings: ProviderSettings) -> Engine {
    engine_with(EngineSettings::default(), settings, StillClock::new())
}

pub(crate) fn engine_with(
    engine: EngineSettings,
    settings: ProviderSettings,
    clock: Arc<StillClock>,
) -> Engine {
    Engine::new(engine, vec![settings], clock).unwrap()
}

pub(crate) fn authorization(scopes: &[&str]) -> AuthorizationUrlRequest {
    AuthorizationUrlRequest {
        scopes: scopes.iter().collect(),
        state: State::new("state-1"),
        verifier: PkceVerifier::new(VERIFIER),
        nonce: NONCE.to_owned(),
        redirect_uri: "https://oauth.example.com/callback".parse().unwrap(),
        login_hint: None,
        claims: None,
        has_grant: false,
    }
}

pub(crate) fn exchange(scopes: &[&str]) -> ExchangeRequest {
    ExchangeRequest {
        code: AuthorizationCode::new("canary-code"),
        verifier: PkceVerifier::new(VERIFIER),
        redirect_uri: "https://oauth.example.com/callback".parse().unwrap(),
        nonce: NONCE.to_owned(),
        requested_scopes: scopes.iter().collect(),
    }
}

pub(crate) fn refresh(metadata: Value) -> RefreshRequest {
    RefreshRequest {
        refresh_token: RefreshToken::new("canary-old-refresh"),
        scopes: ScopeSet::default(),
        metadata,
        account: Account {
            id: "sub-1".to_owned(),
            issuer: None,
            name: None,
            email: None,
        },
    }
}

pub(crate) fn revocation() -> RevocationRequest {
    RevocationRequest {
        refresh_token: Some(RefreshToken::new("canary-old-refresh")),
        access_token: AccessToken::new("canary-access"),
        metadata: Value::Null,
    }
}
