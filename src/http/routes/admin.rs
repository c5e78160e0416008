//! For operators: how the parts are, which accounts need somebody and why, which keys are in use. Service clients with
//! `admin` only.

use std::sync::Arc;

use oauth_manager_actors::{
    domain::{integration::Status, reason::WhoMustAct},
    handle::Filter,
};

use crate::http::{
    Api,
    auth::authenticate_service,
    catalogue::integration_id,
    endpoint::{Endpoint, READ, Route, as_json, route},
    problem::{Answer, Problem},
    query::Parameters,
    reply,
    request_context::Call,
};

static PROVIDERS: Endpoint = Endpoint {
    template: "/api/v1/oauth/admin/providers",
    methods: READ,
};
static ACTORS: Endpoint = Endpoint {
    template: "/api/v1/oauth/admin/actors",
    methods: READ,
};
static INTEGRATIONS: Endpoint = Endpoint {
    template: "/api/v1/oauth/admin/integrations",
    methods: READ,
};
static INTEGRATION: Endpoint = Endpoint {
    template: "/api/v1/oauth/admin/integrations/{id}",
    methods: READ,
};
static KEYS: Endpoint = Endpoint {
    template: "/api/v1/oauth/admin/keys",
    methods: READ,
};

/// Turns away everybody but service clients with `admin`.
async fn authenticate_admin(api: &Api, call: &Call) -> Result<(), Problem> {
    let client = authenticate_service(api, call).await?;
    if client.policy.admin {
        Ok(())
    } else {
        Err(Problem::forbidden(
            "this is for operators: a service client made with --admin",
        ))
    }
}

/// The way out to each provider: breaker, budget, queue.
pub(crate) fn providers(api: &Arc<Api>) -> Route {
    route(api, &PROVIDERS, as_json, list_providers)
}

async fn list_providers(api: Arc<Api>, call: Call) -> Answer {
    authenticate_admin(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    reply::whole_list(&api.manager.provider_overviews())
}

/// The actors of this node.
pub(crate) fn actors(api: &Arc<Api>) -> Route {
    route(api, &ACTORS, as_json, show_actors)
}

async fn show_actors(api: Arc<Api>, call: Call) -> Answer {
    authenticate_admin(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    reply::ok(&api.manager.actors_overview().await)
}

/// Accounts that need somebody, each with why.
pub(crate) fn integrations(api: &Arc<Api>) -> Route {
    route(api, &INTEGRATIONS, as_json, list_integrations)
}

async fn list_integrations(api: Arc<Api>, call: Call) -> Answer {
    authenticate_admin(&api, &call).await?;
    let query = call.query()?.only(&["who", "status", "limit", "after"], &[])?;
    let found = api
        .manager
        .accounts_wanting(filter(&query)?, query.page()?)
        .await?;
    reply::ok(&found)
}

fn filter(query: &Parameters<'_>) -> Result<Filter, Problem> {
    let who = query.get("who").map(str::parse::<WhoMustAct>).transpose();
    let status = query.get("status").map(str::parse::<Status>).transpose();
    Ok(Filter {
        who: who.map_err(|_| Problem::invalid("who is user, admin, operator, developer or nobody"))?,
        status: status.map_err(|_| {
            Problem::invalid("status is pending, active, degraded, reauth_required, paused or revoked")
        })?,
    })
}

/// One account: why it is as it is, what happens next, what happened to it.
pub(crate) fn integration(api: &Arc<Api>) -> Route {
    route(api, &INTEGRATION, as_json, show_integration)
}

async fn show_integration(api: Arc<Api>, call: Call) -> Answer {
    authenticate_admin(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    reply::ok(&api.manager.account(&integration_id(call.capture(0))?).await?)
}

/// Encryption keys by id: never the keys.
pub(crate) fn keys(api: &Arc<Api>) -> Route {
    route(api, &KEYS, as_json, list_keys)
}

async fn list_keys(api: Arc<Api>, call: Call) -> Answer {
    authenticate_admin(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    reply::whole_list(&api.manager.keys().await?)
}
