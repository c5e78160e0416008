//! `[auth]`: how the application's users prove who they are.

use std::time::Duration;

use serde::Deserialize;

use super::credential;
use super::duration;
use super::endpoint::Endpoint;
use super::error::Problems;
use super::secret::SecretString;
use super::server::Deployment;

/// RFC 7518 section 3.2: a key of the hash's size or larger.
const HS256_SECRET_BYTES_MIN: usize = 32;
/// Clocks differ by seconds; more would only lengthen the life of stolen tokens.
const LEEWAY_MAX: Duration = Duration::from_mins(5);

/// The section. Exactly one of the two ways is given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// The secret shared with the application.
    pub hs256_secret: Option<SecretString>,
    /// Where the application's public keys are.
    pub jwks_url: Option<Endpoint>,
    /// The `iss` every token must have.
    pub issuer: Option<String>,
    /// The `aud` every token must have.
    pub audience: Option<String>,
    /// How far clocks may differ.
    #[serde(deserialize_with = "duration::required")]
    pub leeway: Duration,
}

impl AuthConfig {
    pub(super) fn validate(&self, environment: Deployment, problems: &mut Problems) {
        let production = environment == Deployment::Production;
        match (&self.hs256_secret, &self.jwks_url) {
            (Some(_), Some(_)) => {
                problems.add(
                    "auth.hs256_secret",
                    "give either hs256_secret or jwks_url, not both",
                );
            }
            (None, None) if production => {
                problems.add("auth.hs256_secret", "missing (or give auth.jwks_url)");
            }
            _ => {}
        }
        if let Some(secret) = &self.hs256_secret
            && (secret.is_empty() || (production && secret.expose().len() < HS256_SECRET_BYTES_MIN))
        {
            problems.add("auth.hs256_secret", "too short: at least 32 bytes");
        }
        // The application has it, too: with the blank or without is not ours to guess.
        if let Some(secret) = &self.hs256_secret
            && credential::has_blanks_around(secret.expose())
        {
            problems.add(
                "auth.hs256_secret",
                "begins or ends with a blank: take it off, here and in the application",
            );
        }
        // The application may well be on the operator's own network.
        if let Some(url) = &self.jwks_url
            && let Err(message) = url.check(environment, true, true)
        {
            problems.add("auth.jwks_url", message);
        }
        if self.leeway > LEEWAY_MAX {
            problems.add("auth.leeway", "must be at most 5m");
        }
    }
}
