//! How a simulator is set up, and what may be changed while it runs.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::account::Account;
use super::provider::Provider;

/// Requests remembered before the oldest are forgotten: enough for a thousand flows at once, bounded for long runs.
const RECORDED_REQUESTS_MAX: usize = 50_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    /// Show a page with a box per scope.
    #[default]
    Ask,
    /// Grant everything at once and redirect back.
    Auto,
}

#[derive(Debug, Clone)]
pub struct SimulatorConfig {
    /// Where clients reach the simulator; by default the listener's own address.
    pub public_url: Option<Url>,
    pub settings: Settings,
    /// Applications the providers know. A provider without any gets a built-in one.
    pub clients: Vec<Client>,
    /// People besides the three that every provider knows.
    pub accounts: Vec<(Provider, Account)>,
    pub recorded_requests_max: usize,
    /// The file in which what the providers know outlives the simulator; `None`: it is forgotten.
    pub kept_in: Option<PathBuf>,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            public_url: None,
            settings: Settings::default(),
            clients: Vec::new(),
            accounts: Vec::new(),
            recorded_requests_max: RECORDED_REQUESTS_MAX,
            kept_in: None,
        }
    }
}

/// What tests and humans may change at any time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub consent: Consent,
    /// Replaces every provider's own lifetime. Notion's tokens have none and stay so.
    #[serde(with = "duration_in_seconds")]
    pub access_token_lifetime: Option<Duration>,
    /// Whether refresh answers carry an ID token too. Providers do so only sometimes, and a signature costs more than
    /// the rest of the answer.
    pub id_token_on_refresh: bool,
    /// Google forgets the oldest refresh token of an account and client beyond this many.
    pub google_refresh_tokens_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            consent: Consent::Ask,
            access_token_lifetime: None,
            id_token_on_refresh: false,
            google_refresh_tokens_max: 100,
        }
    }
}

/// An application registered at a provider.
#[derive(Debug, Clone)]
pub struct Client {
    pub provider: Provider,
    pub client_id: String,
    pub client_secret: String,
    pub display_name: String,
    pub redirect_uris: RedirectUris,
    /// What becomes of a refresh token that was used. Only the generic OpenID provider asks: the others have rules of
    /// their own.
    pub rotation: Rotation,
    /// Replaces the lifetime of the settings for this application's access tokens. Only the generic provider asks.
    pub access_token_lifetime: Option<Duration>,
}

/// What becomes of a refresh token that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// It is replaced, and presenting it again ends its family (RFC 9700, 4.14.2).
    #[default]
    Strict,
    /// It is replaced. Presenting it again within this time gives the same successor, later it ends the family.
    Grace(Duration),
    /// It stays.
    Never,
}

#[derive(Debug, Clone)]
pub enum RedirectUris {
    /// Any http(s) URI whose host is this machine.
    AnyLoopback,
    /// These, character for character.
    Exactly(Vec<String>),
}

impl RedirectUris {
    pub fn allow(&self, redirect_uri: &str) -> bool {
        match self {
            Self::Exactly(registered) => registered.iter().any(|known| known == redirect_uri),
            Self::AnyLoopback => Url::parse(redirect_uri).is_ok_and(|uri| {
                let loopback = match uri.host() {
                    Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
                    Some(url::Host::Ipv4(address)) => address.is_loopback(),
                    Some(url::Host::Ipv6(address)) => address.is_loopback(),
                    None => false,
                };
                loopback && matches!(uri.scheme(), "http" | "https") && uri.fragment().is_none()
            }),
        }
    }
}

impl Client {
    /// The application every provider knows when the configuration names none. The secrets hold characters that must be
    /// encoded in Basic authentication and forms, as real ones do.
    pub fn built_in(provider: Provider) -> Self {
        let (client_id, client_secret) = match provider {
            Provider::Google => (
                "407408718192-simulator.apps.googleusercontent.com",
                "GOCSPX-simulator_Google-0",
            ),
            Provider::YouTube => (
                "407408718193-simulator.apps.googleusercontent.com",
                "GOCSPX-simulator_YouTube-0",
            ),
            Provider::Microsoft => (
                "6731de76-14a6-49ae-97bc-6eba6914391e",
                "Sim8Q~needs+encoding/100%=&.yes",
            ),
            Provider::Notion => (
                "2f1d872b-594c-8015-9a3e-0037c1e5f000",
                "secret_SimulatorNotion0000000000000000000000",
            ),
            Provider::Oidc => ("simulator-client", "simulator secret: with space, colon & more"),
        };
        Self {
            provider,
            client_id: client_id.to_owned(),
            client_secret: client_secret.to_owned(),
            display_name: "Demo application".to_owned(),
            redirect_uris: RedirectUris::AnyLoopback,
            rotation: Rotation::Strict,
            access_token_lifetime: None,
        }
    }
}

/// Lifetimes travel as seconds over the control API, fractions allowed.
mod duration_in_seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        duration
            .map(|duration| duration.as_secs_f64())
            .serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Option::<f64>::deserialize(deserializer)?
            .map(|seconds| Duration::try_from_secs_f64(seconds).map_err(D::Error::custom))
            .transpose()
    }
}
