//! What a user agreed to for one account, and taking it back.

use std::sync::Arc;

use oauth_manager_actors::domain::error::ServiceError;

use crate::http::{
    Api,
    auth::{Caller, authenticate_user},
    catalogue::integration_id,
    endpoint::{DELETE, Endpoint, READ, Route, as_json, route},
    problem::Answer,
    reply,
    request_context::Call,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/consents",
    methods: READ,
};
static WITHDRAW: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/consents/{consent}",
    methods: DELETE,
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

/// Takes one back: what it was for is off.
pub(crate) fn withdraw(api: &Arc<Api>) -> Route {
    route(api, &WITHDRAW, as_json, take_back)
}

async fn take_back(api: Arc<Api>, call: Call) -> Answer {
    let owner = authenticate_user(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    let id = integration_id(call.capture(0))?;
    let consent = call.capture(1).parse();
    let consent = consent.map_err(|_| ServiceError::not_found("consent"))?;
    let context = Caller::User(owner.clone()).context(&call);
    reply::ok(&api.manager.withdraw(&owner, &id, consent, context).await?)
}
