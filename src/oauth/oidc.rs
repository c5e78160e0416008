//! Any OpenID provider: endpoints, client authentication and algorithms come from its discovery document.

use std::borrow::Cow;

use oauth_manager_actors::{
    domain::{
        provider::RefreshClass,
        scope::{Scope, ScopeSet},
    },
    ports::oauth::AuthorizationUrlRequest,
};

use super::declaration::{BodyFormat, Dialect, Facts, Identity, RevokeRule};
use crate::jose::ALGORITHMS;

/// OpenID Connect Core 11.
const OFFLINE_ACCESS: &str = "offline_access";

const FACTS: Facts = Facts {
    issuers: &[],
    authorization: "",
    token: "",
    revocation: "",
    userinfo: "",
    jwks: "",
    client_auth: None,
    body: BodyFormat::Form,
    asks_for_scopes: true,
    reports_scopes: true,
    // As in RFC 6749: a new grant is what was asked for with it.
    incremental: false,
    identity: Identity::IdToken,
    revoke: RevokeRule::Rfc7009,
    // The careful assumption about a server nobody told us about (RFC 9700 4.14.2 recommends rotation).
    refresh_class: RefreshClass::SingleUse,
    keep_alive: None,
    max_concurrency: 16,
    narrows: false,
    algorithms: ALGORITHMS,
    callback_issuer: true,
};

/// The dialect of OpenID Connect itself.
pub(super) struct Oidc;

impl Dialect for Oidc {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn authorization_parameters(
        &self,
        request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        let hint = request.login_hint.clone();
        let hint = hint.map(|hint| ("login_hint", Cow::Owned(hint)));
        // Without it the server must not take the request for offline access seriously (OpenID Connect Core 11).
        let is_offline = request.scopes.contains(&Scope::new(OFFLINE_ACCESS));
        let consent = is_offline.then_some(("prompt", Cow::Borrowed("consent")));
        hint.into_iter().chain(consent).collect()
    }

    /// Servers differ in whether they repeat `openid` and `offline_access`, which are about the answer and not about
    /// what the token may do. A refresh token is the proof of the second.
    fn granted(
        &self,
        reported: Option<ScopeSet>,
        present: &ScopeSet,
        has_refresh_token: bool,
    ) -> Option<ScopeSet> {
        let mut granted = reported?;
        for (name, given) in [("openid", true), (OFFLINE_ACCESS, has_refresh_token)] {
            let scope = Scope::new(name);
            if given && present.contains(&scope) {
                granted.insert(scope);
            }
        }
        Some(granted)
    }
}
