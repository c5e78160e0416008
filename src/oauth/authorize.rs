//! The way out: the authorization URL (RFC 6749 4.1.1, RFC 7636, OpenID Connect Core 3.1.2.1) and what the way back must
//! say (RFC 9207).

use std::{borrow::Cow, collections::BTreeMap};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_manager_actors::{
    domain::secret::PkceVerifier,
    ports::oauth::{AuthorizationUrlRequest, CallbackIssuer, FailureKind, ProviderFailure},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::digest;
use serde_json::Value;
use url::Url;

use super::{
    engine::Engine,
    registration::{Endpoints, Registration},
    settings::Pkce,
};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

impl Engine {
    pub(super) async fn authorize(
        &self,
        registration: &Registration,
        request: AuthorizationUrlRequest,
    ) -> Result<Url, ProviderFailure> {
        let endpoints = self
            .endpoints(registration, &Value::Null, self.deadline())
            .await?;
        if registration.discovery.is_some() && registration.dialect.facts().identity.has_id_token() {
            self.can_be_verified(registration, &endpoints).await?;
        }
        let mut url = endpoints.authorization;
        append(&mut url, parameters(registration, &request));
        Ok(url)
    }

    /// Keys of which none can ever verify an ID token are the operator's matter, before anybody consents. Keys that are
    /// merely out of reach are looked for again when the user is back.
    async fn can_be_verified(
        &self,
        registration: &Registration,
        endpoints: &Endpoints,
    ) -> Result<(), ProviderFailure> {
        let Some(url) = &endpoints.jwks else {
            return Ok(());
        };
        match self.keys(registration, url, self.deadline()).await {
            Err(verdict) if verdict.kind == FailureKind::Operator => Err(registration.failure(verdict)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    pub(super) async fn expected_issuer(
        &self,
        registration: &Registration,
    ) -> Result<Option<CallbackIssuer>, ProviderFailure> {
        let issuer = match registration.issuers.first() {
            Some(issuer) if registration.dialect.facts().callback_issuer => issuer.clone(),
            _ => return Ok(None),
        };
        let required = match &registration.discovery {
            Some(url) => {
                self.discovered(registration, url, self.deadline())
                    .await?
                    .promises_issuer
            }
            None => false,
        };
        Ok(Some(CallbackIssuer { issuer, required }))
    }
}

/// The dialect's parameters, then the operator's, then the protocol's: the later wins, so that nothing replaces `state`.
fn parameters<'a>(
    registration: &'a Registration,
    request: &'a AuthorizationUrlRequest,
) -> BTreeMap<&'a str, Cow<'a, str>> {
    let facts = registration.dialect.facts();
    let settings = &registration.settings;
    let mut all: BTreeMap<&str, Cow<'_, str>> = registration
        .dialect
        .authorization_parameters(request)
        .into_iter()
        .collect();
    for (name, value) in &settings.extra_authorize_params {
        if value.is_empty() {
            all.remove(name.as_str());
        } else {
            all.insert(name, Cow::Borrowed(value));
        }
    }
    all.insert("response_type", Cow::Borrowed("code"));
    all.insert("client_id", Cow::Borrowed(registration.client_id()));
    all.insert("redirect_uri", Cow::Borrowed(request.redirect_uri.as_str()));
    all.insert("state", Cow::Borrowed(request.state.expose()));
    if facts.asks_for_scopes && !request.scopes.is_empty() {
        let separator = settings.scope_separator.as_deref().unwrap_or(" ");
        all.insert("scope", Cow::Owned(request.scopes.join(separator)));
    }
    if facts.identity.has_id_token() {
        all.insert("nonce", Cow::Borrowed(&request.nonce));
    }
    if settings.pkce == Pkce::S256 {
        all.insert("code_challenge", Cow::Owned(challenge(&request.verifier)));
        all.insert("code_challenge_method", Cow::Borrowed("S256"));
    }
    all
}

/// Adds parameters to an address that may have some. A space is `%20`: not everybody reads `+` as one.
fn append(url: &mut Url, parameters: BTreeMap<&str, Cow<'_, str>>) {
    let encode = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let given = url.query().filter(|query| !query.is_empty()).map(str::to_owned);
    let added = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let query: Vec<String> = given.into_iter().chain(added).collect();
    url.set_query(Some(&query.join("&")));
}

/// RFC 7636 4.2.
fn challenge(verifier: &PkceVerifier) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.expose().as_bytes()))
}

#[cfg(test)]
#[path = "authorize_tests.rs"]
mod tests;
