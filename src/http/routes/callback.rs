//! A browser comes back from a provider.
//!
//! The query is read strictly: a parameter that may come once and comes twice, or a code beside an error, makes it
//! conflicting, and the system refuses it. Nothing a provider wrote is shown or passed on, only codes made safe.

use std::{borrow::Cow, sync::Arc};

use http::StatusCode;
use oauth_manager_actors::domain::{
    authorization::{CallbackBrowser, CallbackOutcome, CallbackParams, CallbackResult},
    caller::Actor,
    error::ServiceError,
    ids::{ProviderKey, Subject},
    reason::ReasonCode,
    secret::{AuthorizationCode, State},
};
use url::Url;

use crate::{
    http::{
        Api,
        auth::{csrf, session_cookie},
        endpoint::{Endpoint, GET, Route, secret_route},
        problem::{Answer, Problem},
        query::Parameters,
        reply::{self, Response},
        request_context::{Call, RequestHead},
    },
    web::{choice, result},
};

static RECEIVE: Endpoint = Endpoint {
    template: "/api/v1/oauth/callback/{provider}",
    methods: GET,
};

/// The browser is back.
pub(crate) fn receive(api: &Arc<Api>) -> Route {
    secret_route(api, &RECEIVE, state_of, finish)
}

fn state_of(call: &Call) -> Option<Cow<'_, str>> {
    Some(call.query().ok()?.get("state")?.to_owned().into())
}

async fn finish(api: Arc<Api>, call: Call) -> Answer {
    let provider: ProviderKey = call
        .capture(0)
        .parse()
        .map_err(|_| Problem::Service(ServiceError::not_found("provider")))?;
    let params = read(&call.query()?);
    let browser = CallbackBrowser {
        bindings: session_cookie::flow_bindings(&call, api.https()),
        session: session_user(&api, &call).await,
    };
    let outcome = api
        .manager
        .callback(provider, params, browser, call.context(Actor::Browser))
        .await?;
    // The flow's cookie stays: whoever reloads is told how it ended, and not that it never was.
    match question(&api, &call, &outcome).await {
        Some(page) => Ok(page),
        None => answer(&call, &outcome),
    }
}

/// The user of our session, if the browser holds one that the application has confirmed and that stands: a pending one has
/// another name and is none. Without it the application confirms.
async fn session_user(api: &Api, head: &RequestHead) -> Option<Subject> {
    let cookie = session_cookie::of(head, api.https())?;
    let session = api.manager.session(&cookie).await.ok()?;
    let subject = session.subject.clone();
    let _ = head.session.set(session);
    Some(subject)
}

fn read(query: &Parameters<'_>) -> CallbackParams {
    let came_twice = |name: &str| query.all(name).count() > 1;
    let (code, error) = (query.get("code"), query.get("error"));
    CallbackParams {
        conflicting: ["code", "state", "error", "iss"].into_iter().any(came_twice)
            || code.is_some() && error.is_some(),
        code: code.map(AuthorizationCode::new),
        state: query.get("state").map(State::new),
        error: error.map(ReasonCode::new),
        issuer: query.get("iss").map(str::to_owned),
    }
}

/// Which account is meant, where the application named no address to ask at.
async fn question(api: &Api, head: &RequestHead, outcome: &CallbackOutcome) -> Option<Response> {
    let id = outcome.authorization_id.filter(|_| outcome.return_to.is_none())?;
    let cookie = session_cookie::of(head, api.https())?;
    let session = head.session.get()?;
    let flow = api.manager.authorization(&session.subject, id).await.ok()?;
    let provider = api.manager.provider(&flow.provider).ok()?;
    let mismatch = flow.account_mismatch.as_ref()?;
    let page = choice::page(
        session,
        &csrf::token(&cookie),
        &provider.display_name,
        id,
        mismatch,
    );
    Some(reply::page(StatusCode::CONFLICT, page))
}

/// Back to the application, or our own page where it named no address.
fn answer(head: &RequestHead, outcome: &CallbackOutcome) -> Answer {
    match (&outcome.return_to, outcome.authorization_id) {
        (Some(return_to), Some(_)) => reply::see_other(&with_result(return_to.clone(), outcome)),
        _ => Ok(reply::page(
            page_status(outcome),
            result::page(head.session.get(), &outcome.result),
        )),
    }
}

fn page_status(outcome: &CallbackOutcome) -> StatusCode {
    match outcome.result {
        CallbackResult::Failed(_) => StatusCode::BAD_REQUEST,
        _ if outcome.authorization_id.is_none() => StatusCode::BAD_REQUEST,
        CallbackResult::Connected(_)
        | CallbackResult::ConfirmationRequired(_)
        | CallbackResult::Denied(_) => StatusCode::OK,
    }
}

/// The application's address with how it ended appended to what it had.
fn with_result(mut url: Url, outcome: &CallbackOutcome) -> Url {
    let (status, confirmation, error) = match &outcome.result {
        CallbackResult::Connected(_) => ("connected", None, None),
        CallbackResult::ConfirmationRequired(confirmation) => {
            ("confirmation_required", Some(confirmation.expose()), None)
        }
        CallbackResult::Denied(reason) => ("denied", None, Some(reason.as_str())),
        CallbackResult::Failed(reason) => ("failed", None, Some(reason.as_str())),
    };
    {
        let mut query = url.query_pairs_mut();
        if let Some(id) = outcome.authorization_id {
            query.append_pair("authorization_id", &id.to_string());
        }
        query.append_pair("status", status);
        if let Some(confirmation) = confirmation {
            query.append_pair("confirmation", confirmation);
        }
        if let Some(error) = error {
            query.append_pair("error", error);
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use oauth_manager_actors::domain::{ids::AuthorizationId, secret::Confirmation};

    use super::*;

    fn head() -> RequestHead {
        RequestHead::new(
            http::Method::GET,
            http::Uri::from_static("/"),
            http::HeaderMap::new(),
            "10.0.0.1".parse().unwrap(),
            &[],
            "2030-01-01T00:00:00Z".parse().unwrap(),
        )
    }

    fn params(raw: &str) -> CallbackParams {
        read(&Parameters::read(raw.as_bytes()).unwrap())
    }

    fn outcome(return_to: Option<&str>, result: CallbackResult) -> CallbackOutcome {
        CallbackOutcome {
            authorization_id: Some(AuthorizationId(uuid::Uuid::from_u128(1))),
            return_to: return_to.map(|url| url.parse().unwrap()),
            result,
        }
    }

    #[test]
    fn callback_param_pollution_rejected() {
        for raw in [
            "code=a&code=a&state=s",
            "code=a&code=b&state=s",
            "code=a&state=s&state=s",
            "code=a&state=s&iss=x&iss=y",
            "error=a&error=b&state=s",
            "code=a&error=b&state=s",
            "code=&error=b&state=s",
            "code=a&%63ode=b&state=s",
        ] {
            assert!(params(raw).conflicting, "{raw}");
        }
        let honest =
            params("code=a%2Fb&state=s&iss=https%3A%2F%2Fidp.example&scope=x&scope=y&session_state=z");
        assert!(!honest.conflicting);
        assert_eq!(honest.code.unwrap().expose(), "a/b");
        assert_eq!(honest.state.unwrap().expose(), "s");
        assert_eq!(honest.issuer.as_deref(), Some("https://idp.example"));
        assert!(!params("").conflicting);
    }

    #[test]
    fn a_providers_text_is_never_passed_on() {
        let params = params("error=<script>alert(1)</script>&error_description=secret&state=s");
        let error = params.error.unwrap();
        assert!(!error.as_str().contains(['<', '>', '(']));
        let url = with_result(
            "https://app.example.com/".parse().unwrap(),
            &outcome(None, CallbackResult::Denied(error)),
        );
        assert!(!url.as_str().contains("secret") && !url.as_str().contains("%3C"));
    }

    #[test]
    fn the_result_is_appended_to_the_applications_own_query() {
        let url = with_result(
            "https://app.example.com/done?tab=a%20b".parse().unwrap(),
            &outcome(
                None,
                CallbackResult::ConfirmationRequired(Confirmation::new("c+/=")),
            ),
        );
        assert_eq!(
            url.as_str(),
            "https://app.example.com/done?tab=a%20b&authorization_id=00000000-0000-0000-0000-000000000001\
             &status=confirmation_required&confirmation=c%2B%2F%3D"
        );
    }

    #[test]
    fn without_an_address_or_a_flow_there_is_no_redirect() {
        let reason = ReasonCode::new("unknown_state");
        let mut unknown = outcome(
            Some("https://app.example.com/"),
            CallbackResult::Failed(reason.clone()),
        );
        assert_eq!(answer(&head(), &unknown).unwrap().status(), StatusCode::SEE_OTHER);
        unknown.authorization_id = None;
        let response = answer(&head(), &unknown).unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert!(!response.headers().contains_key(http::header::LOCATION));
        let denied = answer(&head(), &outcome(None, CallbackResult::Denied(reason))).unwrap();
        assert_eq!(denied.status(), StatusCode::OK);
    }
}
