//! `[consents]`: how long what users agree to holds, and which version of the words they agree to.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::duration;
use super::error::Problems;

/// The section.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsentsConfig {
    /// `"365d"`; absent: until taken back.
    #[serde(default, deserialize_with = "duration::optional")]
    pub lifetime: Option<Duration>,
    /// `"google.calendar" = "2.0"`: instead of the catalogue's version, or the first.
    #[serde(default)]
    pub wording: BTreeMap<String, String>,
}

impl ConsentsConfig {
    pub(super) fn validate<'a>(&self, providers: impl Iterator<Item = &'a str>, problems: &mut Problems) {
        if self.lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            problems.add("consents.lifetime", "must be longer than zero");
        }
        let providers: Vec<_> = providers.collect();
        for (feature, version) in &self.wording {
            let path = format!("consents.wording.\"{feature}\"");
            let provider = feature.split_once('.').map_or("", |(provider, _)| provider);
            if !providers.contains(&provider) {
                problems.add(&path, "is no feature of a provider of this configuration");
            }
            let is_number =
                |part: &str| part.bytes().all(|b| b.is_ascii_digit()) && part.parse::<u32>().is_ok();
            if !version
                .split_once('.')
                .is_some_and(|(major, minor)| is_number(major) && is_number(minor))
            {
                problems.add(&path, "must be two numbers, \"2.0\"");
            }
        }
    }
}
