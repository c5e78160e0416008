//! `GET /metrics`, on the operator's own listener.

use http::StatusCode;

use crate::http::{
    Scrape,
    endpoint::{Endpoint, READ, Route, bare_route},
    reply,
};

/// The text exposition format of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

static METRICS: Endpoint = Endpoint {
    template: "/metrics",
    methods: READ,
};

/// Everything that is measured.
pub(crate) fn show(scrape: Scrape) -> Route {
    bare_route(&METRICS, move || {
        let scraped = scrape();
        async move { reply::bytes(StatusCode::OK, TEXT, scraped.await.into_bytes()) }
    })
}
