//! The provider engine as the actors see it: four calls, and failures that say what they mean.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use url::Url;

use crate::domain::{
    account::Account,
    feature::FeatureKey,
    ids::ProviderKey,
    provider::Provider,
    provider_problem::ProviderProblem,
    reason::{ReasonCode, WhoMustAct},
    scope::ScopeSet,
    secret::{AccessToken, AuthorizationCode, PkceVerifier, RefreshToken, State},
    token::TokenAnswer,
};

/// What a failed call to a provider means: whose fault it is, and how far it reaches.
///
/// | reaches | kinds |
/// |---|---|
/// | this call or flow | `Refused`, `BadRequest`, `Unclear`, `Unreadable` |
/// | this grant | `DeadGrant`, `Interaction`, `OutcomeUnknown` |
/// | this account | `AccountThrottled`, `Admin` |
/// | its organisation at the provider | `Tenant` |
/// | our registration, and with it every account | `Operator` |
/// | the provider | `Passing`, and many `OutcomeUnknown` |
///
/// One account's answer is `Operator` only where the provider says that it does not know our client. Anything else that may
/// be our registration's fault is told by several accounts that are refused alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// Certainly not done, or harmless to do again: 429, a refused connection, a named passing error.
    Passing,
    /// The provider wants this one account left alone for a while; its other accounts are not concerned.
    AccountThrottled,
    /// It may have been done: the request left and no usable answer came (timeout, reset, 5xx).
    OutcomeUnknown,
    /// The provider says the grant is dead.
    DeadGrant,
    /// The provider wants the user to act (consent, second factor); the grant itself may live.
    Interaction,
    /// An administrator at the provider must act: about this account.
    Admin,
    /// The account's organisation does not know our application, or is closed: its administrator must act; unless several
    /// organisations say the same.
    Tenant,
    /// The provider does not know our client, or not with this secret: nothing to do with this user.
    Operator,
    /// The provider finds fault with how we ask, not with the grant: the operator must look, and the user can do nothing.
    BadRequest,
    /// The answer says success and cannot be used; see the salvaged refresh token.
    Unreadable,
    /// Some other refusal of this one request.
    Refused,
    /// The same, and nobody can tell yet whether it is this account's fault or ours. Never said by a provider engine.
    Unclear,
}

impl FailureKind {
    /// As shown in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::AccountThrottled => "account_throttled",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::DeadGrant => "dead_grant",
            Self::Interaction => "interaction",
            Self::Admin => "admin",
            Self::Tenant => "tenant",
            Self::Operator => "operator",
            Self::BadRequest => "bad_request",
            Self::Unreadable => "unreadable",
            Self::Refused => "refused",
            Self::Unclear => "unclear",
        }
    }
}

/// A failed call. Holds neither the answer's body nor any secret but the salvaged one, which is typed as such.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{provider}: {reason} ({kind:?})")]
pub struct ProviderFailure {
    /// At which provider.
    pub provider: ProviderKey,
    /// What it means.
    pub kind: FailureKind,
    /// The provider's code, or ours for what happened.
    pub reason: ReasonCode,
    /// When the provider wants to be asked again, already clamped.
    pub retry_after: Option<Duration>,
    /// A rotated refresh token found in an answer that could not be used otherwise. It must be stored.
    pub salvaged: Option<RefreshToken>,
    /// The organisation at the provider that the account belongs to, where there are such: what one of them says of all its
    /// accounts counts as one voice. `None`: the account speaks for itself.
    pub upstream_tenant: Option<Arc<str>>,
}

impl ProviderFailure {
    /// A failure without hints.
    pub fn new(provider: ProviderKey, kind: FailureKind, reason: ReasonCode) -> Self {
        Self {
            provider,
            kind,
            reason,
            retry_after: None,
            salvaged: None,
            upstream_tenant: None,
        }
    }

    /// Whether this call was not carried out, so that what became of one before it is as unknown as it was.
    pub fn says_nothing_of_earlier_calls(&self) -> bool {
        match self.kind {
            FailureKind::Passing
            | FailureKind::AccountThrottled
            | FailureKind::OutcomeUnknown
            | FailureKind::Admin
            | FailureKind::Tenant
            | FailureKind::Operator
            | FailureKind::BadRequest
            | FailureKind::Refused
            | FailureKind::Unclear => true,
            FailureKind::DeadGrant | FailureKind::Interaction | FailureKind::Unreadable => false,
        }
    }

    /// Whose move it is.
    pub fn who_must_act(&self) -> WhoMustAct {
        match self.kind {
            FailureKind::Passing | FailureKind::AccountThrottled | FailureKind::OutcomeUnknown => {
                WhoMustAct::Nobody
            }
            FailureKind::DeadGrant | FailureKind::Interaction => WhoMustAct::User,
            FailureKind::Admin | FailureKind::Tenant => WhoMustAct::Admin,
            // What no table knows, and what cannot be read, is for whoever can look at it and say what it means.
            FailureKind::Operator
            | FailureKind::BadRequest
            | FailureKind::Unreadable
            | FailureKind::Refused
            | FailureKind::Unclear => WhoMustAct::Operator,
        }
    }
}

/// What goes into an authorization URL.
#[derive(Debug, Clone)]
pub struct AuthorizationUrlRequest {
    /// Scopes to ask for, canonical, base scopes included.
    pub scopes: ScopeSet,
    /// RFC 6749 4.1.1.
    pub state: State,
    /// The verifier whose S256 challenge is sent (where the provider supports PKCE).
    pub verifier: PkceVerifier,
    /// OpenID Connect nonce (sent where there is an ID token).
    pub nonce: String,
    /// Where the provider sends the browser.
    pub redirect_uri: Url,
    /// Which account to suggest.
    pub login_hint: Option<String>,
    /// What an interface of the provider demanded of the next sign-in with a claims challenge: a JSON object (OpenID Connect
    /// Core 5.5), kept from a report that it rejected a token.
    pub claims: Option<String>,
    /// Whether a usable refresh token of this account is held that covers what is asked for (then consent is not forced).
    pub has_grant: bool,
}

/// What goes into a code exchange.
#[derive(Debug, Clone)]
pub struct ExchangeRequest {
    /// The code.
    pub code: AuthorizationCode,
    /// RFC 7636.
    pub verifier: PkceVerifier,
    /// The same as in the authorization request.
    pub redirect_uri: Url,
    /// The nonce the ID token must repeat.
    pub nonce: String,
    /// What was asked for: what an absent `scope` in the answer means.
    pub requested_scopes: ScopeSet,
}

/// A finished exchange: tokens and whose they are.
#[derive(Debug, Clone)]
pub struct Exchanged {
    /// The tokens.
    pub answer: TokenAnswer,
    /// The account they belong to.
    pub account: Account,
    /// What the dialect needs later (tenant, workspace, bot); bounded, never secret.
    pub metadata: serde_json::Value,
}

/// What goes into a refresh.
#[derive(Debug, Clone)]
pub struct RefreshRequest {
    /// The refresh token of the claimed generation.
    pub refresh_token: RefreshToken,
    /// Granted scopes.
    pub scopes: ScopeSet,
    /// What the dialect kept at the exchange.
    pub metadata: serde_json::Value,
    /// The account, to notice an answer about another one.
    pub account: Account,
}

/// What goes into a revocation (RFC 7009).
#[derive(Debug, Clone)]
pub struct RevocationRequest {
    /// The refresh token, if there is one.
    pub refresh_token: Option<RefreshToken>,
    /// The access token.
    pub access_token: AccessToken,
    /// What the dialect kept at the exchange.
    pub metadata: serde_json::Value,
}

/// What a revocation came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// The provider confirmed it, or had forgotten the grant already.
    Confirmed,
    /// The provider has no way to revoke.
    Unsupported,
}

/// What goes into trying a feature.
#[derive(Debug, Clone)]
pub struct ProbeRequest {
    /// Which.
    pub feature: FeatureKey,
    /// What it is tried with.
    pub access_token: AccessToken,
    /// What that carries.
    pub scopes: ScopeSet,
    /// What the dialect kept at the exchange.
    pub metadata: serde_json::Value,
}

/// What the provider's interface said to the smallest read of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// It was answered.
    Works,
    /// The token is accepted somewhere; nothing small reads what the feature is about.
    Unproven,
    /// The token is not accepted (401).
    TokenRejected,
    /// The token does not reach this far.
    NotAllowed,
    /// Refused, and why is not said.
    Forbidden,
    /// An administrator has switched it off.
    SwitchedOff,
    /// Our registration may not use it.
    NotConfigured,
    /// It does not exist for this account.
    Unavailable,
}

/// The provider engine. Every call has a total deadline, a capped body and follows no redirect.
#[async_trait]
pub trait OAuth: Send + Sync {
    /// Every known provider, configured or not, in a stable order.
    fn providers(&self) -> &[Arc<Provider>];

    /// The issuer the callback's `iss` must equal (RFC 9207), and whether it must be there; `None`: the provider has none.
    async fn callback_issuer(
        &self,
        provider: &ProviderKey,
    ) -> Result<Option<CallbackIssuer>, ProviderFailure>;

    /// The URL to send the browser to.
    async fn authorization_url(
        &self,
        provider: &ProviderKey,
        request: AuthorizationUrlRequest,
    ) -> Result<Url, ProviderFailure>;

    /// Exchanges a code, at most once, and finds out whose tokens they are.
    async fn exchange(
        &self,
        provider: &ProviderKey,
        request: ExchangeRequest,
    ) -> Result<Exchanged, ProviderFailure>;

    /// Refreshes, once, without retries: repeating is the caller's decision.
    async fn refresh(
        &self,
        provider: &ProviderKey,
        request: RefreshRequest,
    ) -> Result<TokenAnswer, ProviderFailure>;

    /// Which of two configured client secrets the provider took last, `first` or `next`; `None`: there are not two.
    fn client_secret_in_use(&self, _provider: &ProviderKey) -> Option<&'static str> {
        None
    }

    /// What keeps this provider from being used before anything is asked about an account (its documents, its addresses);
    /// `None`: nothing, as far as this node knows. A failure with its `what` as reason was brought about by it.
    fn problem(&self, _provider: &ProviderKey) -> Option<ProviderProblem> {
        None
    }

    /// Tries a feature with the smallest read there is. A failure means that nothing is known; none of them is a word on the
    /// grant. An engine that knows no such read proves nothing.
    async fn probe(
        &self,
        _provider: &ProviderKey,
        _request: ProbeRequest,
    ) -> Result<Probed, ProviderFailure> {
        Ok(Probed::Unproven)
    }

    /// Ends the grant at the provider.
    async fn revoke(
        &self,
        provider: &ProviderKey,
        request: RevocationRequest,
    ) -> Result<Revoked, ProviderFailure>;
}

/// What `iss` must say in a callback (RFC 9207).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackIssuer {
    /// The expected value.
    pub issuer: String,
    /// Whether the provider promised to send it (`authorization_response_iss_parameter_supported`).
    pub required: bool,
}
