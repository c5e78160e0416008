//! What happens to every request, whatever its route: its id, the bounds, CORS, headers, the log line.
//!
//! The log shows the route's template and never the path or the query, which may hold a state or a session link.

use std::{net::IpAddr, panic::AssertUnwindSafe, sync::Arc};

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
use tokio::time::Instant;
use tracing::Instrument;
use warp::filters::BoxedFilter;

use super::{
    Now, bounds::admission::Admission, bounds::refusals::Refusals, connection::Progress, cors,
    endpoint::AtHand, measure::HttpMeasures, problem::Problem, reply::Response, request_context::RequestHead,
    request_id::X_REQUEST_ID, routes, security_headers, settings::HttpSettings,
};

/// A body as it comes from a connection.
pub(crate) type IncomingBody = BoxBody<Bytes, hyper::Error>;

/// Longest address, path and query together.
const URI_BYTES_MAX: usize = 8 * 1024;

/// An answer under way.
pub(crate) type Answering = BoxFuture<'static, Response>;

/// Whoever sent a request.
pub(crate) struct Client<'a> {
    /// The other end of the connection.
    pub(crate) ip: IpAddr,
    /// Of the connection.
    pub(crate) progress: Option<&'a Progress>,
}

impl From<IpAddr> for Client<'_> {
    fn from(ip: IpAddr) -> Self {
        Self { ip, progress: None }
    }
}

/// Answers requests.
pub(crate) struct Edge {
    at_hand: Vec<AtHand>,
    routes: Box<dyn Fn(Request<IncomingBody>) -> Answering + Send + Sync>,
    admission: Arc<Admission>,
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
        refusals: Refusals,
        now: Now,
    ) -> Self {
        let service = TowerToHyperService::new(warp::service(routes));
        Self {
            at_hand,
            routes: Box::new(move |request| {
                let answer = service.call(request);
                async move { answer.await.unwrap_or_else(|never| match never {}) }.boxed()
            }),
            admission: Arc::new(Admission::new(&settings.limits, refusals)),
            measures: settings.measured.then(HttpMeasures::default),
            settings,
            now,
        }
    }

    /// The answer to one request: there at once, or under way.
    pub(crate) fn answer<'c, B>(
        self: &Arc<Self>,
        client: impl Into<Client<'c>>,
        request: Request<B>,
    ) -> Either<Ready<Response>, Answering>
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Send + Sync + 'static,
    {
        let (begun, client) = (Instant::now(), client.into());
        let (mut parts, body) = request.into_parts();
        let head = RequestHead::new(
            std::mem::take(&mut parts.method),
            std::mem::take(&mut parts.uri),
            std::mem::take(&mut parts.headers),
            client.ip,
            &self.settings.trusted_proxies,
            (self.now)(),
        );
        let span = tracing::debug_span!("http.request", http.request_id = %head.request_id);
        if let Some(response) = span.in_scope(|| self.at_once(&head, body.size_hint().lower())) {
            return Either::Left(ready(self.finish(&head, response, begun)));
        }
        let (edge, head) = (Arc::clone(self), Arc::new(head));
        let progress = client.progress.cloned();
        parts.method = head.method.clone();
        parts.uri = head.uri.clone();
        let answering = async move {
            let routed = edge.route(&head, progress, parts, body);
            let response = AssertUnwindSafe(routed).catch_unwind().await;
            let response = response.unwrap_or_else(|_panic| panicked(&head));
            edge.finish(&head, response, begun)
        };
        Either::Right(answering.instrument(span).boxed())
    }

    /// What needs neither a body nor anybody's help.
    fn at_once(&self, head: &RequestHead, body_bytes: u64) -> Option<Response> {
        let answer = || {
            if let Some(problem) = self.out_of_bounds(head, body_bytes) {
                return Some(problem.into_response(&head.request_id));
            }
            let scripted = cors::allowed_origin(&self.settings.allowed_origins, head);
            scripted
                .and_then(|_| cors::preflight(head))
                .or_else(|| self.at_hand.iter().find_map(|answer| answer(head)))
        };
        std::panic::catch_unwind(AssertUnwindSafe(answer)).unwrap_or_else(|_panic| Some(panicked(head)))
    }

    /// What is refused before any route looks at it. `body_bytes` is what the body has at least: a length that is declared
    /// is believed before it has come.
    fn out_of_bounds(&self, head: &RequestHead, body_bytes: u64) -> Option<Problem> {
        let uri_bytes = head.uri.path_and_query().map_or(0, |text| text.as_str().len());
        if uri_bytes > URI_BYTES_MAX {
            return Some(Problem::UriTooLong { max: URI_BYTES_MAX });
        }
        let max = self.settings.limits.body_bytes_max;
        if body_bytes > max as u64 {
            return Some(Problem::BodyTooLarge { max });
        }
        // TRACE would echo credentials, CONNECT would make a proxy of us.
        let refused = head.method == Method::TRACE || head.method == Method::CONNECT;
        refused.then_some(Problem::MethodNotAllowed(super::endpoint::READ))
    }

    async fn route<B>(
        &self,
        head: &Arc<RequestHead>,
        progress: Option<Progress>,
        mut parts: request::Parts,
        body: B,
    ) -> Response
    where
        B: Body<Data = Bytes, Error = hyper::Error> + Send + Sync + 'static,
    {
        match self.admission.request(progress) {
            Ok(permit) => drop(head.permit.set(permit)),
            Err(problem) => return problem.into_response(&head.request_id),
        }
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
