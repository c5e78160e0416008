//! `[providers.<key>]`: credentials of the built-in providers, what differs from their facts, and providers of the
//! operator's own.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::endpoint::Endpoint;
use super::error::Problems;
use super::feature::{FeatureConfig, ScopeConfig, is_feature_key};
use super::provider_errors::ProviderErrors;
use super::secret::SecretString;
use super::server::Deployment;
use super::token_response::TokenResponseConfig;
use super::{authorize_params, duration, list};

/// The providers we know by ourselves.
pub const BUILT_IN: [&str; 4] = ["google", "microsoft", "notion", "youtube"];

/// Keep-alives and lives of refresh tokens are counted in days; less is a slip of the pen, and would be a storm.
const LIFE_MIN: Duration = Duration::from_hours(1);

/// Long enough for any name, short enough for ids that carry it.
const KEY_BYTES_MAX: usize = 32;

/// One call in 100 s, and more than any provider allows.
const RATE_MIN: f64 = 0.01;
const RATE_MAX: f64 = 100_000.0;

/// What a provider of the operator's own speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// OpenID Connect, found by discovery.
    Oidc,
    /// Plain OAuth 2, every endpoint given.
    Oauth2,
}

/// How the client proves itself at the token endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// In the Authorization header.
    Basic,
    /// In the body.
    Post,
    /// A public client.
    None,
}

/// Proof of possession of the code (RFC 7636).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum Pkce {
    /// Always, with SHA-256.
    S256,
    /// For a provider that refuses it.
    #[serde(rename = "off")]
    Off,
}

/// What happens when a refresh token is presented twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefreshClass {
    /// Nothing.
    Safe,
    /// Nothing, within this time.
    Grace(Duration),
    /// The grant is lost.
    SingleUse,
}

impl RefreshClass {
    /// Reads `safe`, `grace:10s` or `single_use`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "safe" => Ok(Self::Safe),
            "single_use" => Ok(Self::SingleUse),
            _ => match text.strip_prefix("grace:").map(duration::parse) {
                Some(Ok(window)) if !window.is_zero() => Ok(Self::Grace(window)),
                _ => Err("expected safe, single_use, or grace with a window such as \"grace:10s\""),
            },
        }
    }
}

impl<'de> Deserialize<'de> for RefreshClass {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// How a registration at Google is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublishingStatus {
    /// For everybody.
    Production,
    /// For testers: their grants end after [`TESTING_GRANT_LIFE`].
    Testing,
}

/// How long a grant lives of a registration that Google takes for a test.
const TESTING_GRANT_LIFE: Duration = Duration::from_hours(7 * 24);

/// One provider. What is absent is taken from the built-in facts, or from discovery.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderConfig {
    /// Only for providers that are not built in.
    #[serde(rename = "type")]
    pub kind: Option<ProviderKind>,
    /// What users call it.
    pub display_name: Option<String>,
    /// Without one the provider is not configured; see [`ProviderConfig::is_configured`].
    pub client_id: Option<String>,
    /// What proves the client.
    pub client_secret: Option<SecretString>,
    /// What proves the client next: while one secret is exchanged for the other, whichever the provider takes is used.
    pub client_secret_next: Option<SecretString>,
    /// How it is sent.
    pub client_auth: Option<ClientAuth>,
    /// Who signs ID tokens.
    pub issuer: Option<Endpoint>,
    /// Where discovery is, if not at the issuer's well-known place.
    pub discovery_url: Option<Endpoint>,
    /// Where users consent.
    pub authorization_endpoint: Option<Endpoint>,
    /// Where codes and refresh tokens are exchanged.
    pub token_endpoint: Option<Endpoint>,
    /// Where grants are taken back.
    pub revocation_endpoint: Option<Endpoint>,
    /// Who the account is.
    pub userinfo_endpoint: Option<Endpoint>,
    /// The issuer's public keys.
    pub jwks_uri: Option<Endpoint>,
    /// Built-in providers: what stands before the paths of their resources, when features are tried.
    pub api_endpoint: Option<Endpoint>,
    /// Microsoft only: whose accounts may connect.
    pub tenant: Option<String>,
    /// Notion only: the version of its API.
    pub notion_version: Option<String>,
    /// Notion only: what its integration may do, as set in its settings.
    #[serde(deserialize_with = "list::deserialize")]
    pub capabilities: Vec<String>,
    /// Required unless the provider cannot.
    pub pkce: Option<Pkce>,
    /// Between scopes, in requests.
    pub scope_separator: Option<String>,
    /// What happens when a refresh token is presented twice.
    pub refresh_class: Option<RefreshClass>,
    /// Refresh at least this long before expiry.
    #[serde(deserialize_with = "duration::optional")]
    pub refresh_margin: Option<Duration>,
    /// Refresh an account that nobody asks for this often.
    #[serde(deserialize_with = "duration::optional")]
    pub keep_alive: Option<Duration>,
    /// How long refresh tokens live from the consent, where the provider does not say.
    #[serde(deserialize_with = "duration::optional")]
    pub refresh_token_lifetime: Option<Duration>,
    /// Google and YouTube only: how the registration is published there.
    pub publishing_status: Option<PublishingStatus>,
    /// Calls of one node to the provider at once.
    pub max_concurrency: Option<usize>,
    /// Calls per second of all nodes together.
    pub rate: Option<f64>,
    /// Endpoints on this machine; development only.
    pub allow_loopback: bool,
    /// Endpoints in the operator's own network.
    pub allow_private_network: bool,
    /// Further parameters of the authorization request.
    pub authorize_params: BTreeMap<String, String>,
    /// JSON pointer to the account's stable id in the userinfo answer (type `oauth2`).
    pub account_id_pointer: Option<String>,
    /// Names and places in token answers.
    pub token_response: TokenResponseConfig,
    /// By name.
    pub scopes: BTreeMap<String, ScopeConfig>,
    /// What this provider's own words for a failure mean.
    pub errors: ProviderErrors,
    /// By key.
    pub features: BTreeMap<String, FeatureConfig>,
}

impl ProviderConfig {
    /// Whether users can connect here.
    pub fn is_configured(&self) -> bool {
        self.client_id.as_ref().is_some_and(|id| !id.is_empty())
    }

    /// Notes which file a secret was read from.
    pub(super) fn note_origin(&mut self, key: &str, file: &Path) {
        let secret = match key {
            "client_secret" => &mut self.client_secret,
            _ => &mut self.client_secret_next,
        };
        if let Some(secret) = secret {
            secret.read_from(file);
        }
    }

    /// How long refresh tokens live from the consent, as far as the operator knows.
    pub fn refresh_token_lifetime(&self) -> Option<Duration> {
        let testing = self.publishing_status == Some(PublishingStatus::Testing);
        self.refresh_token_lifetime
            .or(testing.then_some(TESTING_GRANT_LIFE))
    }

    /// Every address given, with its key.
    pub fn endpoints(&self) -> impl Iterator<Item = (&'static str, &Endpoint)> {
        [
            ("issuer", &self.issuer),
            ("discovery_url", &self.discovery_url),
            ("authorization_endpoint", &self.authorization_endpoint),
            ("token_endpoint", &self.token_endpoint),
            ("revocation_endpoint", &self.revocation_endpoint),
            ("userinfo_endpoint", &self.userinfo_endpoint),
            ("jwks_uri", &self.jwks_uri),
            ("api_endpoint", &self.api_endpoint),
        ]
        .into_iter()
        .filter_map(|(key, endpoint)| endpoint.as_ref().map(|endpoint| (key, endpoint)))
    }

    pub(super) fn validate(&self, provider: &str, environment: Deployment, problems: &mut Problems) {
        if !is_provider_key(provider) {
            problems.add(
                format!("providers.{provider}"),
                "a provider key is a letter followed by letters, digits or dashes, all lower case",
            );
            return;
        }
        let mut add = |key: &str, message: &str| problems.add(format!("providers.{provider}.{key}"), message);
        let has_secret = self
            .client_secret
            .as_ref()
            .is_some_and(|secret| !secret.is_empty());
        if self.is_configured() && !has_secret && self.client_auth != Some(ClientAuth::None) {
            add("client_secret", "missing, although client_id is given");
        }
        if self.allow_loopback && environment == Deployment::Production {
            add("allow_loopback", "is for development only");
        }
        for (key, endpoint) in self.endpoints() {
            if let Some(variable) = endpoint.variable(provider == "microsoft") {
                add(
                    key,
                    &format!("holds {variable}, and addresses have no variables: write it out"),
                );
            } else if let Err(message) =
                endpoint.check(environment, self.allow_loopback, self.allow_private_network)
            {
                add(key, message);
            }
        }
        if BUILT_IN.contains(&provider) {
            if self.kind.is_some() {
                add("type", "this provider is built in: leave the type out");
            }
        } else {
            self.validate_custom(&mut add);
        }
        for (key, given, of) in [
            ("tenant", self.tenant.is_some(), "microsoft"),
            ("notion_version", self.notion_version.is_some(), "notion"),
            ("capabilities", !self.capabilities.is_empty(), "notion"),
        ] {
            if given && provider != of {
                add(key, &format!("only providers.{of} has it"));
            }
        }
        if self.tenant.as_ref().is_some_and(|tenant| !is_tenant(tenant)) {
            add(
                "tenant",
                "expected a tenant's id or domain, common, organizations or consumers",
            );
        }
        if self.publishing_status.is_some() && !["google", "youtube"].contains(&provider) {
            add(
                "publishing_status",
                "only providers.google and providers.youtube have it",
            );
        }
        for (key, life) in [
            ("keep_alive", self.keep_alive),
            ("refresh_token_lifetime", self.refresh_token_lifetime),
        ] {
            if life.is_some_and(|life| life < LIFE_MIN) {
                add(key, "must be at least 1h");
            }
        }
        if self.max_concurrency == Some(0) {
            add("max_concurrency", "must be at least 1");
        }
        if self
            .rate
            .is_some_and(|rate| !rate.is_finite() || !(RATE_MIN..=RATE_MAX).contains(&rate))
        {
            add("rate", "expected calls per second, between 0.01 and 100000");
        }
        if self
            .client_secret_next
            .as_ref()
            .is_some_and(|secret| !secret.is_empty())
            && !has_secret
        {
            add(
                "client_secret_next",
                "is the second of two: client_secret is missing",
            );
        }
        if self.scope_separator.as_ref().is_some_and(String::is_empty) {
            add("scope_separator", "must not be empty");
        }
        if self
            .account_id_pointer
            .as_ref()
            .is_some_and(|pointer| !pointer.starts_with('/'))
        {
            add("account_id_pointer", "expected a JSON pointer such as \"/id\"");
        }
        authorize_params::validate(
            &self.authorize_params,
            self.authorization_endpoint.as_ref(),
            &mut add,
        );
        if let Some((key, problem)) = self.token_response.problem() {
            add(&format!("token_response.{key}"), problem);
        }
        for (scope, config) in &self.scopes {
            if let Some(problem) = config.problem(scope) {
                add(&format!("scopes.\"{scope}\""), problem);
            }
        }
        for (list, problem) in self.errors.problems() {
            add(&format!("errors.{list}"), &problem);
        }
        for (key, feature) in &self.features {
            let path = format!("features.\"{key}\"");
            if !is_feature_key(provider, key) {
                add(&path, &format!("expected a key such as \"{provider}.profile\""));
            } else if let Some(problem) = feature.problem() {
                add(&path, problem);
            }
        }
    }

    fn validate_custom(&self, add: &mut impl FnMut(&str, &str)) {
        match self.kind {
            None => add(
                "type",
                "missing: \"oidc\" or \"oauth2\" (only google, microsoft, notion and youtube are built in)",
            ),
            Some(ProviderKind::Oidc) => {
                if self.issuer.is_none() {
                    add("issuer", "missing: type \"oidc\" needs it");
                }
            }
            Some(ProviderKind::Oauth2) => {
                for (key, given) in [
                    ("authorization_endpoint", self.authorization_endpoint.is_some()),
                    ("token_endpoint", self.token_endpoint.is_some()),
                    // Whose account it is must be known, and here only these two tell.
                    ("userinfo_endpoint", self.userinfo_endpoint.is_some()),
                    ("account_id_pointer", self.account_id_pointer.is_some()),
                ] {
                    if !given {
                        add(key, "missing: type \"oauth2\" needs it");
                    }
                }
            }
        }
    }
}

/// `[a-z][a-z0-9-]*`
pub fn is_provider_key(key: &str) -> bool {
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    key.len() <= KEY_BYTES_MAX
        && key.starts_with(|first: char| first.is_ascii_lowercase())
        && key.bytes().all(rest)
}

/// It becomes a part of a URL's path.
fn is_tenant(tenant: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    tenant.starts_with(|first: char| first.is_ascii_alphanumeric()) && tenant.bytes().all(plain)
}
