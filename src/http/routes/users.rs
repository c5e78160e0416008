//! Everything about one user: read out, and erased. For that user, and for operators.

use std::sync::Arc;

use http::StatusCode;
use oauth_manager_actors::domain::{erasure::ErasureStatus, ids::Subject};

use crate::http::{
    Api,
    auth::{Caller, authenticate},
    endpoint::{DELETE, Endpoint, READ, Route, as_json, route},
    problem::{Answer, Problem},
    query::subject,
    reply,
    request_context::Call,
};

static EXPORT: Endpoint = Endpoint {
    template: "/api/v1/oauth/users/{user}/export",
    methods: READ,
};
static ERASE: Endpoint = Endpoint {
    template: "/api/v1/oauth/users/{user}",
    methods: DELETE,
};

/// What is kept about a user, page by page.
pub(crate) fn export(api: &Arc<Api>) -> Route {
    route(api, &EXPORT, as_json, read_out)
}

async fn read_out(api: Arc<Api>, call: Call) -> Answer {
    let (caller, user) = reach(&api, &call).await?;
    let page = call.query()?.only(&["limit", "after"], &[])?.page()?;
    reply::ok(&api.manager.export(&user, page, caller.context(&call)).await?)
}

/// Takes back and deletes what is a user's: 200 when it is done, 202 while a provider still has to be told.
pub(crate) fn erase(api: &Arc<Api>) -> Route {
    route(api, &ERASE, as_json, forget)
}

async fn forget(api: Arc<Api>, call: Call) -> Answer {
    let (caller, user) = reach(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    let report = api.manager.erase(&user, caller.context(&call)).await?;
    let status = match report.status {
        ErasureStatus::Erased => StatusCode::OK,
        ErasureStatus::Pending => StatusCode::ACCEPTED,
    };
    reply::json(status, &report)
}

/// Users reach themselves, and service clients with `admin` everybody.
async fn reach(api: &Api, call: &Call) -> Result<(Caller, Subject), Problem> {
    let caller = authenticate(api, call).await?;
    let user = subject(call.capture(0))?;
    let refused = match &caller {
        Caller::User(own) if *own != user => Some("a user reaches only what is their own"),
        Caller::Service(client) if !client.policy.admin => {
            Some("this is for the user, and for operators: a service client made with --admin")
        }
        Caller::User(_) | Caller::Service(_) => None,
    };
    match refused {
        Some(why) => Err(Problem::forbidden(why)),
        None => Ok((caller, user)),
    }
}
