//! What is measured of the way to the database.

use std::time::Duration;

use metrics::histogram;
use oauth_manager_actors::domain::metric::Metric;

const WAIT: &str = "oauth_database_wait_seconds";

/// Every metric of the storage.
pub const METRICS: &[Metric] = &[Metric::histogram(
    WAIT,
    "How long work waited for a connection of the pool, new connections included.",
    &[0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0],
)];

/// A connection was waited for this long, whether or not one came.
pub(super) fn waited(took: Duration) {
    histogram!(WAIT).record(took.as_secs_f64());
}
