//! What the engine is told: plain settings, without a word about where they were configured. The application maps its
//! configuration to these.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use oauth_manager_actors::domain::{
    consent::WordingVersion,
    feature::FeatureKey,
    ids::ProviderKey,
    provider::RefreshClass,
    scope::{Scope, ScopeSet},
};
use zeroize::Zeroizing;

pub use super::token_response::{Nonce, TokenResponse};

/// Settings of the engine as a whole.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// How long one call of the engine may take altogether, identity checks included. It must stay below half the lease
    /// of a refresh claim.
    pub deadline: Duration,
    /// How long a connection may take to stand. Shorter than the deadline, so that "never left" is told from "lost".
    pub connect_timeout: Duration,
    /// Longest answer read; no token answer comes near it.
    pub body_max_bytes: usize,
    /// Longest document read: metadata, keys, who an account is.
    pub document_max_bytes: usize,
    /// Sent with every request. Edge protection of some providers refuses requests without one.
    pub user_agent: String,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            body_max_bytes: 64 * 1024,
            document_max_bytes: 1024 * 1024,
            user_agent: concat!("oauth-manager/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Which dialect a provider speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// Google's Calendar, Drive, Gmail and Tasks.
    Google,
    /// Google's authorization server, with a client and an identity (the channel) of its own.
    Youtube,
    /// Entra ID v2.0 and Graph.
    Microsoft,
    /// Notion's REST API.
    Notion,
    /// Anything that speaks OpenID Connect with discovery.
    Oidc,
    /// A plain OAuth 2 server with configured endpoints.
    Oauth2,
}

impl ProviderKind {
    /// The kinds that are built in; their name is also their usual key.
    pub const BUILT_IN: [Self; 4] = [Self::Google, Self::Microsoft, Self::Notion, Self::Youtube];

    /// As in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::Youtube => "youtube",
            Self::Microsoft => "microsoft",
            Self::Notion => "notion",
            Self::Oidc => "oidc",
            Self::Oauth2 => "oauth2",
        }
    }
}

/// A client secret: wiped when the last copy goes, never printed.
#[derive(Clone)]
pub struct ClientSecret {
    value: Arc<Zeroizing<String>>,
    file: Option<Arc<Path>>,
}

impl ClientSecret {
    /// Takes a value in.
    pub fn new(value: impl Into<String>) -> Self {
        Self {
            value: Arc::new(Zeroizing::new(value.into())),
            file: None,
        }
    }

    /// Where it was read from, to look there again when the provider no longer takes it.
    #[must_use]
    pub fn from_file(self, file: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(file.into().into()),
            ..self
        }
    }

    /// Where it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// The value in clear: for the wire only.
    pub fn expose(&self) -> &str {
        &self.value
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret([redacted])")
    }
}

/// How the client proves itself at the token endpoint (RFC 6749 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// HTTP Basic, both parts form-encoded first (RFC 6749 2.3.1).
    Basic,
    /// In the body.
    Post,
    /// A public client: only its id, in the body.
    None,
}

/// Proof Key for Code Exchange (RFC 7636). `plain` does not exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pkce {
    /// Always, whatever the provider's metadata says (RFC 9700 2.1.1: no silent downgrade).
    #[default]
    S256,
    /// Switched off by the operator, for a provider that refuses it.
    Off,
}

/// Addresses that replace a provider's own. `{tenant}` is filled in for Microsoft.
#[derive(Debug, Clone, Default)]
pub struct EndpointOverrides {
    /// The issuer that ID tokens and callbacks must name. For Microsoft it may hold `{tenantid}`.
    pub issuer: Option<String>,
    /// Where browsers are sent.
    pub authorization: Option<String>,
    /// Where codes and refresh tokens are presented.
    pub token: Option<String>,
    /// RFC 7009 or the provider's own.
    pub revocation: Option<String>,
    /// OpenID Connect Core 5.3, or whatever tells whose token it is. For YouTube: the channels endpoint.
    pub userinfo: Option<String>,
    /// RFC 7517.
    pub jwks: Option<String>,
    /// What stands before the paths of the provider's resources, instead of the documented hosts.
    pub api: Option<String>,
    /// OpenID Connect Discovery; default for `oidc`: below the issuer.
    pub discovery: Option<String>,
}

/// What an operator says about a provider's own words for a failure.
#[derive(Debug, Clone, Default)]
pub struct DeclaredErrors {
    /// The grant is over.
    pub dead: Vec<ErrorSign>,
    /// Our client or its secret is not known. Never said about one account.
    pub client: Vec<ErrorSign>,
    /// The administrator of the account's organisation must act.
    pub admin: Vec<ErrorSign>,
    /// It passes.
    pub transient: Vec<ErrorSign>,
}

/// What an answer is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorSign {
    /// Its code, compared without case.
    Code(String),
    /// A value in it.
    Value {
        /// Where (RFC 6901).
        pointer: String,
        /// What is there: text, a whole number, or a truth value.
        equals: serde_json::Value,
    },
}

/// A feature of a provider that is not built in.
#[derive(Debug, Clone)]
pub struct FeatureSettings {
    /// `<provider key>.<name>`.
    pub key: FeatureKey,
    /// For users; default: the name.
    pub display_name: Option<String>,
    /// For users.
    pub description: Option<String>,
    /// All of them are required.
    pub scopes: ScopeSet,
    /// These may be asked for by name as well.
    pub optional_scopes: ScopeSet,
    /// For users: what could go wrong.
    pub danger: Option<String>,
    /// Whether personal accounts cannot have it.
    pub work_account_only: bool,
    /// Asked for when nothing is named. If no feature says so, the first is.
    pub default: bool,
}

impl FeatureSettings {
    /// A feature of which nothing else is known.
    pub fn new(key: FeatureKey) -> Self {
        Self {
            key,
            display_name: None,
            description: None,
            scopes: ScopeSet::default(),
            optional_scopes: ScopeSet::default(),
            danger: None,
            work_account_only: false,
            default: false,
        }
    }
}

/// Settings of one provider.
#[derive(Debug, Clone)]
pub struct ProviderSettings {
    /// Its key.
    pub key: ProviderKey,
    /// Its dialect.
    pub kind: ProviderKind,
    /// Its name for users; default: the catalogue's, or the key.
    pub display_name: Option<String>,
    /// Our registration there; without one the provider is shown but cannot be connected.
    pub client_id: Option<String>,
    /// Its secret; none for a public client.
    pub client_secret: Option<ClientSecret>,
    /// The secret that is about to replace it, or has: while one is exchanged for the other, whichever the provider takes.
    pub client_secret_next: Option<ClientSecret>,
    /// Instead of the provider's usual way.
    pub client_auth: Option<ClientAuth>,
    /// Instead of the provider's own addresses.
    pub endpoints: EndpointOverrides,
    /// Microsoft: `common`, `organizations`, `consumers`, a directory's id or its domain.
    pub tenant: Option<String>,
    /// Notion: the version header.
    pub notion_version: Option<String>,
    /// Notion: what the integration may do, as set in Notion's dashboard (`capability:…`); default: read, update and
    /// insert content, read and insert comments, people without e-mail.
    pub notion_capabilities: Option<ScopeSet>,
    /// Between scopes in the authorization request; default: a space.
    pub scope_separator: Option<String>,
    /// Proof key.
    pub pkce: Pkce,
    /// What a lost refresh answer means.
    pub refresh_class: Option<RefreshClass>,
    /// How long before its end a token is refreshed at the latest.
    pub refresh_margin: Option<Duration>,
    /// How often an account nobody asks for is refreshed.
    pub keep_alive: Option<Duration>,
    /// How long a refresh token lives from the consent, where the provider does not say.
    pub refresh_token_lifetime: Option<Duration>,
    /// How many calls of one node may be under way at once.
    pub max_concurrency: Option<usize>,
    /// How many calls per second all nodes together may make.
    pub rate: Option<f64>,
    /// Whether `http` and loopback addresses are accepted for this provider. For development.
    pub allow_loopback: bool,
    /// Whether addresses in private networks are accepted for this provider (an identity provider on the intranet).
    pub allow_private_network: bool,
    /// Added to the authorization request; they win over the dialect's, never over the protocol's.
    pub extra_authorize_params: BTreeMap<String, String>,
    /// `oauth2`: where in the userinfo answer the account's id is (RFC 6901); default `/sub`, then `/id`.
    pub account_id_pointer: Option<String>,
    /// Names and places in token answers.
    pub token_response: TokenResponse,
    /// Wider scopes that include a scope, as far as features do not say so.
    pub implied_by: BTreeMap<Scope, ScopeSet>,
    /// What this provider's own words for a failure mean; they win over the tables.
    pub errors: DeclaredErrors,
    /// Asked for with every authorization; only for providers that are not built in. Default for `oidc`: `openid`.
    pub base_scopes: Option<ScopeSet>,
    /// What can be switched on; added to the catalogue of a built-in provider.
    pub features: Vec<FeatureSettings>,
    /// Versions of features' wordings that differ from the catalogue's.
    pub wording_versions: BTreeMap<FeatureKey, WordingVersion>,
    /// Whether scopes outside the catalogue may be asked for.
    pub open_scopes: bool,
}

impl ProviderSettings {
    /// A provider of this kind, unconfigured.
    pub fn new(key: ProviderKey, kind: ProviderKind) -> Self {
        Self {
            key,
            kind,
            display_name: None,
            client_id: None,
            client_secret: None,
            client_secret_next: None,
            client_auth: None,
            endpoints: EndpointOverrides::default(),
            tenant: None,
            notion_version: None,
            notion_capabilities: None,
            scope_separator: None,
            pkce: Pkce::default(),
            refresh_class: None,
            refresh_margin: None,
            keep_alive: None,
            refresh_token_lifetime: None,
            max_concurrency: None,
            rate: None,
            allow_loopback: false,
            allow_private_network: false,
            extra_authorize_params: BTreeMap::new(),
            account_id_pointer: None,
            token_response: TokenResponse::default(),
            implied_by: BTreeMap::new(),
            errors: DeclaredErrors::default(),
            base_scopes: None,
            features: Vec::new(),
            wording_versions: BTreeMap::new(),
            open_scopes: false,
        }
    }
}

/// Settings the engine refuses to start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSettings {
    /// About one provider.
    #[error("provider {provider}: {problem}")]
    Provider {
        /// Which.
        provider: String,
        /// What is wrong; names keys, never values of secrets.
        problem: String,
    },
    /// The HTTP client could not be built.
    #[error("http client: {0}")]
    Client(String),
}

impl InvalidSettings {
    pub(super) fn new(provider: &ProviderKey, problem: impl Into<String>) -> Self {
        Self::Provider {
            provider: provider.to_string(),
            problem: problem.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_never_print_the_secret() {
        let mut settings = ProviderSettings::new("google".parse().unwrap(), ProviderKind::Google);
        settings.client_secret = Some(ClientSecret::new("very-secret"));
        assert!(!format!("{settings:?}").contains("very-secret"));
    }
}
