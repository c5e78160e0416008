//! Sessions on our pages: a service makes a one-time link, the user's browser opens it.

use std::sync::Arc;

use http::StatusCode;
use oauth_manager_actors::domain::{
    caller::Actor, error::ServiceError, secret::SessionToken, session::SessionRequest,
};
use serde::Deserialize;

use crate::http::{
    Api,
    auth::{authenticate_service, session_cookie},
    body::Body,
    catalogue::Catalogue,
    endpoint::{Endpoint, GET, POST, Route, as_json, body_route, secret_route},
    problem::{Answer, Problem},
    query::subject,
    reply,
    request_context::Call,
    return_to,
};

static CREATE: Endpoint = Endpoint {
    template: "/api/v1/oauth/sessions",
    methods: POST,
};
static OPEN: Endpoint = Endpoint {
    template: "/session/{token}",
    methods: GET,
};

/// Longer than any link of ours.
const LINK_CHARS_MAX: usize = 256;
/// More features than anybody offers first.
const FEATURES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    user: String,
    return_to: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

/// Makes a link.
pub(crate) fn create(api: &Arc<Api>) -> Route {
    body_route(api, &CREATE, as_json, make_link)
}

async fn make_link(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let client = authenticate_service(&api, &call).await?;
    if !client.policy.sessions {
        return Err(Problem::forbidden(
            "this service's policy does not allow it to open sessions for users",
        ));
    }
    let body: CreateBody = body.json(&call.headers, &api.settings.limits).await?;
    if body.features.len() > FEATURES_MAX {
        return Err(Problem::invalid("too many features"));
    }
    let catalogue = Catalogue(api.manager.providers());
    let request = SessionRequest {
        subject: subject(&body.user)?,
        return_to: body
            .return_to
            .map(|raw| return_to::check(&raw, &api.settings.returns))
            .transpose()?,
        features: body
            .features
            .iter()
            .map(|name| catalogue.feature(name))
            .collect::<Result<_, _>>()?,
    };
    let link = api
        .manager
        .create_session_link(request, call.context(Actor::Service(client)))
        .await?;
    reply::json(StatusCode::CREATED, &link)
}

/// Uses a link up and goes on to the user's connections.
pub(crate) fn open(api: &Arc<Api>) -> Route {
    secret_route(api, &OPEN, |call| Some(call.capture(0).into()), use_link)
}

async fn use_link(api: Arc<Api>, call: Call) -> Answer {
    let token = call.capture(0);
    if token.len() > LINK_CHARS_MAX {
        return Err(ServiceError::not_found("link").into());
    }
    let opened = api.manager.open_session(SessionToken::new(token)).await?;
    let cookie =
        session_cookie::keep_session(&opened.token, opened.session.expires_at, api.now(), api.https());
    let response = reply::see_other(&api.page_url("/connections"))?;
    Ok(reply::with_cookie(response, &cookie))
}
