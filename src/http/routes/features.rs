//! Features: how each stands for the user, and the user's switches.

use std::sync::Arc;

use http::StatusCode;
use oauth_manager_actors::{
    domain::{
        feature::FeatureKey,
        ids::{IntegrationId, Subject},
    },
    handle::SwitchedOn,
};
use serde::Deserialize;

use crate::http::{
    Api,
    auth::{Caller, authenticate_user},
    body::Body,
    catalogue::{Catalogue, features_of, integration_id},
    endpoint::{DELETE, Endpoint, PUT, READ, Route, as_json, body_route, route},
    problem::{Answer, Problem},
    reply,
    request_context::Call,
    return_to,
};

static LIST: Endpoint = Endpoint {
    template: "/api/v1/oauth/features",
    methods: READ,
};
static SWITCH_ON: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/features/{feature}",
    methods: PUT,
};
static SWITCH_OFF: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/features/{feature}",
    methods: DELETE,
};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SwitchBody {
    return_to: Option<String>,
}

/// Every feature, and how it stands for the user.
pub(crate) fn list(api: &Arc<Api>) -> Route {
    route(api, &LIST, as_json, list_features)
}

async fn list_features(api: Arc<Api>, call: Call) -> Answer {
    let owner = authenticate_user(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    reply::whole_list(&api.manager.features(&owner).await?)
}

/// Switches one on: 200 with the account, or 202 with a link where the provider has to grant more first.
pub(crate) fn switch_on(api: &Arc<Api>) -> Route {
    body_route(api, &SWITCH_ON, as_json, turn_on)
}

async fn turn_on(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (owner, id, feature) = reach(&api, &call).await?;
    let body: SwitchBody = body.json_or_default(&call.headers, &api.settings.limits).await?;
    let return_to = body
        .return_to
        .map(|raw| return_to::check(&raw, &api.settings.returns))
        .transpose()?;
    let context = Caller::User(owner.clone()).context(&call);
    match api
        .manager
        .switch_on(&owner, &id, &feature, return_to, context)
        .await?
    {
        SwitchedOn::On(view) => reply::ok(&view),
        SwitchedOn::NeedsConsent(begun) => reply::json(StatusCode::ACCEPTED, &begun),
    }
}

/// Switches one off, and says what the provider still grants.
pub(crate) fn switch_off(api: &Arc<Api>) -> Route {
    route(api, &SWITCH_OFF, as_json, turn_off)
}

async fn turn_off(api: Arc<Api>, call: Call) -> Answer {
    let (owner, id, feature) = reach(&api, &call).await?;
    let context = Caller::User(owner.clone()).context(&call);
    reply::ok(&api.manager.switch_off(&owner, &id, &feature, context).await?)
}

async fn reach(api: &Api, call: &Call) -> Result<(Subject, IntegrationId, FeatureKey), Problem> {
    let owner = authenticate_user(api, call).await?;
    call.query()?.only(&[], &[])?;
    let id = integration_id(call.capture(0))?;
    let provider = Catalogue(api.manager.providers()).provider_of_path(id.provider.as_str())?;
    let mut features = features_of(provider, &[call.capture(1)])?;
    let feature = features
        .pop()
        .ok_or_else(|| Problem::invalid("no feature is named"))?;
    Ok((owner, id, feature))
}
