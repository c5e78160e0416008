//! What happened to a user's accounts, and by whom.

use std::sync::Arc;

use crate::http::{
    Api,
    auth::authenticate_user,
    endpoint::{Endpoint, READ, Route, as_json, route},
    problem::Answer,
    reply,
    request_context::Call,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/audit",
    methods: READ,
};

/// This user's audit.
pub(crate) fn list(api: &Arc<Api>) -> Route {
    route(api, &LIST, as_json, list_audit)
}

async fn list_audit(api: Arc<Api>, call: Call) -> Answer {
    let owner = authenticate_user(&api, &call).await?;
    let page = call.query()?.only(&["limit", "after"], &[])?.page()?;
    reply::ok(&api.manager.audit(&owner, page).await?)
}
