//! What a user agreed to for one account.

use std::sync::Arc;

use crate::http::{
    Api,
    auth::authenticate_user,
    catalogue::integration_id,
    endpoint::{Endpoint, READ, Route, as_json, route},
    problem::Answer,
    reply,
    request_context::Call,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/consents",
    methods: READ,
};

/// The consents behind an account; they outlive it.
pub(crate) fn list(api: &Arc<Api>) -> Route {
    route(api, &LIST, as_json, list_consents)
}

async fn list_consents(api: Arc<Api>, call: Call) -> Answer {
    let owner = authenticate_user(&api, &call).await?;
    let page = call.query()?.only(&["limit", "after"], &[])?.page()?;
    let id = integration_id(call.capture(0))?;
    reply::ok(&api.manager.consents(&owner, &id, page).await?)
}
