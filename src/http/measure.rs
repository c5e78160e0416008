//! What is measured of requests: how many, by route and status, and how long they took. The route is the template, never
//! the path.

use std::{collections::HashMap, time::Duration};

use arc_swap::ArcSwap;
use metrics::{Counter, Histogram, counter, histogram};
use oauth_manager_actors::domain::metric::Metric;

const REQUESTS: &str = "oauth_http_requests_total";
const DURATION: &str = "oauth_http_request_duration_seconds";

/// Every metric of the HTTP side.
pub const METRICS: &[Metric] = &[
    Metric::counter(REQUESTS, "Requests answered, by route template and status."),
    Metric::counter(
        super::bounds::refusals::REFUSED,
        "Connections and requests refused because somebody takes more than their part, by reason.",
    ),
    Metric::histogram(
        DURATION,
        "From a request's head to its answer's, by route template.",
        &[
            0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
        ],
    ),
];

/// The handles, made as routes and statuses are met: looking one up by its labels costs more than counting.
#[derive(Default)]
pub(super) struct HttpMeasures(ArcSwap<HashMap<(&'static str, u16), Handles>>);

#[derive(Clone)]
struct Handles {
    requests: Counter,
    duration: Histogram,
}

impl HttpMeasures {
    /// A request was answered.
    pub(super) fn answered(&self, route: &'static str, status: u16, took: Duration) {
        let key = (route, status);
        let count = |handles: &Handles| {
            handles.requests.increment(1);
            handles.duration.record(took.as_secs_f64());
        };
        if let Some(handles) = self.0.load().get(&key) {
            return count(handles);
        }
        let handles = Handles {
            requests: counter!(REQUESTS, "route" => route, "status" => status.to_string()),
            duration: histogram!(DURATION, "route" => route),
        };
        count(&handles);
        // Bounded: routes are templates, and of statuses there are a few dozen.
        self.0.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(key, handles.clone());
            known
        });
    }
}
