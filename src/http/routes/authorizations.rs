//! Connect flows, as the application sees them: begin, look, confirm.

use std::sync::Arc;

use http::StatusCode;
use oauth_manager_actors::domain::{
    authorization::AuthorizationRequest, authorization::Choice, error::ServiceError, ids::AuthorizationId,
    secret::Confirmation,
};
use serde::{Deserialize, Deserializer};

use crate::http::{
    Api,
    auth::{Caller, authenticate, comes_with_session},
    body::Body,
    catalogue::{Catalogue, agree, features_of, integration_id, same_provider},
    endpoint::{Endpoint, POST, READ, Route, as_json, body_route, route},
    problem::{Answer, Problem},
    query::subject,
    reply,
    request_context::Call,
    return_to,
};

static CREATE: Endpoint = Endpoint {
    template: "/api/v1/oauth/authorizations",
    methods: POST,
};
static ONE: Endpoint = Endpoint {
    template: "/api/v1/oauth/authorizations/{id}",
    methods: READ,
};
static CONFIRM: Endpoint = Endpoint {
    template: "/api/v1/oauth/authorizations/{id}/confirm",
    methods: POST,
};

/// An e-mail address, or a provider's name for an account.
const LOGIN_HINT_CHARS_MAX: usize = 320;
/// Longer than any confirmation of ours.
const CONFIRMATION_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateBody {
    provider: String,
    #[serde(default, deserialize_with = "given")]
    features: Option<Vec<String>>,
    #[serde(default, deserialize_with = "given")]
    scopes: Option<Vec<String>>,
    return_to: Option<String>,
    integration_id: Option<String>,
    login_hint: Option<String>,
    user: Option<String>,
}

/// A list, where there is one: `null` is none.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    Vec::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfirmBody {
    confirmation: Option<String>,
    choice: Option<String>,
    user: Option<String>,
}

/// What the owner says.
enum Word {
    /// That it was they who finished.
    Finished(Confirmation),
    /// Which account is meant.
    Meant(Choice),
}

impl ConfirmBody {
    fn word(self) -> Result<Word, Problem> {
        match (self.confirmation, self.choice) {
            (Some(text), None) if !text.is_empty() && text.len() <= CONFIRMATION_CHARS_MAX => {
                Ok(Word::Finished(Confirmation::new(text)))
            }
            (Some(_), None) => Err(Problem::invalid(
                "confirmation is the value that came with the browser",
            )),
            (None, Some(text)) => text.parse().map(Word::Meant).map_err(|_| {
                ServiceError::InvalidRequest {
                    detail: "choice names what becomes of the account that came back".into(),
                    known: Choice::ALL
                        .iter()
                        .map(|choice| choice.as_str().to_owned())
                        .collect(),
                }
                .into()
            }),
            (Some(_), Some(_)) | (None, None) => Err(Problem::invalid(
                "either confirmation or choice is needed, and not both",
            )),
        }
    }
}

/// Begins a flow.
pub(crate) fn create(api: &Arc<Api>) -> Route {
    body_route(api, &CREATE, as_json, begin)
}

async fn begin(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let caller = authenticate(&api, &call).await?;
    if let Caller::Service(service) = &caller {
        api.bounds.begin_flow(service)?;
    }
    let body: CreateBody = body.json(&call.headers, &api.settings.limits).await?;
    let owner = caller.on_behalf_of(body.user.as_deref().map(subject).transpose()?)?;
    let request = read_request(&api, &caller, body)?;
    if request.return_to.is_none() && !comes_with_session(&call) {
        // The user would consent, and nobody could be brought the confirmation.
        return Err(Problem::invalid(
            "return_to is missing: give the address of your application that the browser comes back to with the \
             confirmation, one of server.allowed_return_urls",
        ));
    }
    let begun = api
        .manager
        .begin_authorization(owner, request, caller.context(&call))
        .await?;
    reply::json(StatusCode::CREATED, &begun)
}

fn read_request(api: &Api, caller: &Caller, body: CreateBody) -> Result<AuthorizationRequest, Problem> {
    let catalogue = Catalogue(api.manager.providers());
    let provider = catalogue.provider(&body.provider)?;
    caller.must_connect(&provider.key)?;
    let integration_id = match &body.integration_id {
        None => None,
        Some(text) => {
            let id = integration_id(text)?;
            same_provider(&id, &provider.key)?;
            Some(id)
        }
    };
    let return_to = body
        .return_to
        .map(|raw| return_to::check(&raw, &api.settings.returns))
        .transpose()?;
    let features = features_of(provider, &some("features", body.features)?)?;
    let scopes = catalogue.scopes_of(Some(provider), &some("scopes", body.scopes)?)?;
    agree(provider, &features, &scopes)?;
    Ok(AuthorizationRequest {
        provider: provider.key.clone(),
        features,
        scopes,
        return_to,
        integration_id,
        login_hint: body.login_hint.map(login_hint).transpose()?,
    })
}

/// A list that is there names something: whoever wants the default leaves it out.
fn some(name: &str, list: Option<Vec<String>>) -> Result<Vec<String>, Problem> {
    match list {
        Some(list) if list.is_empty() => Err(Problem::invalid(format!(
            "{name} is empty: name what is wanted, or leave it out for the provider's default features"
        ))),
        list => Ok(list.unwrap_or_default()),
    }
}

fn login_hint(text: String) -> Result<String, Problem> {
    let fits = (1..=LOGIN_HINT_CHARS_MAX).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        Ok(text)
    } else {
        Err(Problem::invalid(
            "login_hint is 1 to 320 characters without control characters",
        ))
    }
}

/// Where a flow stands.
pub(crate) fn read(api: &Arc<Api>) -> Route {
    route(api, &ONE, as_json, show)
}

async fn show(api: Arc<Api>, call: Call) -> Answer {
    let caller = authenticate(&api, &call).await?;
    let query = call.query()?.only(&["user"], &[])?;
    let owner = caller.on_behalf_of(query.user()?)?;
    let view = api
        .manager
        .authorization(&owner, authorization_id(&call)?)
        .await?;
    caller.must_connect(&view.provider)?;
    reply::ok(&view)
}

/// The owner's own word that it was they who finished, or which of two accounts they mean.
pub(crate) fn confirm(api: &Arc<Api>) -> Route {
    body_route(api, &CONFIRM, as_json, confirm_flow)
}

async fn confirm_flow(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let caller = authenticate(&api, &call).await?;
    let body: ConfirmBody = body.json(&call.headers, &api.settings.limits).await?;
    let user = caller.on_behalf_of(body.user.as_deref().map(subject).transpose()?)?;
    let id = authorization_id(&call)?;
    let word = body.word()?;
    if let Caller::Service(client) = &caller
        && !client.policy.sessions
    {
        // The handle decides who may confirm; here only how far this service reaches. For a user who is not the owner
        // nothing is found, and the handle is asked all the same: it refuses and writes the attempt down.
        if let Ok(view) = api.manager.authorization(&user, id).await {
            caller.must_reach(&view.provider)?;
        } else if client.policy.allow.is_empty() {
            return Err(Problem::forbidden(
                "this service's policy does not reach that provider",
            ));
        }
    }
    let (manager, context) = (&api.manager, caller.context(&call));
    let view = match word {
        Word::Finished(confirmation) => {
            manager
                .confirm_authorization(user, id, confirmation, context)
                .await?
        }
        Word::Meant(choice) => manager.choose_account(user, id, choice, context).await?,
    };
    reply::ok(&view)
}

fn authorization_id(call: &Call) -> Result<AuthorizationId, Problem> {
    call.capture(0)
        .parse()
        .map_err(|_| ServiceError::not_found("authorization").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_with_unknown_or_wrong_fields_is_refused() {
        assert!(serde_json::from_str::<CreateBody>(r#"{"provider":"google"}"#).is_ok());
        for text in [
            "{}",
            r#"{"provider":1}"#,
            r#"{"provider":"google","feature":["google.calendar"]}"#,
            r#"{"provider":"google","features":"google.calendar"}"#,
            r#"{"provider":"google","features":[1]}"#,
            r#"{"provider":"google","features":null}"#,
            r#"{"provider":"google","provider":"notion"}"#,
            r#"{"provider":"google","user_id":"alice"}"#,
        ] {
            assert!(serde_json::from_str::<CreateBody>(text).is_err(), "{text}");
        }
        assert!(serde_json::from_str::<ConfirmBody>(r#"{"confirmation":"x","x":1}"#).is_err());
    }

    #[test]
    fn a_login_hint_is_bounded_and_plain() {
        assert!(login_hint("ada@example.com".into()).is_ok());
        for text in [String::new(), "a\nb".into(), "x".repeat(321)] {
            assert!(login_hint(text).is_err());
        }
    }
}
