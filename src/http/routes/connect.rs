//! The connect link: marks the browser that opened it and sends it to the provider.

use std::sync::Arc;

use oauth_manager_actors::domain::{caller::Actor, error::ServiceError, secret::ConnectHandle};

use crate::http::{
    Api,
    auth::session_cookie,
    endpoint::{Endpoint, GET, Route, secret_route},
    problem::Answer,
    reply,
    request_context::Call,
};

static OPEN: Endpoint = Endpoint {
    template: "/connect/{handle}",
    methods: GET,
};

/// Longer than any handle of ours.
const HANDLE_CHARS_MAX: usize = 256;

/// A browser opened a connect link.
pub(crate) fn open(api: &Arc<Api>) -> Route {
    secret_route(api, &OPEN, |call| Some(call.capture(0).into()), send_to_provider)
}

async fn send_to_provider(api: Arc<Api>, call: Call) -> Answer {
    let handle = call.capture(0);
    if handle.len() > HANDLE_CHARS_MAX {
        return Err(ServiceError::not_found("link").into());
    }
    let redirect = api
        .manager
        .open_connect_link(
            ConnectHandle::new(handle),
            session_cookie::flow_bindings(&call, api.https()),
            call.context(Actor::Browser),
        )
        .await?;
    let cookie = session_cookie::keep_flow(&redirect.browser, redirect.expires_at, api.now(), api.https());
    Ok(reply::with_cookie(reply::see_other(&redirect.location)?, &cookie))
}
