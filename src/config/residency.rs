//! `[residency]`: how long an idle integration stays in memory.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use super::duration;
use super::error::Problems;

/// When an integration falls asleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleAfter {
    /// All stay awake.
    Never,
    /// After this long without a request.
    After(Duration),
}

impl<'de> Deserialize<'de> for IdleAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim() == "never" {
            return Ok(Self::Never);
        }
        duration::parse(&text)
            .map(Self::After)
            .map_err(serde::de::Error::custom)
    }
}

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResidencyConfig {
    /// `"10m"`, or `"never"`.
    pub idle_after: IdleAfter,
}

impl ResidencyConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if matches!(self.idle_after, IdleAfter::After(after) if after.is_zero()) {
            problems.add("residency.idle_after", "must be longer than zero, or \"never\"");
        }
    }
}
