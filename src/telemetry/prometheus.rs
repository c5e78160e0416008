//! The recorder behind the `metrics` facade: once per process, whoever of several services in it asks first.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use oauth_manager_actors::domain::metric::{Metric, MetricKind};

use super::TelemetryError;

static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder, if this process has none of ours yet. From then on what is measured is kept, so whoever
/// installs it must see to its [`upkeep`](PrometheusHandle::run_upkeep).
///
/// # Errors
/// Somebody else's recorder is installed, or the tables are not ones a recorder can be made of.
pub fn install(tables: &[&[Metric]]) -> Result<PrometheusHandle, TelemetryError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*installed {
        return Ok(handle.clone());
    }
    let metrics = || tables.iter().flat_map(|table| table.iter());
    let mut builder = PrometheusBuilder::new();
    for metric in metrics().filter(|metric| metric.kind == MetricKind::Histogram) {
        builder = builder
            .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), metric.buckets)
            .map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    }
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| TelemetryError::Metrics(error.to_string()))?;
    for metric in metrics() {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    *installed = Some(handle.clone());
    Ok(handle)
}
