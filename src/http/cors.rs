//! Scripts of other origins (CORS): none by default; the configured ones may call the JSON API with a bearer credential.
//! Never the pages, the connect link or the callback, and never with cookies.

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{reply::Response, request_context::RequestHead, routes::API_PREFIX, settings::WebOrigin};

/// The allowed origin that this request names, if it is for the JSON API.
pub(crate) fn allowed_origin<'a>(allowed: &'a [WebOrigin], head: &RequestHead) -> Option<&'a WebOrigin> {
    if allowed.is_empty() {
        return None;
    }
    let path = head.uri.path().strip_prefix(API_PREFIX)?;
    if !path.starts_with('/') || path.starts_with("/callback/") {
        return None;
    }
    let origin = head.header(&header::ORIGIN)?;
    allowed.iter().find(|known| known.as_str() == origin)
}

/// The answer to a preflight, if this is one.
pub(crate) fn preflight(head: &RequestHead) -> Option<Response> {
    if head.method != Method::OPTIONS || !head.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, PUT, DELETE"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("authorization, content-type, x-request-id"),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    Some(response)
}

/// Lets this origin read the answer.
pub(crate) fn expose(headers: &mut HeaderMap, origin: &WebOrigin) {
    if let Ok(value) = HeaderValue::from_str(origin.as_str()) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, value);
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-request-id, retry-after"),
        );
    }
}
