//! Endpoints: the template and methods of each route, and the filter that takes a request for one.
//!
//! The path decides before anything else is looked at, so that a wrong path is 404 and never 401. Templates are also
//! what logs show of a path, and where `Allow` comes from: route and table cannot drift apart.

use std::sync::Arc;

use http::Method;
use percent_encoding::percent_decode_str;
use warp::{Filter, Rejection, filters::BoxedFilter};

use super::{
    Api,
    body::Body,
    problem::{Answer, Problem},
    reply::{self, Response},
    request_context::{Call, RequestHead},
};
use crate::web::error_page;

/// Reading changes nothing, so `HEAD` is safe.
pub(crate) const READ: &[Method] = &[Method::GET, Method::HEAD];
/// A `GET` that consumes or hands out something: no `HEAD`.
pub(crate) const GET: &[Method] = &[Method::GET];
/// Causes something.
pub(crate) const POST: &[Method] = &[Method::POST];
/// Makes it so, however often it is said.
pub(crate) const PUT: &[Method] = &[Method::PUT];
/// Takes something back.
pub(crate) const DELETE: &[Method] = &[Method::DELETE];

/// A path template (`/connect/{handle}`) and the methods it answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Literal segments and `{named}` ones.
    pub(crate) template: &'static str,
    /// The methods.
    pub(crate) methods: &'static [Method],
}

/// A route: its endpoint and the filter that answers it.
pub(crate) struct Route {
    /// What it answers.
    pub(crate) endpoint: &'static Endpoint,
    /// How.
    pub(crate) filter: BoxedFilter<(Response,)>,
    /// What it answers where nobody has to be waited for, tried before any filter: most hand-outs.
    pub(crate) at_hand: Option<AtHand>,
}

/// The answer to this request, if it can be given at once. `None`: ask the filter.
pub(crate) type AtHand = Box<dyn Fn(&Arc<RequestHead>) -> Option<Response> + Send + Sync>;

impl Route {
    /// The same, which first looks whether the answer is at hand.
    pub(crate) fn or_at_hand(self, api: &Arc<Api>, answer: fn(&Api, &Call) -> Option<Response>) -> Self {
        let (api, endpoint) = (Arc::clone(api), self.endpoint);
        let at_hand: AtHand = Box::new(move |head| answer(&api, &endpoint.take(Arc::clone(head)).ok()?));
        Self {
            at_hand: Some(at_hand),
            ..self
        }
    }
}

impl Endpoint {
    /// What stands in the braces, if the path fits.
    pub(crate) fn captures(&self, path: &str) -> Option<Vec<String>> {
        let mut captures = Vec::new();
        let mut segments = path.split('/');
        for expected in self.template.split('/') {
            let segment = segments.next()?;
            if expected.starts_with('{') {
                let decoded = percent_decode_str(segment).decode_utf8().ok()?;
                if decoded.is_empty() {
                    return None;
                }
                captures.push(decoded.into_owned());
            } else if segment != expected {
                return None;
            }
        }
        segments.next().is_none().then_some(captures)
    }

    fn take(&'static self, head: Arc<RequestHead>) -> Result<Call, Rejection> {
        if !self.methods.contains(&head.method) {
            return Err(warp::reject::not_found());
        }
        let captures = self
            .captures(head.uri.path())
            .ok_or_else(warp::reject::not_found)?;
        let _ = head.route.set(self.template);
        Ok(Call { head, captures })
    }
}

/// Takes requests for this endpoint.
fn on(endpoint: &'static Endpoint) -> impl Filter<Extract = (Call,), Error = Rejection> + Clone {
    warp::ext::get::<Arc<RequestHead>>().and_then(move |head| std::future::ready(endpoint.take(head)))
}

/// How an error is shown: as a problem to programs, as a page to people.
type ShowProblem = fn(Problem, &RequestHead) -> Response;

/// For programs.
pub(crate) fn as_json(problem: Problem, head: &RequestHead) -> Response {
    problem.into_response(&head.request_id)
}

/// For people: the same status and headers, with words instead of codes.
pub(crate) fn as_page(problem: Problem, head: &RequestHead) -> Response {
    let status = problem.status();
    let mut response = reply::page(status, error_page::page(status, &head.request_id));
    problem.set_headers(&mut response);
    response
}

/// A route whose handler does not look at the body.
pub(crate) fn route<F>(
    api: &Arc<Api>,
    endpoint: &'static Endpoint,
    show: ShowProblem,
    handler: fn(Arc<Api>, Call) -> F,
) -> Route
where
    F: Future<Output = Answer> + Send + 'static,
{
    let api = Arc::clone(api);
    let filter = on(endpoint)
        .then(move |call: Call| {
            let (api, head) = (Arc::clone(&api), Arc::clone(&call.head));
            async move {
                let answer = handler(api, call).await;
                answer.unwrap_or_else(|problem| show(problem, &head))
            }
        })
        .boxed();
    Route {
        endpoint,
        filter,
        at_hand: None,
    }
}

/// A route that looks at nothing but the path and cannot fail.
pub(crate) fn bare_route<F>(
    endpoint: &'static Endpoint,
    handler: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Route
where
    F: Future<Output = Response> + Send + 'static,
{
    let filter = on(endpoint).then(move |_call: Call| handler()).boxed();
    Route {
        endpoint,
        filter,
        at_hand: None,
    }
}

/// A route whose handler reads the body, after it has looked at the credential.
pub(crate) fn body_route<F>(
    api: &Arc<Api>,
    endpoint: &'static Endpoint,
    show: ShowProblem,
    handler: fn(Arc<Api>, Call, Body) -> F,
) -> Route
where
    F: Future<Output = Answer> + Send + 'static,
{
    let api = Arc::clone(api);
    let filter = on(endpoint)
        .and(warp::body::stream())
        .then(move |call: Call, stream| {
            let (api, head) = (Arc::clone(&api), Arc::clone(&call.head));
            let body = Body::new(stream);
            let rest = body.rest();
            async move {
                let answer = handler(api, call, body).await;
                rest.discard().await;
                answer.unwrap_or_else(|problem| show(problem, &head))
            }
        })
        .boxed();
    Route {
        endpoint,
        filter,
        at_hand: None,
    }
}

/// What no route took: 405 where another method would have done, 404 otherwise.
pub(crate) fn untaken(endpoints: &[&'static Endpoint], head: &RequestHead) -> Problem {
    let path = head.uri.path();
    let mut fitting = endpoints
        .iter()
        .filter(|endpoint| endpoint.captures(path).is_some());
    match fitting.next() {
        None => Problem::NoSuchPath,
        Some(first) => Problem::MethodNotAllowed(
            fitting.fold(first.methods, |methods, endpoint| both(methods, endpoint.methods)),
        ),
    }
}

/// Two endpoints share a template only as the ones named here.
fn both(one: &'static [Method], other: &'static [Method]) -> &'static [Method] {
    const READ_DELETE: &[Method] = &[Method::GET, Method::HEAD, Method::DELETE];
    const READ_POST: &[Method] = &[Method::GET, Method::HEAD, Method::POST];
    const PUT_DELETE: &[Method] = &[Method::PUT, Method::DELETE];
    let has = |method: &Method| one.contains(method) || other.contains(method);
    if has(&Method::PUT) && has(&Method::DELETE) {
        return PUT_DELETE;
    }
    match (has(&Method::GET), has(&Method::DELETE), has(&Method::POST)) {
        (true, true, false) => READ_DELETE,
        (true, false, true) => READ_POST,
        _ => one,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Endpoint = Endpoint {
        template: "/users/{user}/token",
        methods: GET,
    };

    #[test]
    fn a_template_takes_its_paths_and_decodes_what_it_captures() {
        assert_eq!(TOKEN.captures("/users/a%7Cb%2Fc/token").unwrap(), ["a|b/c"]);
        for path in [
            "/users//token",
            "/users/a/token/",
            "/users/a",
            "users/a/token",
            "/users/%ff/token",
            "/",
            "",
        ] {
            assert_eq!(TOKEN.captures(path), None, "{path}");
        }
    }
}
