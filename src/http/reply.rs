//! Answers that are not problems: JSON, tokens, pages, redirects.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use maud::Markup;
use oauth_manager_actors::domain::{Timestamp, token::AccessGrant};
use serde::Serialize;
use url::Url;

use super::problem::{Answer, Problem};

/// What goes back to the client.
pub(crate) type Response = warp::reply::Response;

/// Header fields of most answers.
const HEADERS_USUAL: usize = 8;
/// A token answer's body has about this many bytes.
const BODY_BYTES_USUAL: usize = 512;
/// `,"expires_in":` with the longest number, and the end.
const EXPIRES_IN_BYTES_MAX: usize = 40;

const JSON: &str = "application/json";

/// A body of this type. Nothing here may be cached: every answer is about one caller.
pub(crate) fn bytes(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response {
    let mut response = Response::new(Bytes::from(body).into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    // At once for all that the edge adds.
    headers.reserve(HEADERS_USUAL);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let mut text = Vec::with_capacity(BODY_BYTES_USUAL);
    write(&mut text, body)?;
    Ok(bytes(status, JSON, text))
}

fn write(text: &mut Vec<u8>, value: &impl Serialize) -> Result<(), Problem> {
    serde_json::to_writer(text, value).map_err(|error| {
        tracing::error!(%error, "an answer could not be written as JSON");
        Problem::Service(oauth_manager_actors::domain::error::ServiceError::Internal)
    })
}

/// 200 with JSON.
pub(crate) fn ok(body: &impl Serialize) -> Answer {
    json(StatusCode::OK, body)
}

/// A list that is complete in one page.
pub(crate) fn whole_list(items: &impl Serialize) -> Answer {
    ok(&serde_json::json!({ "items": items, "next": null }))
}

/// An access token on its way to a service (design, section 6), all but for how long it still is one.
#[derive(Serialize)]
struct TokenBody<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_at: Option<Timestamp>,
    scopes: &'a oauth_manager_actors::domain::scope::ScopeSet,
    provider: &'a oauth_manager_actors::domain::ids::ProviderKey,
    integration_id: &'a oauth_manager_actors::domain::ids::IntegrationId,
}

/// The token answer. What does not change from one caller to the next is written once.
pub(crate) fn token(grant: &AccessGrant, now: Timestamp) -> Answer {
    let constant = grant.written.get_or_write(|| {
        let token = grant.access_token.expose();
        // Large enough from the start: a text that grows leaves the token behind where it lay before.
        let scopes: usize = grant.scopes.iter().map(|scope| scope.as_str().len()).sum();
        let mut text = Vec::with_capacity(2 * (token.len() + scopes) + BODY_BYTES_USUAL);
        write(
            &mut text,
            &TokenBody {
                access_token: token,
                token_type: &grant.token_type,
                expires_at: grant.expires_at,
                scopes: &grant.scopes,
                provider: grant.provider(),
                integration_id: &grant.integration_id,
            },
        )?;
        // The object goes on.
        text.pop();
        Ok::<_, Problem>(text)
    })?;
    let expires_in = grant.expires_at.map(|at| at.duration_since(now).as_secs().max(0));
    let mut body = Vec::with_capacity(constant.len() + EXPIRES_IN_BYTES_MAX);
    body.extend_from_slice(constant);
    body.extend_from_slice(b",\"expires_in\":");
    write(&mut body, &expires_in)?;
    body.push(b'}');
    Ok(bytes(StatusCode::OK, JSON, body))
}

/// A page. Its security headers are set for every HTML at the edge.
pub(crate) fn page(status: StatusCode, markup: Markup) -> Response {
    bytes(
        status,
        "text/html; charset=utf-8",
        markup.into_string().into_bytes(),
    )
}

/// 303: always a GET, whatever brought the browser here. The address may hold a state or a confirmation: it is neither
/// cached nor passed on as a referrer, and never logged.
pub(crate) fn see_other(location: &Url) -> Answer {
    let location = HeaderValue::from_str(location.as_str())
        .map_err(|_| Problem::Service(oauth_manager_actors::domain::error::ServiceError::Internal))?;
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SEE_OTHER;
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, location);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

/// The same answer with a cookie set or taken away.
pub(crate) fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(mut value) = HeaderValue::from_str(cookie) {
        value.set_sensitive(true);
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use oauth_manager_actors::domain::{scope::ScopeSet, secret::AccessToken, token::Written};
    use serde_json::{Value, json};

    use super::*;

    fn grant(expires_at: Option<&str>) -> AccessGrant {
        AccessGrant {
            access_token: AccessToken::new("secret"),
            token_type: "Bearer".into(),
            expires_at: expires_at.map(|at| at.parse().unwrap()),
            scopes: ScopeSet::from_iter(["b", "a"]),
            integration_id: "google_00000000000000000000000000000abc".parse().unwrap(),
            written: Written::default(),
        }
    }

    async fn body_of(grant: AccessGrant) -> Value {
        let response = token(&grant, "2030-01-01T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }

    #[tokio::test]
    async fn token_answers_not_cacheable() {
        assert_eq!(
            body_of(grant(Some("2030-01-01T01:00:00.5Z"))).await,
            json!({
                "access_token": "secret", "token_type": "Bearer", "expires_at": "2030-01-01T01:00:00.5Z",
                "expires_in": 3600, "scopes": ["a", "b"], "provider": "google",
                "integration_id": "google_00000000000000000000000000000abc",
            })
        );
    }

    #[tokio::test]
    async fn a_token_that_leaves_again_says_how_long_it_still_is_one() {
        let grant = grant(Some("2030-01-01T01:00:00Z"));
        for (now, left) in [
            ("2030-01-01T00:00:00Z", 3600),
            ("2030-01-01T00:59:59Z", 1),
            ("2030-01-01T02:00:00Z", 0),
        ] {
            let body = token(&grant, now.parse().unwrap()).unwrap().into_body();
            let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            assert_eq!(
                (&body["expires_in"], &body["access_token"]),
                (&json!(left), &json!("secret"))
            );
        }
        assert!(!format!("{grant:?}").contains("secret"), "{grant:?}");
    }

    #[tokio::test]
    async fn an_unknown_end_is_null() {
        let body = body_of(grant(None)).await;
        assert_eq!(
            (&body["expires_at"], &body["expires_in"]),
            (&Value::Null, &Value::Null)
        );
    }
}
