//! What the service says of itself: `/`, `/health`, `/ready`.

use std::sync::Arc;

use http::StatusCode;
use serde_json::json;

use crate::http::{
    Api,
    endpoint::{Endpoint, READ, Route, as_json, route},
    problem::Answer,
    reply,
    request_context::Call,
};

const SERVICE: &str = "oauth-manager";

static ROOT: Endpoint = Endpoint {
    template: "/",
    methods: READ,
};
static HEALTH: Endpoint = Endpoint {
    template: "/health",
    methods: READ,
};
static READY: Endpoint = Endpoint {
    template: "/ready",
    methods: READ,
};

/// Who answers here.
pub(crate) fn root(api: &Arc<Api>) -> Route {
    route(api, &ROOT, as_json, show_root)
}

async fn show_root(api: Arc<Api>, _call: Call) -> Answer {
    reply::ok(&json!({
        "service": SERVICE,
        "version": api.settings.service_version,
        "status": "running",
        // Where the interface is documented; nothing is served yet.
        "docs": null,
    }))
}

/// Whether the process lives. Asks nobody: a dead database is no reason to restart it. Whatever the load: nor is a busy
/// process a dead one.
pub(crate) fn health(api: &Arc<Api>) -> Route {
    route(api, &HEALTH, as_json, show_health).or_at_hand(api, |api, _head, _| health_of(api).ok())
}

async fn show_health(api: Arc<Api>, _call: Call) -> Answer {
    health_of(&api)
}

fn health_of(api: &Api) -> Answer {
    reply::ok(&json!({
        "status": "healthy",
        "service": SERVICE,
        "version": api.settings.service_version,
        "timestamp": api.now(),
    }))
}

/// Whether it can work.
pub(crate) fn ready(api: &Arc<Api>) -> Route {
    route(api, &READY, as_json, show_ready)
}

async fn show_ready(api: Arc<Api>, _call: Call) -> Answer {
    let parts = api.manager.ready().await;
    let (status, word) = if parts.all() {
        (StatusCode::OK, "ready")
    } else if parts.stopping {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    reply::json(
        status,
        &json!({
            "status": word,
            "service": SERVICE,
            "version": api.settings.service_version,
            "causes": parts.causes(),
            "database": parts.database,
            "writable": parts.database && parts.unwritable.is_none(),
            "migrations": parts.migrations,
            "keys": parts.keys,
            "actors": parts.actors,
        }),
    )
}
