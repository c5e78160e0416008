//! What the actors count and measure, one function per metric: their names and labels are all here.
//!
//! Labels are few and bounded (provider, outcome); never a user, an account or a token. A metric that must stay at zero
//! says so: it is a promise watched from inside. What runs with every hand-out keeps its handles in [`Measures`], made
//! once: looking a metric up by name costs more than counting it.

use std::time::Duration;

use metrics::{Counter, counter, gauge, histogram};

use crate::{
    domain::{Timestamp, ids::ProviderKey, integration::StoredIntegration, metric::Metric},
    shared::{after, until},
};

/// A token is checked a moment after it was chosen: this much less life is no broken promise.
const CHECK_SLACK: Duration = Duration::from_secs(1);

/// Every metric of the actors.
pub const METRICS: &[Metric] = &[
    Metric::counter(
        "oauth_token_requests_total",
        "Questions for a token, by provider and outcome: issued, or the code of the refusal.",
    ),
    Metric::counter(
        "oauth_tokens_below_min_ttl_total",
        "Tokens handed out with less life than was asked for. Must stay at zero.",
    ),
    Metric::counter(
        "oauth_refreshes_total",
        "Calls to a provider's token endpoint to refresh, by provider and outcome: refreshed, or the kind of the failure.",
    ),
    Metric::histogram(
        "oauth_refresh_duration_seconds",
        "How long the provider took to answer a refresh.",
        &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0],
    ),
    Metric::histogram(
        "oauth_refresh_lateness_seconds",
        "How long after it was due a refresh's call began.",
        &[0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0],
    ),
    Metric::counter(
        "oauth_refresh_tokens_presented_again_total",
        "Refresh tokens of unknown fate that were presented again, as the provider's class allows.",
    ),
    Metric::counter(
        "oauth_refresh_claims_held_elsewhere_total",
        "Refreshes not begun because another attempt held the claim.",
    ),
    Metric::counter(
        "oauth_refresh_commits_fenced_total",
        "Late answers refused by their row, because somebody else had moved on.",
    ),
    Metric::counter(
        "oauth_refresh_commits_retried_total",
        "Commits that could not be made at once and were tried again.",
    ),
    Metric::counter(
        "oauth_rows_unopenable_total",
        "Rows that could not be opened with the configured keys.",
    ),
    Metric::gauge(
        "oauth_spool_depth",
        "Answers in the spool that the database has not taken yet.",
    ),
    Metric::counter(
        "oauth_spool_failures_total",
        "Answers that could not be put into the spool and lived in memory alone.",
    ),
    Metric::counter(
        "oauth_spool_replayed_total",
        "Answers of the spool offered to their row, by outcome.",
    ),
    Metric::counter(
        "oauth_spool_set_aside_total",
        "Answers that the database refuses for good and that stay in the spool.",
    ),
    Metric::gauge(
        "oauth_breaker_open",
        "Whether the provider's circuit breaker is open: 0 closed, 1 open.",
    ),
    Metric::counter(
        "oauth_operator_alarms_total",
        "Faults that are the operator's to mend, told once each.",
    ),
    Metric::counter(
        "oauth_actor_restarts_total",
        "Accounts' actors that failed: each is a defect.",
    ),
    Metric::counter(
        "oauth_permanent_actor_restarts_total",
        "Permanent actors that failed: each is a defect.",
    ),
    Metric::counter(
        "oauth_audit_write_failures_total",
        "Batches of hand-out records that could not be written at once.",
    ),
];

// === hand-outs ===

/// The handles of one provider's hand-outs.
pub(crate) struct Measures {
    issued: Counter,
    below_min_ttl: Counter,
}

impl Measures {
    /// Makes them, and with them this provider's series, at zero: an alert on a rise needs something to rise from.
    pub(crate) fn of(provider: &ProviderKey) -> Self {
        let name = provider.to_string();
        counter!("oauth_refresh_commits_fenced_total", "provider" => name.clone()).increment(0);
        counter!("oauth_refresh_commits_retried_total", "provider" => name.clone()).increment(0);
        counter!("oauth_refresh_claims_held_elsewhere_total", "provider" => name.clone()).increment(0);
        counter!("oauth_rows_unopenable_total", "provider" => name.clone()).increment(0);
        counter!("oauth_operator_alarms_total", "provider" => name.clone()).increment(0);
        counter!("oauth_actor_restarts_total", "provider" => name.clone()).increment(0);
        counter!("oauth_spool_failures_total").increment(0);
        counter!("oauth_spool_set_aside_total").increment(0);
        breaker(provider, false);
        Self {
            issued: requests(provider, "issued"),
            below_min_ttl: counter!("oauth_tokens_below_min_ttl_total", "provider" => name),
        }
    }

    /// A question for a token was answered: with one, or with the code of the refusal.
    pub(crate) fn answered(&self, provider: &ProviderKey, refusal: Option<&'static str>) {
        match refusal {
            None => self.issued.increment(1),
            Some(code) => requests(provider, code).increment(1),
        }
    }

    /// A token leaves. `false`: with less life than was asked for, which must never be.
    pub(crate) fn keeps_its_promise(
        &self,
        expires_at: Option<Timestamp>,
        min_ttl: Option<Duration>,
        now: Timestamp,
    ) -> bool {
        let kept =
            expires_at.is_none_or(|end| after(end, CHECK_SLACK) > after(now, min_ttl.unwrap_or_default()));
        if !kept {
            self.below_min_ttl.increment(1);
        }
        kept
    }
}

impl std::fmt::Debug for Measures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

fn requests(provider: &ProviderKey, outcome: &'static str) -> Counter {
    counter!("oauth_token_requests_total", "provider" => provider.to_string(), "outcome" => outcome)
}

// === refreshes ===

/// A refresh's call ended: `refreshed`, or the kind of its failure; and how long the provider took.
pub(crate) fn refreshed(provider: &ProviderKey, outcome: &'static str, took: Duration) {
    counter!("oauth_refreshes_total", "provider" => provider.to_string(), "outcome" => outcome).increment(1);
    histogram!("oauth_refresh_duration_seconds", "provider" => provider.to_string())
        .record(took.as_secs_f64());
}

/// A refresh's call begins: late, if the row says that it was due before.
pub(crate) fn begins(row: &StoredIntegration, now: Timestamp) {
    let due = row.grant.as_ref().and_then(|grant| grant.next_refresh_at);
    if let Some(due) = due.filter(|due| *due <= now) {
        late(&row.id.provider, until(due, now));
    }
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

/// A row does not open with the configured keys.
pub(crate) fn row_unopenable(provider: &ProviderKey) {
    counter!("oauth_rows_unopenable_total", "provider" => provider.to_string()).increment(1);
}

// === the spool ===

/// Answers in the spool that the database has not taken yet.
pub(crate) fn spool_depth(answers: usize) {
    gauge!("oauth_spool_depth").set(answers as f64);
}

/// An answer could not be put into the spool: it lives in memory alone.
pub(crate) fn spool_failed() {
    counter!("oauth_spool_failures_total").increment(1);
}

/// An answer stays in the spool because the database refuses it for good.
pub(crate) fn spool_set_aside() {
    counter!("oauth_spool_set_aside_total").increment(1);
}

/// An answer of the spool was offered to its row: `stored`, or `fenced` where somebody else had moved on.
pub(crate) fn spool_replayed(outcome: &'static str) {
    counter!("oauth_spool_replayed_total", "outcome" => outcome).increment(1);
}

// === the way out ===

/// The breaker of a provider: 0 closed, 1 open.
pub(crate) fn breaker(provider: &ProviderKey, open: bool) {
    gauge!("oauth_breaker_open", "provider" => provider.to_string()).set(f64::from(u8::from(open)));
}

/// The operator was told of a fault that is theirs to mend.
pub(crate) fn operator_alarm(provider: &ProviderKey) {
    counter!("oauth_operator_alarms_total", "provider" => provider.to_string()).increment(1);
}

// === actors and records ===

/// An account's actor failed.
pub(crate) fn actor_failed(provider: &ProviderKey) {
    counter!("oauth_actor_restarts_total", "provider" => provider.to_string()).increment(1);
}

/// A permanent actor failed.
pub(crate) fn permanent_actor_failed(kind: &'static str) {
    counter!("oauth_permanent_actor_restarts_total", "actor" => kind).increment(1);
}

/// Hand-out records could not be written at once.
pub(crate) fn audit_not_written() {
    counter!("oauth_audit_write_failures_total").increment(1);
}
