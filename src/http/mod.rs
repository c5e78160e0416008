//! The HTTP side: routes, credentials, errors (design, section 6). Handlers ask the [`OAuthManager`] and nothing below it.
//!
//! A request passes [`edge`] (id, bounds, headers, log), finds its route by path ([`endpoint`]), proves who it is
//! ([`auth`]) and is answered by a handler of [`routes`]; what goes wrong becomes a [`problem`].

use std::sync::Arc;

use futures_util::future::BoxFuture;
use oauth_manager_actors::{domain::Timestamp, handle::OAuthManager};
use url::Url;
use warp::{Filter, filters::BoxedFilter};

mod auth;
mod body;
mod bounds;
mod catalogue;
mod connection;
mod cors;
mod edge;
mod endpoint;
mod measure;
mod min_ttl;
mod problem;
mod query;
mod reply;
mod request_context;
mod request_id;
mod return_to;
mod routes;
mod security_headers;
mod server;
mod serving_threads;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;

pub use measure::METRICS;
pub use server::serve;

use crate::jose::PublishedKeys;
use auth::user_jwt::UserJwt;
use bounds::{Bounds, open_connections::OpenConnections, refusals::Refusals};
use edge::Edge;
use endpoint::{Endpoint, Route};
use reply::Response;
use request_context::RequestHead;
use settings::{HttpSettings, Limits};

/// What time it is.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What is measured, as Prometheus reads it.
pub type Scrape = Arc<dyn Fn() -> BoxFuture<'static, String> + Send + Sync>;

/// Connections to the operator's listener: a few scrapers, and an operator with a browser.
const SCRAPERS_MAX: usize = 16;

/// Everything a handler may use.
pub(crate) struct Api {
    pub(crate) manager: OAuthManager,
    pub(crate) settings: Arc<HttpSettings>,
    pub(crate) users: UserJwt,
    /// What one caller or address may take.
    pub(crate) bounds: Bounds,
    now: Now,
}

impl Api {
    /// Now.
    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    /// Whether browsers reach us by https.
    pub(crate) fn https(&self) -> bool {
        self.settings.public_url.scheme() == "https"
    }

    /// The address of one of our pages, as browsers reach it.
    pub(crate) fn page_url(&self, path: &str) -> Url {
        let mut url = self.settings.public_url.clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}{path}"));
        url.set_query(None);
        url.set_fragment(None);
        url
    }
}

/// The HTTP side, ready to be [`serve`]d.
#[derive(Clone)]
pub struct HttpService {
    edge: Arc<Edge>,
    settings: Arc<HttpSettings>,
    refusals: Refusals,
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService").finish_non_exhaustive()
    }
}

impl HttpService {
    /// In front of this system. `keys` are the application's published ones, where its JWTs are checked by them.
    pub fn new(
        manager: OAuthManager,
        settings: HttpSettings,
        keys: Option<Arc<PublishedKeys>>,
        now: Now,
    ) -> Self {
        let (settings, refusals) = (Arc::new(settings), Refusals::new());
        let api = Arc::new(Api {
            manager,
            bounds: Bounds::new(&settings.limits, &refusals),
            users: UserJwt::new(settings.user_jwt.clone(), keys, Arc::clone(&now)),
            settings: Arc::clone(&settings),
            now: Arc::clone(&now),
        });
        Self::of_bounded_routes(routes::all(&api), settings, refusals, now)
    }

    /// The operator's listener: `GET /metrics` and nothing else, with the same bounds on slow and rude clients.
    pub fn of_metrics(settings: &HttpSettings, scrape: Scrape, now: Now) -> Self {
        let settings = HttpSettings {
            allowed_origins: Vec::new(),
            limits: Limits {
                connections_max: SCRAPERS_MAX,
                connections_per_address_max: SCRAPERS_MAX,
                requests_max: SCRAPERS_MAX,
                serving_threads: 1,
                ..settings.limits.clone()
            },
            measured: false,
            ..settings.clone()
        };
        Self::of_routes(vec![routes::metrics::show(scrape)], Arc::new(settings), now)
    }

    fn of_routes(routes: Vec<Route>, settings: Arc<HttpSettings>, now: Now) -> Self {
        Self::of_bounded_routes(routes, settings, Refusals::new(), now)
    }

    fn of_bounded_routes(
        mut routes: Vec<Route>,
        settings: Arc<HttpSettings>,
        refusals: Refusals,
        now: Now,
    ) -> Self {
        let at_hand = routes
            .iter_mut()
            .filter_map(|route| route.at_hand.take())
            .collect();
        Self {
            edge: Arc::new(Edge::new(
                at_hand,
                table(routes),
                Arc::clone(&settings),
                refusals.clone(),
                now,
            )),
            settings,
            refusals,
        }
    }

    fn edge(&self) -> Arc<Edge> {
        Arc::clone(&self.edge)
    }

    fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    fn open_connections(&self) -> Arc<OpenConnections> {
        OpenConnections::new(&self.settings, self.refusals.clone())
    }
}

/// All routes as one filter, as a tree, so that types and stacks stay small; what none of them takes is 404 or 405.
fn table(routes: Vec<Route>) -> BoxedFilter<(Response,)> {
    let endpoints: Vec<&'static Endpoint> = routes.iter().map(|route| route.endpoint).collect();
    let rest = warp::ext::get::<Arc<RequestHead>>()
        .map(move |head: Arc<RequestHead>| {
            endpoint::untaken(&endpoints, &head).into_response(&head.request_id)
        })
        .boxed();
    let mut routes: Vec<_> = routes.into_iter().map(|route| route.filter).collect();
    routes.push(rest);
    balanced(routes).unwrap_or_else(|| warp::any().map(Response::default).boxed())
}

type Filters = Option<BoxedFilter<(Response,)>>;

fn balanced(mut routes: Vec<BoxedFilter<(Response,)>>) -> Filters {
    if routes.len() <= 1 {
        return routes.pop();
    }
    let right = routes.split_off(routes.len() / 2);
    either(balanced(right), balanced(routes))
}

/// The second first, and what it does not take, the first.
fn either(rest: Filters, first: Filters) -> Filters {
    match (first, rest) {
        (Some(first), Some(rest)) => Some(first.or(rest).unify().boxed()),
        (one, other) => one.or(other),
    }
}
