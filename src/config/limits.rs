//! `[limits]`: what one address, user or service may take of us.

use serde::Deserialize;

use super::error::Problems;

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    /// The part of all connections that one address may have.
    pub connections_per_address_percent: u8,
    /// Requests answered at once.
    pub requests: usize,
    /// Of them, for one user.
    pub requests_per_user: usize,
    /// Of them, for one service.
    pub requests_per_service: usize,
    /// How often one user may ask.
    pub user_requests_per_minute: u32,
    /// How many connect flows one service may begin.
    pub service_flows_per_minute: u32,
    /// How often one address may fail.
    pub failures_per_minute: u32,
}

/// More than one process has anything to set against.
const REQUESTS_MAX: usize = 1_000_000;

impl LimitsConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if !(1..=100).contains(&self.connections_per_address_percent) {
            problems.add(
                "limits.connections_per_address_percent",
                "must be between 1 and 100",
            );
        }
        if !(1..=REQUESTS_MAX).contains(&self.requests) {
            problems.add("limits.requests", "must be between 1 and 1000000");
        }
        for (key, value) in [
            ("limits.requests_per_user", self.requests_per_user),
            ("limits.requests_per_service", self.requests_per_service),
        ] {
            if !(1..=self.requests).contains(&value) {
                problems.add(key, "must be at least 1 and at most limits.requests");
            }
        }
        for (key, value) in [
            ("limits.user_requests_per_minute", self.user_requests_per_minute),
            ("limits.service_flows_per_minute", self.service_flows_per_minute),
            ("limits.failures_per_minute", self.failures_per_minute),
        ] {
            if value == 0 {
                problems.add(key, "must be at least 1");
            }
        }
    }
}
