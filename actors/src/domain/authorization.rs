//! Authorizations: connect flows, from the link to the connected account.

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::Serialize;
use url::Url;

use super::{
    Timestamp,
    account::Account,
    consent::{Shown, Wording},
    feature::FeatureKey,
    ids::{AuthorizationId, IntegrationId, InvalidId, ProviderKey, Subject},
    integration::Owner,
    reason::ReasonCode,
    scope::ScopeSet,
    sealed::{Digest, KeyContext, Sealed, WrappedKey},
    secret::{AuthorizationCode, BrowserBinding, Confirmation, State},
};

/// Where a flow stands (design, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizationStatus {
    /// The link exists; nobody opened it.
    Created,
    /// A browser opened it and went to the provider.
    Redirected,
    /// The provider sent the browser back; the state is consumed and the code not yet exchanged.
    Returned,
    /// The code waits, sealed, for the owner's own word.
    AwaitingConfirmation,
    /// The code is being exchanged.
    Exchanged,
    /// The user came back as another account than the one to be connected again: the new grant waits, sealed, beside the
    /// old until the owner has chosen.
    AccountMismatch,
    /// Done: an integration came of it.
    Connected,
    /// The user said no.
    Denied,
    /// It failed; the reason says why.
    Failed,
    /// It took too long.
    Expired,
}

impl AuthorizationStatus {
    const ALL: [Self; 10] = [
        Self::Created,
        Self::Redirected,
        Self::Returned,
        Self::AwaitingConfirmation,
        Self::Exchanged,
        Self::AccountMismatch,
        Self::Connected,
        Self::Denied,
        Self::Failed,
        Self::Expired,
    ];

    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Redirected => "redirected",
            Self::Returned => "returned",
            Self::AwaitingConfirmation => "awaiting_confirmation",
            Self::Exchanged => "exchanged",
            Self::AccountMismatch => "account_mismatch",
            Self::Connected => "connected",
            Self::Denied => "denied",
            Self::Failed => "failed",
            Self::Expired => "expired",
        }
    }

    /// Whether nothing more can come of it.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Connected | Self::Denied | Self::Failed | Self::Expired
        )
    }
}

impl FromStr for AuthorizationStatus {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(InvalidId {
                what: "authorization status",
            })
    }
}

/// What an application asks for when it begins a flow, already checked for form by the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationRequest {
    /// At which provider.
    pub provider: ProviderKey,
    /// Which features; with no scopes either, the provider's default ones.
    pub features: Vec<FeatureKey>,
    /// Which scopes besides.
    pub scopes: ScopeSet,
    /// Where the browser goes afterwards, already checked against the allow-list; `None`: our own result page.
    pub return_to: Option<Url>,
    /// Reconnect or widen this integration.
    pub integration_id: Option<IntegrationId>,
    /// Which account to suggest to the provider.
    pub login_hint: Option<String>,
}

/// A flow that began.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct BegunAuthorization {
    /// Its id.
    pub authorization_id: AuthorizationId,
    /// The link to open: ours, not the provider's.
    pub authorization_url: Url,
    /// What will be asked for.
    pub requested_scopes: ScopeSet,
    /// What the user agrees to by going on, in the words to show before they leave: one for each feature.
    pub consent: Vec<Wording>,
    /// Until when the link works.
    pub expires_at: Timestamp,
}

impl fmt::Debug for BegunAuthorization {
    /// Without the link: whoever reads it could open the flow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BegunAuthorization")
            .field("authorization_id", &self.authorization_id)
            .field("authorization_url", &origin_of(&self.authorization_url))
            .field("requested_scopes", &self.requested_scopes)
            .field("consent", &self.consent)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// What may be shown of a URL whose path or query holds a secret.
pub(super) fn origin_of(url: &Url) -> String {
    format!("{}/[redacted]", url.origin().ascii_serialization())
}

/// A flow as shown to its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuthorizationView {
    /// Its id.
    pub authorization_id: AuthorizationId,
    /// At which provider.
    pub provider: ProviderKey,
    /// Where it stands.
    pub status: AuthorizationStatus,
    /// Why it failed or was denied.
    pub error: Option<ReasonCode>,
    /// Asked-for features.
    pub features: BTreeSet<FeatureKey>,
    /// Asked-for scopes.
    pub requested_scopes: ScopeSet,
    /// What came of it.
    pub integration_id: Option<IntegrationId>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// What is to be chosen between, while it stands at `account_mismatch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_mismatch: Option<AccountMismatch>,
}

/// Two accounts: one was to be connected again, the other came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountMismatch {
    /// The one that is connected.
    pub connected: Account,
    /// The one that came back.
    pub returned: Account,
    /// What can be chosen.
    pub choices: [Choice; 2],
}

/// What becomes of a grant for another account than expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// The connected account stays as it is, and the new grant is dropped.
    Keep,
    /// The new grant becomes a connection of its own beside it.
    Connect,
}

impl Choice {
    /// Every choice.
    pub const ALL: [Self; 2] = [Self::Keep, Self::Connect];

    /// As sent and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Connect => "connect",
        }
    }
}

impl FromStr for Choice {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut all = Self::ALL.into_iter();
        all.find(|choice| choice.as_str() == text)
            .ok_or(InvalidId { what: "choice" })
    }
}

/// A flow as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAuthorization {
    /// Which.
    pub id: AuthorizationId,
    /// Who began it.
    pub owner: Owner,
    /// At which provider.
    pub provider: ProviderKey,
    /// Where it stands.
    pub status: AuthorizationStatus,
    /// Why it ended.
    pub error: Option<ReasonCode>,
    /// Asked-for features.
    pub features: BTreeSet<FeatureKey>,
    /// Asked-for scopes.
    pub requested_scopes: ScopeSet,
    /// Which words its user was shown before leaving.
    pub shown: Vec<Shown>,
    /// The redirect URI sent to the provider, repeated at the exchange (RFC 6749 4.1.3).
    pub redirect_uri: Url,
    /// Where the browser goes afterwards.
    pub return_to: Option<Url>,
    /// The integration it reconnects or widens; once connected, the one it made.
    pub integration_id: Option<IntegrationId>,
    /// Account to suggest.
    pub login_hint: Option<String>,
    /// How often its link was opened.
    pub redirects: u32,
    /// OpenID Connect nonce of the redirect that came back.
    pub nonce: Option<String>,
    /// Digest of the cookie of the browser that came back.
    pub browser: Option<Digest>,
    /// The flow's data key.
    pub data_key: Option<WrappedKey>,
    /// The PKCE verifier, sealed.
    pub pkce_verifier: Option<Sealed>,
    /// The code that waits for a confirmation, sealed.
    pub code: Option<Sealed>,
    /// The grant that waits for a choice, sealed.
    pub staged: Option<Sealed>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl StoredAuthorization {
    /// Whose data key its secrets are sealed with.
    pub fn key_context(&self) -> KeyContext {
        KeyContext {
            record: self.id.0,
            user: self.owner.user_id,
            provider: self.provider.clone(),
        }
    }

    /// What its owner is shown.
    pub fn view(&self) -> AuthorizationView {
        AuthorizationView {
            authorization_id: self.id,
            provider: self.provider.clone(),
            status: self.status,
            error: self.error.clone(),
            features: self.features.clone(),
            requested_scopes: self.requested_scopes.clone(),
            integration_id: self.integration_id.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            account_mismatch: None,
        }
    }
}

/// The answer to an opened connect link: bind this browser and send it on.
#[derive(Clone)]
pub struct ConnectRedirect {
    /// Which flow; names the cookie.
    pub authorization_id: AuthorizationId,
    /// The cookie's value.
    pub browser: BrowserBinding,
    /// The provider's authorization page with all parameters. Holds the state: never logged.
    pub location: Url,
    /// Until when the cookie is worth keeping.
    pub expires_at: Timestamp,
}

impl fmt::Debug for ConnectRedirect {
    /// Without the state in the provider's address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectRedirect")
            .field("authorization_id", &self.authorization_id)
            .field("browser", &self.browser)
            .field("location", &origin_of(&self.location))
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

/// What the provider sent back with the browser, as found in the query.
#[derive(Debug, Clone, Default)]
pub struct CallbackParams {
    /// `code`
    pub code: Option<AuthorizationCode>,
    /// `state`
    pub state: Option<State>,
    /// `error` (RFC 6749 4.1.2.1)
    pub error: Option<ReasonCode>,
    /// `iss` (RFC 9207)
    pub issuer: Option<String>,
    /// A parameter that may come once came twice, or `code` came with `error`.
    pub conflicting: bool,
}

/// The browser at the callback.
#[derive(Debug, Clone, Default)]
pub struct CallbackBrowser {
    /// Every flow cookie it sent; the flow's own is looked for among them.
    pub bindings: Vec<BrowserBinding>,
    /// The user of our session, if it holds one.
    pub session: Option<Subject>,
}

/// How a callback ended.
#[derive(Debug, Clone)]
pub struct CallbackOutcome {
    /// Which flow, if the state named one.
    pub authorization_id: Option<AuthorizationId>,
    /// Where the application wants the browser.
    pub return_to: Option<Url>,
    /// What happened.
    pub result: CallbackResult,
}

/// What happened at the callback.
#[derive(Debug, Clone)]
pub enum CallbackResult {
    /// Connected at once: the browser proved to be the owner's.
    Connected(IntegrationId),
    /// The application must confirm with the owner's own credential.
    ConfirmationRequired(Confirmation),
    /// The user said no at the provider.
    Denied(ReasonCode),
    /// Nothing was connected, for this reason.
    Failed(ReasonCode),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_the_state_nor_the_link_to_open() {
        let url: Url = "https://oauth.example.com/connect/google.s3cret?state=s3cret"
            .parse()
            .unwrap();
        let redirect = ConnectRedirect {
            authorization_id: AuthorizationId(uuid::Uuid::nil()),
            browser: BrowserBinding::new("s3cret"),
            location: url.clone(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let begun = BegunAuthorization {
            authorization_id: AuthorizationId(uuid::Uuid::nil()),
            authorization_url: url,
            requested_scopes: ScopeSet::default(),
            consent: Vec::new(),
            expires_at: Timestamp::UNIX_EPOCH,
        };
        let shown = format!("{redirect:?} {begun:?}");
        assert!(
            shown.contains("oauth.example.com"),
            "where it leads is no secret: {shown}"
        );
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}
