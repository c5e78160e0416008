//! `[log]`: what is said, and in which form.

use serde::Deserialize;

use super::error::Problems;

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Levels by target, as tracing's `EnvFilter` reads them.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl LogConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        // The parser cuts directives at byte positions and panics inside any character of several bytes.
        if !self.filter.is_ascii() || tracing_subscriber::EnvFilter::try_new(&self.filter).is_err() {
            problems.add(
                "log.filter",
                "expected levels by target, such as \"info,oauth_manager=debug\"",
            );
        }
    }
}
