//! The route table (design, section 6). One file per noun; each function there is one route.

use std::sync::Arc;

use super::{Api, endpoint::Route};

mod admin;
mod audit;
mod authorizations;
mod callback;
mod connect;
mod connections;
mod consents;
mod features;
mod integrations;
pub(super) mod metrics;
mod providers;
mod rejection;
mod service_info;
mod sessions;
mod switches;
mod token;
mod users;

/// Before every route of the JSON API.
pub(crate) const API_PREFIX: &str = "/api/v1/oauth";

/// Routes whose success is not worth a log line: tokens by the thousand, orchestrators' and monitors' questions.
pub(crate) const ASKED_ALL_DAY: &[&str] = &[
    "/api/v1/oauth/users/{user}/token",
    "/api/v1/oauth/integrations/{id}/token",
    "/health",
    "/ready",
];

/// Every route.
pub(crate) fn all(api: &Arc<Api>) -> Vec<Route> {
    vec![
        token::of_user(api),
        token::of_integration(api),
        service_info::root(api),
        service_info::health(api),
        service_info::ready(api),
        providers::list(api),
        providers::scopes(api),
        authorizations::create(api),
        authorizations::read(api),
        authorizations::confirm(api),
        integrations::list(api),
        integrations::read(api),
        integrations::refresh(api),
        integrations::verify(api),
        rejection::report(api),
        integrations::revoke(api),
        consents::list(api),
        consents::withdraw(api),
        features::list(api),
        features::switch_on(api),
        features::switch_off(api),
        audit::list(api),
        users::export(api),
        users::erase(api),
        admin::providers(api),
        admin::actors(api),
        admin::integrations(api),
        admin::integration(api),
        admin::keys(api),
        sessions::create(api),
        sessions::confirm(api),
        sessions::open(api),
        sessions::enter(api),
        sessions::replace(api),
        connect::open(api),
        callback::receive(api),
        connections::show(api),
        connections::connect(api),
        connections::ask_disconnect(api),
        connections::disconnect(api),
        connections::log_out(api),
        switches::switch(api),
        switches::choose(api),
    ]
}
