//! `[spool]`: where answers of providers wait for the database.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::Problems;
use super::server::Deployment;

/// Where a service keeps what outlives it, by the custom of the systems it runs on.
const DEFAULT: &str = "/var/lib/oauth-manager/spool";
/// A developer has no rights there.
const DEFAULT_IN_DEVELOPMENT: &str = ".dev/spool";

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// See [`SpoolConfig::directory`].
    directory: Option<PathBuf>,
}

impl SpoolConfig {
    /// The directory: the one given, or the usual one.
    pub fn directory(&self, environment: Deployment) -> &Path {
        let usual = match environment {
            Deployment::Production => DEFAULT,
            Deployment::Development => DEFAULT_IN_DEVELOPMENT,
        };
        self.directory.as_deref().unwrap_or(Path::new(usual))
    }

    pub(super) fn validate(&self, environment: Deployment, problems: &mut Problems) {
        let Some(directory) = &self.directory else {
            return;
        };
        if directory.as_os_str().is_empty() {
            problems.add("spool.directory", "must not be empty");
        } else if directory.is_relative() && environment == Deployment::Production {
            // Started from elsewhere, it would not find what it left.
            problems.add("spool.directory", "must begin with / (but in development)");
        }
    }
}
