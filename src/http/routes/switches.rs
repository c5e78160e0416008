//! What a user decides on *Your connections* about an account that is connected: what it may be used for, and which of two
//! accounts was meant.

use std::sync::Arc;

use http::StatusCode;
use oauth_manager_actors::{
    domain::{authorization::Choice, error::ServiceError},
    handle::SwitchedOn,
};

use super::connections::visitor_with_form;
use crate::{
    http::{
        Api,
        body::Body,
        catalogue::{Catalogue, features_of, integration_id},
        endpoint::{Endpoint, POST, Route, as_page, body_route},
        problem::{Answer, Problem},
        reply,
        request_context::Call,
    },
    web::{connections::Notice, moving_on, switches},
};

static SWITCH: Endpoint = Endpoint {
    template: "/connections/features",
    methods: POST,
};
static CHOOSE: Endpoint = Endpoint {
    template: "/connections/choose",
    methods: POST,
};

/// Switches a feature on or off.
pub(crate) fn switch(api: &Arc<Api>) -> Route {
    body_route(api, &SWITCH, as_page, turn)
}

async fn turn(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (visitor, form) = visitor_with_form(&api, &call, body).await?;
    let id = integration_id(form.get("integration_id").unwrap_or_default())?;
    let provider = Catalogue(api.manager.providers()).provider_of_path(id.provider.as_str())?;
    let named: Vec<&str> = form.all("feature").collect();
    let [feature] = features_of(provider, &named)?
        .try_into()
        .map_err(|_| Problem::invalid("one feature is needed"))?;
    let (owner, context) = (&visitor.session.subject, call.context(visitor.actor()));
    match form.get("switch") {
        Some("on") => {
            let back = Some(api.page_url("/connections"));
            let switched = api.manager.switch_on(owner, &id, &feature, back, context).await?;
            match switched {
                SwitchedOn::On(_) => back_with(&api, Notice::SWITCHED_ON),
                SwitchedOn::NeedsConsent(begun) => Ok(reply::page(
                    StatusCode::OK,
                    moving_on::page(&visitor.session, &provider.display_name, &begun.authorization_url),
                )),
            }
        }
        Some("off") => {
            let off = api.manager.switch_off(owner, &id, &feature, context).await?;
            let page = switches::off(&visitor.session, provider, &feature, &off);
            Ok(reply::page(StatusCode::OK, page))
        }
        _ => Err(Problem::invalid("switch is on or off")),
    }
}

/// Chooses between the account that was to be connected again and the one that came back.
pub(crate) fn choose(api: &Arc<Api>) -> Route {
    body_route(api, &CHOOSE, as_page, decide)
}

async fn decide(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let (visitor, form) = visitor_with_form(&api, &call, body).await?;
    let id = form.get("authorization_id").unwrap_or_default().parse();
    let id = id.map_err(|_| Problem::Service(ServiceError::not_found("authorization")))?;
    let choice: Choice = form
        .get("choice")
        .unwrap_or_default()
        .parse()
        .map_err(|_| Problem::invalid("choice is keep or connect"))?;
    let (owner, context) = (visitor.session.subject.clone(), call.context(visitor.actor()));
    api.manager.choose_account(owner, id, choice, context).await?;
    back_with(
        &api,
        match choice {
            Choice::Keep => Notice::KEPT,
            Choice::Connect => Notice::CONNECTED,
        },
    )
}

fn back_with(api: &Api, status: &str) -> Answer {
    let mut url = api.page_url("/connections");
    url.query_pairs_mut().append_pair("status", status);
    reply::see_other(&url)
}
