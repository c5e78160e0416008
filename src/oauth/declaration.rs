//! What a provider is, as data ([`Facts`]), and the few places where one differs in code ([`Dialect`]).
//!
//! Adding a provider that differs only in facts is a constant; everything in [`Dialect`] has a default that does nothing.

use std::{borrow::Cow, time::Duration};

use http::HeaderValue;
use jsonwebtoken::Algorithm;
use oauth_manager_actors::{
    domain::{
        account::Account,
        provider::RefreshClass,
        scope::{Scope, ScopeSet},
    },
    ports::oauth::{AuthorizationUrlRequest, FailureKind},
};
use serde_json::{Map, Value};

use super::{classify::ErrorAnswer, id_token::Claims, settings::ClientAuth};

/// A JSON object.
pub(super) type Object = Map<String, Value>;

/// What keep-alives are counted in.
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The facts of a provider. Addresses may hold `{tenant}`; an empty one has to be configured or discovered.
pub(super) struct Facts {
    /// Accepted values of `iss`, the first being the one to name; `{tenantid}` stands for the token's own `tid`.
    pub(super) issuers: &'static [&'static str],
    pub(super) authorization: &'static str,
    pub(super) token: &'static str,
    pub(super) revocation: &'static str,
    pub(super) userinfo: &'static str,
    pub(super) jwks: &'static str,
    /// `None`: as the discovery document says.
    pub(super) client_auth: Option<ClientAuth>,
    pub(super) body: BodyFormat,
    /// Whether the authorization request has a `scope` parameter.
    pub(super) asks_for_scopes: bool,
    /// Whether its answers say what was granted.
    pub(super) reports_scopes: bool,
    /// Whether new tokens carry, unasked, what the account granted before.
    pub(super) incremental: bool,
    pub(super) identity: Identity,
    pub(super) revoke: RevokeRule,
    pub(super) refresh_class: RefreshClass,
    /// How often an account nobody asks for must be refreshed, where that is documented.
    pub(super) keep_alive: Option<Duration>,
    pub(super) max_concurrency: usize,
    /// Whether a refresh that names fewer scopes may give a token that carries fewer.
    pub(super) narrows: bool,
    /// What ID tokens may be signed with; `none` and HMAC cannot be named here.
    pub(super) algorithms: &'static [Algorithm],
    /// Whether the callback's `iss` is compared when present (RFC 9207).
    pub(super) callback_issuer: bool,
}

/// How bodies are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFormat {
    /// RFC 6749 4.1.3.
    Form,
    /// Notion.
    Json,
}

/// Where the account behind a token is learnt from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The ID token; if there is none, the userinfo endpoint.
    IdToken,
    /// The channel the token is bound to; the ID token's subject if the account has none.
    Channel,
    /// The token answer itself.
    Answer,
    /// The userinfo endpoint, if there is one.
    Userinfo,
}

impl Identity {
    /// Whether an ID token, and with it a nonce and a key set, has a part in it.
    pub(super) fn has_id_token(self) -> bool {
        matches!(self, Self::IdToken | Self::Channel)
    }
}

/// How a grant is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RevokeRule {
    /// RFC 7009: the refresh token takes the access token along at most servers; both are told, the first decides.
    Rfc7009,
    /// Google: one token, no client authentication, the whole grant goes.
    WholeGrant,
    /// Notion: token by token.
    EachToken,
    /// Not at all, and what the user can do instead.
    Unsupported(&'static str),
}

/// A dialect's word on an error answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refined {
    pub(super) kind: FailureKind,
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
}

impl Refined {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// What an exchange says about the account, before it is checked and bounded.
pub(super) type AnswerAccount = Result<(Account, Value), &'static str>;

/// Where a provider differs in code.
pub(super) trait Dialect: Send + Sync {
    /// Its facts.
    fn facts(&self) -> &'static Facts;

    /// What the authorization request holds beyond the protocol's own parameters.
    fn authorization_parameters(
        &self,
        _request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        Vec::new()
    }

    /// What the refresh request holds beyond the protocol's own parameters.
    fn refresh_parameters(&self, _granted: &ScopeSet) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Headers of token and revocation requests.
    fn headers(&self) -> Vec<(&'static str, HeaderValue)> {
        Vec::new()
    }

    /// The catalogue's spelling of a scope; `None`: it means nothing here.
    fn canonical_scope(&self, raw: &str) -> Option<Scope> {
        Some(Scope::new(raw))
    }

    /// What was granted, given what the answer reported (normalised) and what stood before or was asked for.
    fn granted(
        &self,
        reported: Option<ScopeSet>,
        _present: &ScopeSet,
        _has_refresh_token: bool,
    ) -> Option<ScopeSet> {
        reported
    }

    /// What `{tenant}` stands for, given what was kept at the exchange.
    fn tenant<'a>(&'a self, _metadata: &'a Value) -> &'a str {
        ""
    }

    /// The organisation at the provider that an account belongs to, given what was kept at the exchange.
    fn upstream_tenant<'a>(&self, _metadata: &'a Value) -> Option<&'a str> {
        None
    }

    /// Whether an ID token of this directory may be accepted.
    fn accepts_tenant(&self, _claims: &Claims) -> bool {
        true
    }

    /// The account's id and what to keep, from verified claims.
    fn account_from_claims(&self, claims: &Claims) -> (String, Value) {
        (claims.sub.clone(), Value::Null)
    }

    /// The account, from the token answer itself.
    fn account_from_answer(&self, _answer: &Object) -> AnswerAccount {
        Err("identity_missing")
    }

    /// Whether a refresh answer is about another account than the one it was asked for.
    fn is_about_another(&self, _answer: &Object, _metadata: &Value) -> bool {
        false
    }

    /// A verdict on an error answer that differs from the general table.
    fn refine(&self, _error: &ErrorAnswer) -> Option<Refined> {
        None
    }
}
