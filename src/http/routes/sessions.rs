//! Sessions on our pages: a service makes a link, whoever opens it is sent to the application, and only the browser that
//! the application confirms goes in.

use std::sync::Arc;

use http::{Method, StatusCode};
use oauth_manager_actors::domain::{
    caller::Actor,
    client::ServiceClient,
    error::ServiceError,
    secret::{Confirmation, SessionToken},
    session::{Entry, OpenedLink, SessionRequest},
};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use uuid::Uuid;

use crate::{
    http::{
        Api,
        auth::{authenticate_service, csrf, session_cookie},
        body::Body,
        catalogue::Catalogue,
        endpoint::{Endpoint, GET, POST, READ, Route, as_json, as_page, body_route, route, secret_route},
        problem::{Answer, Problem},
        query::subject,
        reply,
        request_context::{Call, RequestHead},
        return_to,
    },
    web::replacing,
};

static CREATE: Endpoint = Endpoint {
    template: "/api/v1/oauth/sessions",
    methods: POST,
};
static CONFIRM: Endpoint = Endpoint {
    template: "/api/v1/oauth/sessions/{id}/confirm",
    methods: POST,
};
static OPEN: Endpoint = Endpoint {
    template: "/session/{token}",
    methods: READ,
};
static ENTER: Endpoint = Endpoint {
    template: "/session/{id}/enter",
    methods: GET,
};
static REPLACE: Endpoint = Endpoint {
    template: "/session/{id}/enter",
    methods: POST,
};

/// Longer than any link or confirmation of ours.
const SECRET_CHARS_MAX: usize = 256;
/// More features than anybody offers first.
const FEATURES_MAX: usize = 100;
/// A name as people bear them, with room.
const DISPLAY_NAME_CHARS_MAX: usize = 200;
const GONE: ServiceError = ServiceError::Expired { what: "this link" };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    user: String,
    return_to: Option<String>,
    display_name: Option<String>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    user: String,
    confirmation: String,
}

/// Makes a link.
pub(crate) fn create(api: &Arc<Api>) -> Route {
    body_route(api, &CREATE, as_json, make_link)
}

async fn make_link(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let client = may_open_sessions(&api, &call).await?;
    let body: CreateBody = body.json(&call.headers, &api.settings.limits).await?;
    if body.features.len() > FEATURES_MAX {
        return Err(Problem::invalid("too many features"));
    }
    let return_to = body.return_to.ok_or_else(|| {
        Problem::invalid(
            "return_to is needed: the application's page that confirms who opened the link (POST …/sessions/{id}/confirm)",
        )
    })?;
    let catalogue = Catalogue(api.manager.providers());
    let request = SessionRequest {
        client: Arc::clone(&client),
        subject: subject(&body.user)?,
        display_name: body.display_name.map(display_name).transpose()?.flatten(),
        return_to: return_to::check(&return_to, &api.settings.returns)?,
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

async fn may_open_sessions(api: &Api, head: &RequestHead) -> Result<Arc<ServiceClient>, Problem> {
    let client = authenticate_service(api, head).await?;
    if client.policy.sessions {
        return Ok(client);
    }
    Err(Problem::forbidden(
        "this service's policy does not allow it to open sessions for users",
    ))
}

/// What the pages call the user; nothing but blanks is no name.
fn display_name(text: String) -> Result<Option<String>, Problem> {
    let name = text.trim();
    if name.chars().count() > DISPLAY_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "display_name is one line of at most 200 characters",
        ));
    }
    Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
}

/// The application's word on who sits before the browser.
pub(crate) fn confirm(api: &Arc<Api>) -> Route {
    body_route(api, &CONFIRM, as_json, confirm_session)
}

async fn confirm_session(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let client = may_open_sessions(&api, &call).await?;
    let body: ConfirmBody = body.json(&call.headers, &api.settings.limits).await?;
    let user = subject(&body.user)?;
    // What was never one of ours is answered like what is one no more.
    let id = link_id(&call).filter(|_| body.confirmation.len() <= SECRET_CHARS_MAX);
    let confirmation = Confirmation::new(body.confirmation);
    let context = call.context(Actor::Service(Arc::clone(&client)));
    let url = api
        .manager
        .confirm_session(&client, id.ok_or(GONE)?, &user, &confirmation, context)
        .await?;
    reply::ok(&json!({ "url": url }))
}

fn link_id(call: &Call) -> Option<Uuid> {
    call.capture(0).parse().ok()
}

/// Sends whoever opens a link to the application. Nothing is used up: mail scanners and previews open links, too.
pub(crate) fn open(api: &Arc<Api>) -> Route {
    secret_route(
        api,
        &OPEN,
        |call| Some(call.capture(0).into()),
        send_to_application,
    )
}

async fn send_to_application(api: Arc<Api>, call: Call) -> Answer {
    let token = call.capture(0);
    if token.len() > SECRET_CHARS_MAX {
        return Err(ServiceError::not_found("link").into());
    }
    let link = SessionToken::new(token);
    if call.method == Method::HEAD {
        // Nobody goes on from here.
        return reply::see_other(&api.manager.session_return_address(&link).await?);
    }
    let held = session_cookie::pendings(&call, api.https());
    let opened = api.manager.open_session_link(&link, &held).await?;
    let cookie = session_cookie::keep_pending(
        opened.session_id,
        &opened.pending,
        opened.expires_at,
        api.now(),
        api.https(),
    );
    let response = reply::see_other(&with_confirmation(&opened))?;
    Ok(reply::with_cookie(response, &cookie))
}

/// The application's address with what it confirms with appended to what it had.
fn with_confirmation(opened: &OpenedLink) -> Url {
    let mut url = opened.return_to.clone();
    url.query_pairs_mut()
        .append_pair("session_id", &opened.session_id.to_string())
        .append_pair("session_confirmation", opened.confirmation.expose());
    url
}

/// The confirmed browser goes in.
pub(crate) fn enter(api: &Arc<Api>) -> Route {
    route(api, &ENTER, as_page, go_in)
}

async fn go_in(api: Arc<Api>, call: Call) -> Answer {
    come_in(&api, &call, false).await
}

/// The same, by the answer to who is to go on.
pub(crate) fn replace(api: &Arc<Api>) -> Route {
    body_route(api, &REPLACE, as_page, go_in_instead)
}

async fn go_in_instead(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let current = session_cookie::of(&call, api.https()).ok_or(GONE)?;
    let form = body.form(&call.headers, &api.settings.limits).await?;
    let form = form.only(&["csrf"], &[])?;
    csrf::check(
        &call,
        &current,
        form.get("csrf").unwrap_or_default(),
        &api.settings,
    )?;
    come_in(&api, &call, true).await
}

async fn come_in(api: &Api, call: &Call, replace: bool) -> Answer {
    let https = api.https();
    let id = link_id(call).ok_or(GONE)?;
    let held = session_cookie::pendings_of(id, call, https);
    let current = session_cookie::of(call, https);
    if let Some(current) = &current
        && let Ok(living) = api.manager.session(current).await
    {
        let _ = call.session.set(living);
    }
    let entry = api
        .manager
        .enter_session(id, &held, current.as_ref(), replace)
        .await?;
    let connections = || reply::see_other(&api.page_url("/connections"));
    match (entry, current, call.session.get()) {
        (Entry::Entered { token, session }, _, _) => {
            let cookie = session_cookie::keep_session(&token, session.expires_at, api.now(), https);
            let response = reply::with_cookie(connections()?, &cookie);
            Ok(reply::with_cookie(
                response,
                &session_cookie::drop_pending(id, https),
            ))
        }
        (Entry::Already, _, _) => connections(),
        (Entry::Occupied { coming }, Some(current), Some(living)) => {
            let page = replacing::page(&csrf::token(&current), id, living, &coming);
            Ok(reply::page(StatusCode::CONFLICT, page))
        }
        // Its session ended between the two looks: there is nobody to ask about, and the link still works.
        (Entry::Occupied { .. }, _, _) => reply::see_other(&api.page_url(&format!("/session/{id}/enter"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_display_name_is_one_line_and_bounded() {
        assert_eq!(display_name(" Ada ".into()).unwrap().as_deref(), Some("Ada"));
        assert_eq!(display_name("  ".into()).unwrap(), None);
        assert!(display_name("ø".repeat(200)).is_ok());
        for text in ["a\nb".to_owned(), "a\u{0}".into(), "x".repeat(201)] {
            assert!(display_name(text).is_err());
        }
    }
}
