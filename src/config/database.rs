//! `[database]`: the one Postgres, and how long we wait for it.

use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::error::Problems;
use super::secret::SecretString;

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host/database`; see [`DatabaseConfig::url`].
    pub(super) url: Option<SecretString>,
    /// Connections in the pool.
    pub max_connections: usize,
    /// To open a connection.
    #[serde(deserialize_with = "duration::required")]
    pub connect_timeout: Duration,
    /// To get a connection from the pool.
    #[serde(deserialize_with = "duration::required")]
    pub wait_timeout: Duration,
    /// For one statement.
    #[serde(deserialize_with = "duration::required")]
    pub statement_timeout: Duration,
}

impl DatabaseConfig {
    /// Where the database is. Holds a password; empty only before validation.
    pub fn url(&self) -> &str {
        self.url.as_ref().map_or("", SecretString::expose)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        if self.url().is_empty() {
            problems.add("database.url", "missing (or set DATABASE_URL)");
        }
        // What is in it is the storage's to read: it knows more of it than the driver does.
        if self.max_connections == 0 {
            problems.add("database.max_connections", "must be at least 1");
        }
        for (key, timeout) in [
            ("database.connect_timeout", self.connect_timeout),
            ("database.wait_timeout", self.wait_timeout),
            ("database.statement_timeout", self.statement_timeout),
        ] {
            if timeout.is_zero() {
                problems.add(key, "must be longer than zero");
            }
        }
    }
}
