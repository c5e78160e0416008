//! `[timings]`: the deadlines that depend on each other.

use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::error::Problems;

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimingsConfig {
    /// How long a node's claim on a refresh lasts.
    #[serde(deserialize_with = "duration::required")]
    pub refresh_lease: Duration,
    /// One call to a provider, all told.
    #[serde(deserialize_with = "duration::required")]
    pub provider_deadline: Duration,
    /// How long a user's or service's wish for a refresh is answered with what the last one came to.
    #[serde(deserialize_with = "duration::required")]
    pub forced_refresh_interval: Duration,
    /// From the signal to the hard stop.
    #[serde(deserialize_with = "duration::required")]
    pub shutdown_grace: Duration,
    /// How long the listener stays open after `/ready` has begun to fail; see [`TimingsConfig::shutdown_delay`].
    #[serde(default, deserialize_with = "duration::optional")]
    shutdown_delay: Option<Duration>,
    /// How long a user may take to consent.
    #[serde(deserialize_with = "duration::required")]
    pub authorization_ttl: Duration,
}

/// Balancers look at `/ready` every few seconds at most; one that has not looked yet still sends requests.
const SHUTDOWN_DELAY: Duration = Duration::from_secs(2);

impl TimingsConfig {
    /// How long the listener stays open after `/ready` has begun to fail, so that nobody is sent to a closed door. In
    /// development nobody looks.
    pub fn shutdown_delay(&self, development: bool) -> Duration {
        let usual = if development {
            Duration::ZERO
        } else {
            SHUTDOWN_DELAY
        };
        self.shutdown_delay.unwrap_or(usual).min(self.shutdown_grace / 2)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        for (key, value) in [
            ("timings.refresh_lease", self.refresh_lease),
            ("timings.provider_deadline", self.provider_deadline),
            ("timings.shutdown_grace", self.shutdown_grace),
            ("timings.authorization_ttl", self.authorization_ttl),
        ] {
            if value.is_zero() {
                problems.add(key, "must be longer than zero");
            }
        }
        // The other half of the lease is for committing what the provider answered.
        if self.provider_deadline * 2 >= self.refresh_lease {
            problems.add(
                "timings.provider_deadline",
                "must be less than half of timings.refresh_lease",
            );
        }
        if self
            .shutdown_delay
            .is_some_and(|delay| delay * 2 > self.shutdown_grace)
        {
            problems.add(
                "timings.shutdown_delay",
                "must be at most half of timings.shutdown_grace",
            );
        }
        if self.forced_refresh_interval > Duration::from_hours(1) {
            problems.add("timings.forced_refresh_interval", "must be at most 1h");
        }
        if self.authorization_ttl > Duration::from_hours(1) {
            problems.add("timings.authorization_ttl", "must be at most 1h");
        }
    }
}
