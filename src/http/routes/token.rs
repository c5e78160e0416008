//! Tokens for services: the one thing everything else here is for.

use std::sync::Arc;

use oauth_manager_actors::domain::{
    caller::Actor,
    token::{AccessGrant, TokenRequest, TokenTarget, Want},
};

use crate::http::{
    Api,
    auth::{authenticate_service, service_credential},
    catalogue::{Catalogue, agree, integration_id},
    endpoint::{Endpoint, GET, Route, as_json, route},
    min_ttl,
    problem::{Answer, Problem},
    query::{Parameters, subject},
    reply::{self, Response},
    request_context::{Call, RequestHead},
};

static OF_USER: Endpoint = Endpoint {
    template: "/api/v1/oauth/users/{user}/token",
    methods: GET,
};
static OF_INTEGRATION: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/token",
    methods: GET,
};

/// Longest account name: an e-mail address or a provider's id.
const ACCOUNT_CHARS_MAX: usize = 320;

/// Reads what is asked for, of whom the path names.
type Read = fn(&Api, &RequestHead, &str) -> Result<TokenRequest, Problem>;

/// A token of a user's account that gives what is wanted.
pub(crate) fn of_user(api: &Arc<Api>) -> Route {
    let route = route(api, &OF_USER, as_json, |api, call| issue(api, call, read_of_user));
    route.or_at_hand(api, |api, head, user| at_hand(api, head, user, read_of_user))
}

fn read_of_user(api: &Api, head: &RequestHead, user: &str) -> Result<TokenRequest, Problem> {
    let query = head
        .query()?
        .only(&["provider", "feature", "scopes", "min_ttl", "account"], &[])?;
    let account = query.get("account").map(str::to_owned);
    if account
        .as_ref()
        .is_some_and(|account| account.is_empty() || account.chars().count() > ACCOUNT_CHARS_MAX)
    {
        return Err(Problem::invalid(
            "account is an integration id, an account id or an e-mail address",
        ));
    }
    Ok(TokenRequest {
        target: TokenTarget::User {
            subject: subject(user)?,
            want: want(Catalogue(api.manager.providers()), &query)?,
            account,
        },
        min_ttl: min_ttl::read(query.get("min_ttl"))?,
    })
}

/// A token of this very integration.
pub(crate) fn of_integration(api: &Arc<Api>) -> Route {
    let route = route(api, &OF_INTEGRATION, as_json, |api, call| {
        issue(api, call, read_of_integration)
    });
    route.or_at_hand(api, |api, head, id| at_hand(api, head, id, read_of_integration))
}

fn read_of_integration(_: &Api, head: &RequestHead, id: &str) -> Result<TokenRequest, Problem> {
    let query = head.query()?.only(&["min_ttl"], &[])?;
    Ok(TokenRequest {
        min_ttl: min_ttl::read(query.get("min_ttl"))?,
        target: TokenTarget::Integration(integration_id(id)?),
    })
}

fn at_hand(api: &Api, head: &RequestHead, whose: &str, read: Read) -> Option<Response> {
    let credential = service_credential(head)?;
    let request = read(api, head, whose).ok()?;
    let answer = |grant: &AccessGrant| reply::token(grant, head.received_at).ok();
    api.manager
        .token_at_hand(&request, &credential, head.received_at, answer)
}

async fn issue(api: Arc<Api>, call: Call, read: Read) -> Answer {
    let client = authenticate_service(&api, &call).await?;
    let request = read(&api, &call, call.capture(0))?;
    let context = call.context(Actor::Service(client));
    let grant = api.manager.issue_token(request, context).await?;
    reply::token(&grant, api.now())
}

/// What the token is for. The names must exist and belong together.
fn want(catalogue: Catalogue<'_>, query: &Parameters<'_>) -> Result<Want, Problem> {
    let feature = query
        .get("feature")
        .map(|name| catalogue.feature(name))
        .transpose()?;
    let provider = match (query.get("provider"), &feature) {
        (Some(name), _) => Some(catalogue.provider(name)?),
        (None, Some(feature)) => Some(catalogue.provider(feature.provider())?),
        (None, None) => None,
    };
    if let (Some(provider), Some(feature)) = (provider, &feature)
        && feature.provider() != provider.key.as_str()
    {
        return Err(Problem::invalid("the feature belongs to another provider"));
    }
    let names: Vec<&str> = query
        .get("scopes")
        .into_iter()
        .flat_map(|text| text.split([' ', ',']))
        .filter(|name| !name.is_empty())
        .collect();
    let scopes = catalogue.scopes_of(provider.map(AsRef::as_ref), &names)?;
    if let (Some(provider), Some(feature), false) = (provider, &feature, scopes.is_empty()) {
        agree(provider, std::slice::from_ref(feature), &scopes)?;
    }
    if provider.is_none() && feature.is_none() && scopes.is_empty() {
        return Err(Problem::invalid(
            "say what the token is for: feature, provider or scopes",
        ));
    }
    Ok(Want {
        provider: query
            .get("provider")
            .and(provider)
            .map(|provider| provider.key.clone()),
        feature,
        scopes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::providers;

    fn read(raw: &str) -> Result<Want, Problem> {
        let providers = providers();
        want(Catalogue(&providers), &Parameters::read(raw.as_bytes()).unwrap())
    }

    #[test]
    fn a_token_is_for_something_that_exists() {
        let want = read("feature=google.calendar").unwrap();
        assert_eq!(want.feature.unwrap().as_str(), "google.calendar");
        assert!(want.provider.is_none());
        assert_eq!(
            read("provider=google").unwrap().provider.unwrap().as_str(),
            "google"
        );
        assert_eq!(read("scopes=openid+calendar.read").unwrap().scopes.len(), 2);
        assert_eq!(read("scopes=openid,calendar.read").unwrap().scopes.len(), 2);
        for raw in [
            "",
            "scopes=",
            "scopes=+",
            "min_ttl=60",
            "provider=nobody",
            "feature=nothing",
            "feature=google.nothing",
            "scopes=nothing",
            "provider=notion&feature=google.calendar",
            "provider=notion&scopes=calendar.read",
            "feature=google.calendar&scopes=pages.read",
        ] {
            assert_eq!(read(raw).unwrap_err().status(), 400, "{raw}");
        }
    }
}
