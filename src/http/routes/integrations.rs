//! Connected accounts: list, look, refresh, take back.

use std::sync::Arc;

use oauth_manager_actors::domain::ids::{IntegrationId, Subject};

use crate::http::{
    Api,
    auth::{Caller, authenticate},
    catalogue::integration_id,
    endpoint::{DELETE, Endpoint, POST, READ, Route, as_json, route},
    problem::{Answer, Problem},
    reply,
    request_context::Call,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations",
    methods: READ,
};
static ONE: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}",
    methods: READ,
};
static ONE_REVOKE: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}",
    methods: DELETE,
};
static REFRESH: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/refresh",
    methods: POST,
};
static VERIFY: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/verify",
    methods: POST,
};

/// A user's accounts.
pub(crate) fn list(api: &Arc<Api>) -> Route {
    route(api, &LIST, as_json, list_integrations)
}

async fn list_integrations(api: Arc<Api>, call: Call) -> Answer {
    let caller = authenticate(&api, &call).await?;
    let query = call.query()?.only(&["user", "limit", "after"], &[])?;
    let owner = caller.on_behalf_of(query.user()?)?;
    if let Caller::Service(client) = &caller
        && client.policy.allow.is_empty()
    {
        return Err(Problem::forbidden("this service's policy reaches no provider"));
    }
    let mut page = api.manager.integrations(&owner, query.page()?).await?;
    // A service sees the accounts it could receive tokens of, and no others.
    page.items
        .retain(|view| caller.must_reach(&view.provider).is_ok());
    reply::ok(&page)
}

/// One account.
pub(crate) fn read(api: &Arc<Api>) -> Route {
    route(api, &ONE, as_json, show)
}

async fn show(api: Arc<Api>, call: Call) -> Answer {
    let (_, owner, id) = reach(&api, &call).await?;
    reply::ok(&api.manager.integration(&owner, &id).await?)
}

/// Refreshes now.
pub(crate) fn refresh(api: &Arc<Api>) -> Route {
    route(api, &REFRESH, as_json, refresh_now)
}

async fn refresh_now(api: Arc<Api>, call: Call) -> Answer {
    let (caller, owner, id) = reach(&api, &call).await?;
    reply::ok(&api.manager.refresh(&owner, &id, caller.context(&call)).await?)
}

/// Tries every feature that is on.
pub(crate) fn verify(api: &Arc<Api>) -> Route {
    route(api, &VERIFY, as_json, try_out)
}

async fn try_out(api: Arc<Api>, call: Call) -> Answer {
    let (caller, owner, id) = reach(&api, &call).await?;
    reply::ok(&api.manager.verify(&owner, &id, caller.context(&call)).await?)
}

/// Takes an account back.
pub(crate) fn revoke(api: &Arc<Api>) -> Route {
    route(api, &ONE_REVOKE, as_json, take_back)
}

async fn take_back(api: Arc<Api>, call: Call) -> Answer {
    let (caller, owner, id) = reach(&api, &call).await?;
    reply::ok(&api.manager.revoke(&owner, &id, caller.context(&call)).await?)
}

/// Who asks, for whom, and of which account, as far as the credential reaches.
async fn reach(api: &Api, call: &Call) -> Result<(Caller, Subject, IntegrationId), Problem> {
    let caller = authenticate(api, call).await?;
    let query = call.query()?.only(&["user"], &[])?;
    let owner = caller.on_behalf_of(query.user()?)?;
    let id = integration_id(call.capture(0))?;
    caller.must_reach(&id.provider)?;
    Ok((caller, owner, id))
}
