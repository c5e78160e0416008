//! What happens to every request, whatever its route: its id, the bounds, CORS, headers, the log line.
//!
//! The log shows the route's template and never the path or the query, which may hold a state or a session link.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{
    FutureExt,
    future::{BoxFuture, Either, Ready, ready},
};
use http::{HeaderMap, HeaderValue, Method, Request, header, request};
use http_body_util::{BodyExt, combinators::BoxBody};
use hyper::{body::Body, service::Service};
use hyper_util::service::TowerToHyperService;
use oauth_manager_actors::domain::error::ServiceError;
use tokio::{sync::Semaphore, time::Instant};
use tracing::Instrument;
use warp::filters::BoxedFilter;

use super::{
    Now, cors, endpoint::AtHand, measure::HttpMeasures, problem::Problem, reply::Response,
    request_context::RequestHead, request_id::X_REQUEST_ID, routes, security_headers, settings::HttpSettings,
};

/// A body as it comes from a connection.
pub(crate) type IncomingBody = BoxBody<Bytes, hyper::Error>;

/// Longest address, path and query together.
const URI_BYTES_MAX: usize = 8 * 1024;

/// An answer under way.
pub(crate) type Answering = BoxFuture<'static, Response>;

/// Answers requests.
pub(crate) struct Edge {
    at_hand: Vec<AtHand>,
    routes: Box<dyn Fn(Request<IncomingBody>) -> Answering + Send + Sync>,
    permits: Semaphore,
    settings: Arc<HttpSettings>,
    /// Absent where nobody reads what is measured.
    measures: Option<HttpMeasures>,
    now: Now,
}

impl Edge {
    /// In front of these routes, of which the last takes everything, and of what can be answered without them.
    pub(crate) fn new(
        at_hand: Vec<AtHand>,
        routes: BoxedFilter<(Response,)>,
        settings: Arc<HttpSettings>,
        now: Now,
    ) -> Self {
        let service = TowerToHyperService::new(warp::service(routes));
        Self {
            at_hand,
            routes: Box::new(move |request| {
                let answer = service.call(request);
                async move { answer.await.unwrap_or_else(|never| match never {}) }.boxed()
            }),
            permits: Semaphore::new(settings.limits.requests_max),
            measures: settings.measured.then(HttpMeasures::default),
            settings,
            now,
        }
    }

    /// The answer to one request: there at once, or under way.
    pub(crate) fn answer<B>(
        self: &Arc<Self>,
        peer: IpAddr,
        request: Request<B>,
    ) -> Either<Ready<Response>, Answering>
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Send + Sync + 'static,
    {
        let begun = Instant::now();
        let (mut parts, body) = request.into_parts();
        let head = RequestHead::new(
            std::mem::take(&mut parts.method),
            std::mem::take(&mut parts.uri),
            std::mem::take(&mut parts.headers),
            peer,
            &self.settings.trusted_proxies,
            (self.now)(),
        );
        let span = tracing::debug_span!("http.request", http.request_id = %head.request_id);
        if let Some(response) = span.in_scope(|| self.at_once(&head)) {
            return Either::Left(ready(self.finish(&head, response, begun)));
        }
        let (edge, head) = (Arc::clone(self), Arc::new(head));
        parts.method = head.method.clone();
        parts.uri = head.uri.clone();
        let answering = async move {
            let routed = edge.route(&head, parts, body);
            let response = AssertUnwindSafe(routed).catch_unwind().await;
            let response = response.unwrap_or_else(|_panic| panicked(&head));
            edge.finish(&head, response, begun)
        };
        Either::Right(answering.instrument(span).boxed())
    }

    /// What needs neither a body nor anybody's help.
    fn at_once(&self, head: &RequestHead) -> Option<Response> {
        let answer = || {
            if let Some(problem) = out_of_bounds(head) {
                return Some(problem.into_response(&head.request_id));
            }
            let scripted = cors::allowed_origin(&self.settings.allowed_origins, head);
            scripted
                .and_then(|_| cors::preflight(head))
                .or_else(|| self.at_hand.iter().find_map(|answer| answer(head)))
        };
        std::panic::catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_panic| Some(panicked(head)))
    }

    async fn route<B>(&self, head: &Arc<RequestHead>, mut parts: request::Parts, body: B) -> Response
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Send + Sync + 'static,
    {
        let Ok(_permit) = self.permits.try_acquire() else {
            let overloaded = ServiceError::Overloaded {
                detail: "this service has too much to do",
                retry_after: Duration::from_secs(1),
            };
            return Problem::Service(overloaded).into_response(&head.request_id);
        };
        parts.extensions.insert(Arc::clone(head));
        (self.routes)(Request::from_parts(parts, body.boxed())).await
    }

    /// Adds what belongs on every answer, and says that it was given.
    fn finish(&self, head: &RequestHead, mut response: Response, begun: Instant) -> Response {
        self.add_headers(head, response.headers_mut());
        if let Some(measures) = &self.measures {
            measures.answered(route_of(head), response.status().as_u16(), begun.elapsed());
        }
        log(head, &response, begun);
        response
    }

    fn add_headers(&self, head: &RequestHead, headers: &mut HeaderMap) {
        security_headers::apply(headers, self.settings.public_url.scheme() == "https");
        if !self.settings.allowed_origins.is_empty() {
            headers.insert(header::VARY, HeaderValue::from_static("origin"));
            if let Some(origin) = cors::allowed_origin(&self.settings.allowed_origins, head) {
                cors::expose(headers, origin);
            }
        }
        if let Some(id) = head.request_id.to_header() {
            headers.insert(X_REQUEST_ID, id);
        }
    }
}

/// The panic hook has logged it; the caller learns no more than that it was us.
fn panicked(head: &RequestHead) -> Response {
    Problem::Service(ServiceError::Internal).into_response(&head.request_id)
}

/// What is refused before any route looks at it.
fn out_of_bounds(head: &RequestHead) -> Option<Problem> {
    let uri_bytes = head.uri.path_and_query().map_or(0, |text| text.as_str().len());
    if uri_bytes > URI_BYTES_MAX {
        return Some(Problem::UriTooLong { max: URI_BYTES_MAX });
    }
    // TRACE would echo credentials, CONNECT would make a proxy of us.
    let refused = head.method == Method::TRACE || head.method == Method::CONNECT;
    refused.then_some(Problem::MethodNotAllowed(super::endpoint::READ))
}

fn route_of(head: &RequestHead) -> &'static str {
    head.route.get().copied().unwrap_or("-")
}

/// One line per request; for what is asked all day long, only when it did not go well: metrics count it and the audit
/// says who received what.
fn log(head: &RequestHead, response: &Response, begun: Instant) {
    let route = route_of(head);
    let status = response.status();
    macro_rules! answered {
        ($level:ident) => {
            tracing::$level!(
                http.status = status.as_u16(),
                http.method = %head.method,
                http.route = route,
                http.request_id = %head.request_id,
                duration_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX),
                "answered"
            )
        };
    }
    if status.is_success() && routes::ASKED_ALL_DAY.contains(&route) {
        answered!(debug);
    } else {
        answered!(info);
    }
}

#[cfg(test)]
#[path = "edge_tests.rs"]
mod tests;
