//! What is counted and measured, one function per metric: the names and labels of `/metrics` are all here.
//!
//! Labels are few and bounded (provider, outcome); never a user, an account or a token. A metric that must stay at zero
//! says so: it is a promise watched from inside.

#![expect(
    dead_code,
    reason = "what is promised is named first; each is recorded by its owner"
)]

use std::time::Duration;

use metrics::{counter, gauge, histogram};

use crate::domain::ids::ProviderKey;

/// A question for a token was answered: `issued`, or the code of the refusal.
pub(crate) fn handed_out(provider: &ProviderKey, outcome: &'static str) {
    counter!("oauth_token_requests_total", "provider" => provider.to_string(), "outcome" => outcome)
        .increment(1);
}

/// A token left with less life than was asked for. Must stay at zero.
pub(crate) fn handed_out_below_min_ttl(provider: &ProviderKey) {
    counter!("oauth_tokens_below_min_ttl_total", "provider" => provider.to_string()).increment(1);
}

/// A refresh attempt ended: `refreshed`, or the kind of its failure; and how long the provider took.
pub(crate) fn refreshed(provider: &ProviderKey, outcome: &'static str, took: Duration) {
    counter!("oauth_refreshes_total", "provider" => provider.to_string(), "outcome" => outcome).increment(1);
    histogram!("oauth_refresh_duration_seconds", "provider" => provider.to_string())
        .record(took.as_secs_f64());
}

/// A refresh began this long after it was due.
pub(crate) fn late(provider: &ProviderKey, by: Duration) {
    histogram!("oauth_refresh_lateness_seconds", "provider" => provider.to_string()).record(by.as_secs_f64());
}

/// A refresh token of unknown fate was presented again, as the provider's class allows.
pub(crate) fn presented_again(provider: &ProviderKey, class: &'static str) {
    counter!("oauth_refresh_tokens_presented_again_total", "provider" => provider.to_string(), "class" => class)
        .increment(1);
}

/// A claim was found held by another node.
pub(crate) fn claim_held_elsewhere(provider: &ProviderKey) {
    counter!("oauth_refresh_claims_held_elsewhere_total", "provider" => provider.to_string()).increment(1);
}

/// A late answer was refused by its row: somebody else had moved on.
pub(crate) fn commit_fenced(provider: &ProviderKey) {
    counter!("oauth_refresh_commits_fenced_total", "provider" => provider.to_string()).increment(1);
}

/// A commit could not be made at once and is tried again.
pub(crate) fn commit_retried(provider: &ProviderKey) {
    counter!("oauth_refresh_commits_retried_total", "provider" => provider.to_string()).increment(1);
}

/// Answers in the spool that the database has not taken yet.
pub(crate) fn spool_depth(answers: usize) {
    gauge!("oauth_spool_depth").set(answers as f64);
}

/// An answer could not be put into the spool: it lives in memory alone.
pub(crate) fn spool_failed() {
    counter!("oauth_spool_failures_total").increment(1);
}

/// An answer of the spool was offered to its row: `stored`, or `fenced` where somebody else had moved on.
pub(crate) fn spool_replayed(outcome: &'static str) {
    counter!("oauth_spool_replayed_total", "outcome" => outcome).increment(1);
}

/// The breaker of a provider: 0 closed, 1 open.
pub(crate) fn breaker(provider: &ProviderKey, open: bool) {
    gauge!("oauth_breaker_open", "provider" => provider.to_string()).set(f64::from(u8::from(open)));
}

/// The operator was told of a fault that is theirs to mend.
pub(crate) fn operator_alarm(provider: &ProviderKey) {
    counter!("oauth_operator_alarms_total", "provider" => provider.to_string()).increment(1);
}
