//! Endpoints: the template and methods of each route, and the filter that takes a request for one.
//!
//! The path decides before anything else is looked at, so that a wrong path is 404 and never 401. Templates are also
//! what logs show of a path, and where `Allow` comes from: route and table cannot drift apart.

use std::{borrow::Cow, sync::Arc};

use http::Method;
use percent_encoding::percent_decode_str;
use warp::{Filter, Rejection, filters::BoxedFilter};

use super::{
    Api,
    body::Body,
    bounds::failures::leads_nowhere,
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
pub(crate) type AtHand = Box<dyn Fn(&RequestHead) -> Option<Response> + Send + Sync>;

/// Answers at once, if that is possible, with what stands in the first braces of the path.
type AnswerAtHand = fn(&Api, &RequestHead, &str) -> Option<Response>;

impl Route {
    /// The same, which first looks whether the answer is at hand.
    pub(crate) fn or_at_hand(self, api: &Arc<Api>, answer: AnswerAtHand) -> Self {
        let (api, endpoint) = (Arc::clone(api), self.endpoint);
        let at_hand: AtHand = Box::new(move |head| answer(&api, head, endpoint.captures_of(head)?.get(0)));
        Self {
            at_hand: Some(at_hand),
            ..self
        }
    }
}

/// The most braces a template has.
const CAPTURES_MAX: usize = 2;

/// What stood in the braces of a template, decoded, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Captures<'a>([Cow<'a, str>; CAPTURES_MAX]);

impl Captures<'_> {
    /// What stood at this place; empty if the template has none there.
    pub(crate) fn get(&self, index: usize) -> &str {
        self.0.get(index).map_or("", AsRef::as_ref)
    }

    fn into_owned(self) -> Captures<'static> {
        Captures(self.0.map(|text| Cow::Owned(text.into_owned())))
    }
}

impl Endpoint {
    /// What stands in the braces, if the path fits.
    pub(crate) fn captures<'a>(&self, path: &'a str) -> Option<Captures<'a>> {
        let mut captures = Captures::default();
        let mut places = captures.0.iter_mut();
        // Up to the first brace it is compared at once.
        let (literal, rest) = self
            .template
            .split_at(self.template.find('{').unwrap_or(self.template.len()));
        let mut segments = path.strip_prefix(literal)?.split('/');
        for expected in rest.split('/') {
            let segment = segments.next()?;
            if expected.starts_with('{') {
                let decoded = percent_decode_str(segment).decode_utf8().ok()?;
                if decoded.is_empty() {
                    return None;
                }
                *places.next()? = decoded;
            } else if segment != expected {
                return None;
            }
        }
        segments.next().is_none().then_some(captures)
    }

    /// The same, if this request is for here; it is then known to be.
    fn captures_of<'a>(&'static self, head: &'a RequestHead) -> Option<Captures<'a>> {
        let fits = self.methods.contains(&head.method);
        let captures = fits.then(|| self.captures(head.uri.path()))??;
        let _ = head.route.set(self.template);
        Some(captures)
    }

    fn take(&'static self, head: Arc<RequestHead>) -> Result<Call, Rejection> {
        let captures = self
            .captures_of(&head)
            .ok_or_else(warp::reject::not_found)?
            .into_owned();
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
    let mut response = reply::page(
        status,
        error_page::page(
            head.session.get(),
            status,
            problem.who_must_act(),
            &head.request_id,
        ),
    );
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

/// The secret that a browser comes with.
type Secret = for<'a> fn(&'a Call) -> Option<Cow<'a, str>>;

/// A page's route that browsers reach without a credential, by a secret of ours: those that come with none of ours too
/// often are refused, by address.
pub(crate) fn secret_route<F>(
    api: &Arc<Api>,
    endpoint: &'static Endpoint,
    secret: Secret,
    handler: fn(Arc<Api>, Call) -> F,
) -> Route
where
    F: Future<Output = Answer> + Send + 'static,
{
    let api = Arc::clone(api);
    let filter = on(endpoint)
        .then(move |call: Call| {
            let api = Arc::clone(&api);
            async move {
                let head = Arc::clone(&call.head);
                let is_known = || secret(&call).is_some_and(|secret| api.manager.has_made(&secret));
                let work = handler(Arc::clone(&api), call.clone());
                let answer = api
                    .bounds
                    .strays
                    .watch(&head, is_known, leads_nowhere, work)
                    .await;
                answer.unwrap_or_else(|problem| as_page(problem, &head))
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
            let body = Body::new(stream).of(Arc::clone(&head));
            async move {
                let answer = handler(api, call, body).await;
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
        let captures = TOKEN.captures("/users/a%7Cb%2Fc/token").unwrap();
        assert_eq!((captures.get(0), captures.get(1)), ("a|b/c", ""));
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
