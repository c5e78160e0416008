//! Configuration: one file per section.
//!
//! Layers, each over the one before: `default.toml` (which is also the reference), the operator's TOML file, well-known
//! variables (`DATABASE_URL` and kin), variables named `OAUTH_MANAGER__SECTION__KEY`. An unknown key, a value that does
//! not fit and an unsafe combination refuse the start, each with one line that names the key.

mod auth;
mod authorize_params;
mod consents;
mod credential;
mod database;
mod duration;
mod encryption;
mod endpoint;
mod environment;
mod error;
mod feature;
mod files;
mod limits;
mod list;
mod log;
mod origin;
mod provider;
mod provider_errors;
mod proxy;
mod residency;
mod return_url;
mod secret;
mod server;
mod spool;
#[cfg(test)]
mod tests;
mod timings;
mod token_response;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::Deserialize;

pub use auth::AuthConfig;
pub use consents::ConsentsConfig;
pub use database::DatabaseConfig;
pub use duration::parse as duration;
pub use encryption::{DEFAULT_KEY_ID, EncryptionConfig, EncryptionKey, KEY_BYTES};
pub use endpoint::Endpoint;
pub use environment::{Environment, ProcessEnvironment};
pub use error::{ConfigError, Problem, Problems};
pub use feature::{FeatureConfig, ScopeConfig};
pub use limits::LimitsConfig;
pub use log::{LogConfig, LogFormat};
pub use origin::Origin;
pub use provider::{
    BUILT_IN, ClientAuth, Pkce, ProviderConfig, ProviderKind, PublishingStatus, RefreshClass, is_provider_key,
};
pub use provider_errors::{ErrorSign, ProviderErrors, SignValue};
pub use proxy::TrustedProxy;
pub use residency::{IdleAfter, ResidencyConfig};
pub use return_url::ReturnUrl;
pub use secret::SecretString;
pub use server::{Deployment, ServerConfig};
pub use spool::SpoolConfig;
pub use timings::TimingsConfig;
pub use token_response::{MemberNames, Nonce, TokenResponseConfig};

/// The defaults, commented: the reference of every key.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Names the configuration file when the command line does not.
pub const FILE_VARIABLE: &str = "OAUTH_MANAGER_CONFIG";

/// A configuration that has passed every check.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where we listen, who we are to browsers, whom we answer.
    pub server: ServerConfig,
    /// The one Postgres.
    pub database: DatabaseConfig,
    /// The keyring.
    pub encryption: EncryptionConfig,
    /// How the application's users prove who they are.
    pub auth: AuthConfig,
    /// By key: built-in providers and the operator's own.
    #[serde(default)]
    pub providers: BTreeMap<String, ProviderConfig>,
    /// How long consents hold.
    #[serde(default)]
    pub consents: ConsentsConfig,
    /// How long idle integrations stay in memory.
    pub residency: ResidencyConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// Where answers wait for the database.
    pub spool: SpoolConfig,
    /// Deadlines that depend on each other.
    pub timings: TimingsConfig,
    /// What is logged.
    pub log: LogConfig,
    /// The merged layers without their secrets.
    #[serde(skip)]
    redacted: String,
}

impl Config {
    /// Reads every layer and checks the result. `path` comes from the command line; without it the file is the one
    /// that `OAUTH_MANAGER_CONFIG` names, if any.
    pub fn load(path: Option<&Path>, env: &dyn Environment) -> Result<Self, ConfigError> {
        let vars = env.vars();
        let named = || {
            vars.get(FILE_VARIABLE)
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
        };
        let file = match path.map(Path::to_path_buf).or_else(named) {
            Some(path) => {
                let text = fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable {
                    path: path.clone(),
                    source,
                })?;
                parse_toml(&text, &path)?
            }
            None => Dict::new(),
        };
        Self::from_layers(file, &vars)
    }

    /// The same for TOML that is not in a file: development mode writes its own.
    pub fn from_toml(text: &str, env: &dyn Environment) -> Result<Self, ConfigError> {
        Self::from_layers(parse_toml(text, Path::new("configuration"))?, &env.vars())
    }

    fn from_layers(file: Dict, vars: &BTreeMap<String, String>) -> Result<Self, ConfigError> {
        let defaults = parse_toml(DEFAULT_TOML, Path::new("default.toml"))?;
        let (mut figment, mut origins) = (Figment::new(), files::Origins::new());
        let none = files::Origins::new;
        for (name, mut layer, read) in [
            ("defaults", defaults, none()),
            ("file", file, none()),
            (
                "well-known variables",
                environment::well_known(vars)?,
                environment::well_known_files(vars),
            ),
            ("variables", environment::prefixed(vars)?, none()),
        ] {
            files::resolve(&mut layer, &mut origins)?;
            origins.extend(read);
            figment = figment.merge(Layer { name, layer });
        }
        // Lossy: a number or a boolean may be written as text, as variables must.
        let mut config: Self = figment.extract_lossy()?;
        for ((provider, key), file) in origins {
            if let Some(provider) = config.providers.get_mut(&provider) {
                provider.note_origin(key, &file);
            }
        }
        config.providers.values_mut().for_each(credential::trim_provider);
        credential::trim_database(&mut config.database);
        config.validate()?;
        config.redacted = redacted(&figment)?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let environment = self.server.environment;
        let mut problems = Problems::default();
        self.server.validate(&mut problems);
        self.database.validate(&mut problems);
        self.encryption.validate(environment, &mut problems);
        self.auth.validate(environment, &mut problems);
        for (key, provider) in &self.providers {
            provider.validate(key, environment, &mut problems);
        }
        self.consents
            .validate(self.providers.keys().map(String::as_str), &mut problems);
        self.residency.validate(&mut problems);
        self.limits.validate(&mut problems);
        self.spool.validate(environment, &mut problems);
        self.timings.validate(&mut problems);
        self.log.validate(&mut problems);
        problems.into_result()
    }

    /// The providers users can connect to.
    pub fn configured_providers(&self) -> impl Iterator<Item = (&str, &ProviderConfig)> {
        let configured = self
            .providers
            .iter()
            .filter(|(_, provider)| provider.is_configured());
        configured.map(|(key, provider)| (key.as_str(), provider))
    }

    /// Every value in effect as TOML, secrets replaced by a marker.
    pub fn redacted_toml(&self) -> &str {
        &self.redacted
    }
}

/// One layer, as figment wants it.
struct Layer {
    name: &'static str,
    layer: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.layer.clone()))
    }
}

/// Parsed here and not by figment, whose error would quote the line, and with it perhaps a secret.
fn parse_toml(text: &str, path: &Path) -> Result<Dict, ConfigError> {
    let table: toml::Table = toml::from_str(text).map_err(|error: toml::de::Error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        ConfigError::Syntax {
            path: path.to_path_buf(),
            line: before.matches('\n').count() + 1,
            message: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
        }
    })?;
    match Value::serialize(table)? {
        Value::Dict(_, dict) => Ok(dict),
        _ => Ok(Dict::new()),
    }
}

fn redacted(figment: &Figment) -> Result<String, ConfigError> {
    let mut merged: Dict = figment.extract()?;
    files::redact(&mut merged);
    let unprintable = |error: toml::ser::Error| ConfigError::one("configuration", error.to_string());
    let table = toml::Value::try_from(&merged).map_err(unprintable)?;
    toml::to_string_pretty(&table).map_err(unprintable)
}
