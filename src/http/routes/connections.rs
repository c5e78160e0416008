//! *Your connections*: the pages of a user with a session. No script is needed; every change is a form with a CSRF token.

use std::sync::Arc;

use http::StatusCode;
use maud::Markup;
use oauth_manager_actors::domain::{
    authorization::AuthorizationRequest,
    caller::Actor,
    error::ServiceError,
    integration::Status,
    page::{PAGE_LIMIT_MAX, PageRequest},
    scope::ScopeSet,
    secret::SessionToken,
    session::Session,
};

use crate::{
    http::{
        Api,
        auth::{self, csrf, session_cookie},
        body::Body,
        catalogue::{Catalogue, features_of, integration_id, same_provider},
        endpoint::{Endpoint, POST, READ, Route, as_page, body_route, route},
        problem::{Answer, Problem},
        query::Parameters,
        reply,
        request_context::{Call, RequestHead},
    },
    web::{
        choice,
        connections::{ConnectionsPage, Notice, Visit},
        disconnect, moving_on,
    },
};

static SHOW: Endpoint = Endpoint {
    template: "/connections",
    methods: READ,
};
static CONNECT: Endpoint = Endpoint {
    template: "/connections/connect",
    methods: POST,
};
static ASK_DISCONNECT: Endpoint = Endpoint {
    template: "/connections/disconnect",
    methods: READ,
};
static DISCONNECT: Endpoint = Endpoint {
    template: "/connections/disconnect",
    methods: POST,
};
static LOG_OUT: Endpoint = Endpoint {
    template: "/connections/logout",
    methods: POST,
};

/// A visitor whose session stands.
pub(super) struct Visitor {
    cookie: SessionToken,
    pub(super) session: Session,
}

impl Visitor {
    pub(super) fn visit(&self) -> Visit<'_> {
        Visit {
            session: &self.session,
            csrf: csrf::token(&self.cookie),
        }
    }

    pub(super) fn actor(&self) -> Actor {
        Actor::User(self.session.subject.clone())
    }
}

async fn visitor(api: &Api, head: &RequestHead) -> Result<Visitor, Problem> {
    let cookie = session_cookie::of(head, api.https())
        .ok_or_else(|| Problem::unauthenticated("open this page from your application"))?;
    let session = auth::session(api, head, &cookie).await?;
    Ok(Visitor { cookie, session })
}

/// A visitor whose form came from our own page, and the form.
pub(super) async fn visitor_with_form(
    api: &Api,
    call: &Call,
    body: Body,
) -> Result<(Visitor, Parameters<'static>), Problem> {
    let visitor = visitor(api, call).await?;
    let form = body.form(&call.headers, &api.settings.limits).await?;
    let form = form.only(
        &[
            "csrf",
            "provider",
            "integration_id",
            "authorization_id",
            "choice",
            "switch",
        ],
        &["feature"],
    )?;
    csrf::check(
        call,
        &visitor.cookie,
        form.get("csrf").unwrap_or_default(),
        &api.settings,
    )?;
    Ok((visitor, form))
}

/// The accounts, and what else could be connected.
pub(crate) fn show(api: &Arc<Api>) -> Route {
    route(api, &SHOW, as_page, show_connections)
}

async fn show_connections(api: Arc<Api>, call: Call) -> Answer {
    let visitor = visitor(&api, &call).await?;
    let query = call.query()?;
    let request = PageRequest {
        limit: PAGE_LIMIT_MAX,
        ..query.page()?
    };
    let accounts = api
        .manager
        .integrations(&visitor.session.subject, request)
        .await?;
    let error = query.get("error").unwrap_or_default();
    let question = question(&api, &visitor, query.get("authorization_id")).await;
    let page = ConnectionsPage {
        visit: visitor.visit(),
        providers: api.manager.providers(),
        accounts: &accounts.items,
        next: accounts.next.as_deref(),
        notice: query.get("status").and_then(|status| Notice::of(status, error)),
        question,
    };
    Ok(reply::page(StatusCode::OK, page.render()))
}

/// What a flow that ended on this page waits for.
async fn question(api: &Api, visitor: &Visitor, flow: Option<&str>) -> Option<Markup> {
    let id = flow?.parse().ok()?;
    let flow = api
        .manager
        .authorization(&visitor.session.subject, id)
        .await
        .ok()?;
    let provider = api.manager.provider(&flow.provider).ok()?;
    let csrf = csrf::token(&visitor.cookie);
    Some(choice::card(
        &csrf,
        &provider.display_name,
        id,
        flow.account_mismatch.as_ref()?,
    ))
}

/// Begins a flow that ends on this page.
pub(crate) fn connect(api: &Arc<Api>) -> Route {
    body_route(api, &CONNECT, as_page, begin_connecting)
}

async fn begin_connecting(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (visitor, form) = visitor_with_form(&api, &call, body).await?;
    let catalogue = Catalogue(api.manager.providers());
    let provider = catalogue.provider(form.get("provider").unwrap_or_default())?;
    let features: Vec<&str> = form.all("feature").collect();
    let integration_id = form.get("integration_id").map(integration_id).transpose()?;
    // Elsewhere nothing chosen means the default; whoever unticked every box did not mean that.
    if features.is_empty() && integration_id.is_none() && !provider.features.is_empty() {
        return nothing_chosen(&api);
    }
    if let Some(id) = &integration_id {
        same_provider(id, &provider.key)?;
    }
    let request = AuthorizationRequest {
        provider: provider.key.clone(),
        features: features_of(provider, &features)?,
        scopes: ScopeSet::default(),
        // Our own page: the one address that needs no allow-list.
        return_to: Some(api.page_url("/connections")),
        integration_id,
        login_hint: None,
    };
    let owner = visitor.session.subject.clone();
    let begun = api
        .manager
        .begin_authorization(owner, request, call.context(visitor.actor()))
        .await?;
    // No redirect: Chromium holds the redirects after a form to the page's form-action, and these end at the provider.
    Ok(reply::page(
        StatusCode::OK,
        moving_on::page(&visitor.session, &provider.display_name, &begun.authorization_url),
    ))
}

fn nothing_chosen(api: &Api) -> Answer {
    let mut url = api.page_url("/connections");
    url.query_pairs_mut()
        .append_pair("status", Notice::NOTHING_CHOSEN);
    reply::see_other(&url)
}

/// Asks whether it is meant.
pub(crate) fn ask_disconnect(api: &Arc<Api>) -> Route {
    route(api, &ASK_DISCONNECT, as_page, ask)
}

async fn ask(api: Arc<Api>, call: Call) -> Answer {
    let visitor = visitor(&api, &call).await?;
    let query = call.query()?.only(&["integration_id"], &[])?;
    let id = integration_id(query.get("integration_id").unwrap_or_default())?;
    let account = api.manager.integration(&visitor.session.subject, &id).await?;
    let provider = Catalogue(api.manager.providers()).provider_of_path(id.provider.as_str())?;
    let page = if account.status == Status::Revoked {
        disconnect::already(&visitor.session, provider, &account)
    } else {
        let shared = api.manager.shared_grant(&visitor.session.subject, &id).await?;
        disconnect::question(&visitor.visit(), provider, &account, &shared)
    };
    Ok(reply::page(StatusCode::OK, page))
}

/// Takes an account back and tells what became of it.
pub(crate) fn disconnect(api: &Arc<Api>) -> Route {
    body_route(api, &DISCONNECT, as_page, take_back)
}

async fn take_back(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (visitor, form) = visitor_with_form(&api, &call, body).await?;
    let id = integration_id(form.get("integration_id").unwrap_or_default())?;
    let subject = &visitor.session.subject;
    let provider = Catalogue(api.manager.providers()).provider_of_path(id.provider.as_str())?;
    let account = api.manager.integration(subject, &id).await?;
    let revoked = api
        .manager
        .revoke(subject, &id, call.context(visitor.actor()))
        .await;
    let page = match revoked {
        Ok(report) => disconnect::report(&visitor.session, provider, &account, &report),
        // The button was pressed twice: the second answer is the one the browser shows.
        Err(ServiceError::NotFound { .. }) => disconnect::already(&visitor.session, provider, &account),
        Err(error) => return Err(error.into()),
    };
    Ok(reply::page(StatusCode::OK, page))
}

/// Ends the session.
pub(crate) fn log_out(api: &Arc<Api>) -> Route {
    body_route(api, &LOG_OUT, as_page, end_session)
}

async fn end_session(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (visitor, _) = visitor_with_form(&api, &call, body).await?;
    api.manager.end_session(&visitor.cookie).await?;
    let page = moving_on::logged_out(&visitor.session);
    Ok(reply::with_cookie(
        reply::page(StatusCode::OK, page),
        &session_cookie::drop_session(api.https()),
    ))
}
