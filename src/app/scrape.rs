//! What is measured when it is asked for: the state of actors, pools and the database, beside what is counted as it
//! happens. And the operator's listener, where all of it is read.

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusHandle;
use oauth_manager_actors::{
    domain::{Timestamp, metric::Metric},
    handle::OAuthManager,
    measure,
};
use tokio_util::sync::CancellationToken;

use super::Assembly;
use crate::{http, storage, telemetry::TelemetryError, telemetry::prometheus};

/// How often what was measured is folded into its buckets: until then every measurement is kept.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// How often accounts are counted: it reads an index from end to end.
const CENSUS_INTERVAL: Duration = Duration::from_secs(60);
/// Longest a scrape waits for the actors; what they do not tell in time keeps its last value.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is asked for at a scrape, or counted from time to time.
const METRICS: &[Metric] = &[
    Metric::gauge("oauth_build_info", "1, with the program's version."),
    Metric::gauge(
        "process_start_time_seconds",
        "When this process started, in seconds since 1970.",
    ),
    Metric::gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in RAM.",
    ),
    Metric::gauge(
        "oauth_actors",
        "Accounts' actors of this node, by provider and state: awake, in_transit, quarantined.",
    ),
    Metric::gauge(
        "oauth_egress_in_flight",
        "Calls to a provider under way from this node; providers of one budget show the same.",
    ),
    Metric::gauge(
        "oauth_egress_queued",
        "Calls to a provider that wait for leave on this node; providers of one budget show the same.",
    ),
    Metric::gauge(
        "oauth_integrations",
        "Connected accounts, by provider and status, counted once a minute.",
    ),
    Metric::gauge(
        "oauth_due_backlog",
        "Accounts whose work is due and not claimed, counted once a minute, up to 100000.",
    ),
    Metric::gauge(
        "oauth_due_oldest_age_seconds",
        "How long the longest waiting of them is due.",
    ),
    Metric::gauge(
        "oauth_scheduler_look_age_seconds",
        "How long ago this node last looked for due work.",
    ),
    Metric::gauge(
        "oauth_scheduler_blind",
        "Whether that look failed: the database could not be asked.",
    ),
    Metric::gauge(
        "oauth_database_up",
        "Whether the database answers and its schema is this program's.",
    ),
    Metric::gauge(
        "oauth_database_writable",
        "Whether the database takes writes, as this node last tried: 0 for one that is read-only or full.",
    ),
    Metric::gauge(
        "oauth_provider_problem",
        "Whether something keeps a provider from being used that the operator must mend.",
    ),
    Metric::gauge(
        "oauth_database_connections",
        "Connections of this node's pool, by state: open, idle, max.",
    ),
    Metric::gauge("oauth_database_waiting", "Statements that wait for a connection."),
    Metric::gauge(
        "oauth_audit_in_flight",
        "Hand-out records on their way to the sink; hand-outs are refused at 16384.",
    ),
    Metric::gauge(
        "oauth_audit_pending_rows",
        "Rows of hand-out records held in memory; hand-outs are refused at 100000.",
    ),
    Metric::gauge(
        "oauth_effects_in_flight",
        "Refreshes, look-ups and flows under way on this node.",
    ),
    Metric::counter("oauth_scrapes_total", "Scrapes of this listener."),
];

/// Every metric of the program.
const TABLES: &[&[Metric]] = &[measure::METRICS, http::METRICS, storage::METRICS, METRICS];

/// Every metric of the program, by name and in no order.
pub fn documented_metrics() -> Vec<&'static str> {
    TABLES
        .iter()
        .flat_map(|table| table.iter().map(|metric| metric.name))
        .collect()
}

/// Keeps what is measured from now on. Before the actors start: they take their counters along.
///
/// # Errors
/// Another recorder is there already.
pub(super) fn record() -> Result<PrometheusHandle, TelemetryError> {
    prometheus::install(TABLES)
}

/// What the listener answers.
pub(super) fn scrape(
    recorder: PrometheusHandle,
    manager: OAuthManager,
    assembly: Assembly,
    started_at: Timestamp,
) -> http::Scrape {
    Arc::new(move || {
        let (recorder, manager, assembly) = (recorder.clone(), manager.clone(), assembly.clone());
        Box::pin(async move {
            take_stock(&manager, &assembly, started_at).await;
            recorder.render()
        })
    })
}

/// Keeps what was measured small, and counts accounts from time to time, until told to stop.
pub(super) async fn upkeep(recorder: PrometheusHandle, manager: OAuthManager, stop: CancellationToken) {
    let fold = async {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            recorder.run_upkeep();
        }
    };
    let count = async {
        // Soon after the start, then from time to time.
        let mut pause = UPKEEP_INTERVAL / 5;
        loop {
            tokio::time::sleep(pause).await;
            pause = if count_accounts(&manager).await {
                CENSUS_INTERVAL
            } else {
                UPKEEP_INTERVAL
            };
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = fold => {}
        () = count => {}
    }
}

/// `false`: the database could not be asked, and what was counted before stands.
async fn count_accounts(manager: &OAuthManager) -> bool {
    use oauth_manager_actors::domain::integration::Status;
    let Ok(census) = manager.census().await else {
        return false;
    };
    for provider in manager.providers() {
        for status in [
            Status::Pending,
            Status::Active,
            Status::Degraded,
            Status::ReauthRequired,
            Status::Paused,
            Status::Revoked,
        ] {
            let accounts = census
                .accounts
                .iter()
                .find(|accounts| accounts.provider == provider.key && accounts.status == status);
            gauge!("oauth_integrations", "provider" => provider.key.to_string(), "status" => status.as_str())
                .set(accounts.map_or(0.0, |accounts| accounts.count as f64));
        }
    }
    gauge!("oauth_due_backlog").set(census.due as f64);
    let age = census
        .due_since
        .map_or(0.0, |since| manager.age_of(since).as_secs_f64());
    gauge!("oauth_due_oldest_age_seconds").set(age);
    true
}

async fn take_stock(manager: &OAuthManager, assembly: &Assembly, started_at: Timestamp) {
    counter!("oauth_scrapes_total").increment(1);
    gauge!("oauth_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("process_start_time_seconds").set(started_at.as_millisecond() as f64 / 1000.0);
    if let Some(bytes) = resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    let (readiness, actors) = tokio::join!(
        manager.ready(),
        tokio::time::timeout(PATIENCE, manager.actors_overview())
    );
    gauge!("oauth_database_up").set(flag(readiness.database && readiness.migrations));
    gauge!("oauth_database_writable").set(flag(readiness.unwritable.is_none()));
    if let Ok(actors) = actors {
        for provider in actors.providers {
            let Some(observed) = provider.observation else {
                continue;
            };
            let set = |state: &'static str, count: usize| {
                gauge!("oauth_actors", "provider" => provider.provider.to_string(), "state" => state)
                    .set(count as f64);
            };
            set("awake", observed.awake);
            set("in_transit", observed.in_transit);
            set("quarantined", observed.quarantined);
        }
        gauge!("oauth_audit_in_flight").set(actors.audit.in_flight as f64);
        gauge!("oauth_audit_pending_rows").set(actors.audit.pending_rows as f64);
        gauge!("oauth_effects_in_flight").set(actors.effects_in_flight as f64);
    }
    for provider in manager.provider_overviews() {
        let name = provider.provider.to_string();
        gauge!("oauth_provider_problem", "provider" => name.clone()).set(flag(provider.problem.is_some()));
        gauge!("oauth_egress_in_flight", "provider" => name.clone()).set(provider.egress.in_flight as f64);
        gauge!("oauth_egress_queued", "provider" => name).set(provider.egress.queued as f64);
    }
    if let Some(look) = manager.last_look() {
        gauge!("oauth_scheduler_look_age_seconds").set(manager.age_of(look.at).as_secs_f64());
        gauge!("oauth_scheduler_blind").set(flag(look.found.is_none()));
    }
    for (pool, status) in assembly.storage.pools() {
        let set = |state: &'static str, count: usize| {
            gauge!("oauth_database_connections", "pool" => pool, "state" => state).set(count as f64);
        };
        set("open", status.open);
        set("idle", status.idle);
        set("max", status.max);
        gauge!("oauth_database_waiting", "pool" => pool).set(status.waiting as f64);
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// From the second field of `statm`, in pages.
fn resident_bytes() -> Option<f64> {
    const PAGE_BYTES: f64 = 4096.0;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}
