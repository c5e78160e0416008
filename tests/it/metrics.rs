//! What the service measures of itself: on the operator's listener alone, documented, and true.

use std::{collections::BTreeSet, fs, path::Path};

use oauth_manager::dev::simulator::Provider;
use serde_json::json;

use crate::harness::{
    Service, eventually, http_client,
    serving::{Serving, get},
};

fn documented() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md");
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split('`').next())
        .map(|name| name.split('{').next().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_not_on_public_listener() {
    let service = Service::start().await;
    let node = Serving::beside(&service).await;
    let metrics = node.metrics_url.clone().unwrap();
    let answer = http_client().get(&metrics).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/plain")
    );
    assert_eq!(node.get("/metrics").await.0, 404, "not for the public");
    let operators = metrics.strip_suffix("/metrics").unwrap();
    // Nothing else is there: neither pages nor the API, which has its own listener.
    for path in ["/", "/health", "/ready", "/metrics/", "/api/v1/oauth/providers"] {
        assert_eq!(get(&format!("{operators}{path}")).await.0, 404, "{path}");
    }
    let posted = http_client().post(&metrics).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted_without_saying_to_whom() {
    let service = Service::start().await;
    let node = Serving::beside(&service).await;
    let consumer = node.as_caller(&service.service(&["*:*"]).await);
    let user = "ada-of-the-metrics";
    let id = service.connect(user, "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    consumer
        .get("/users/nobody/token?provider=google")
        .await
        .expect_problem(404, "not_connected");
    node.as_caller(&service.user(user))
        .post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);

    let scraped = eventually("accounts are counted", || async {
        let scraped = node.scrape().await;
        let active = [("provider", "google"), ("status", "active")];
        (scraped.value("oauth_integrations", &active) == Some(1.0)).then_some(scraped)
    })
    .await;
    let google = |name, label, value| scraped.value(name, &[("provider", "google"), (label, value)]);
    assert_eq!(
        google("oauth_token_requests_total", "outcome", "issued"),
        Some(1.0)
    );
    assert_eq!(
        google("oauth_token_requests_total", "outcome", "not_connected"),
        Some(1.0)
    );
    assert_eq!(google("oauth_refreshes_total", "outcome", "refreshed"), Some(1.0));
    assert_eq!(google("oauth_actors", "state", "awake"), Some(1.0));
    assert_eq!(
        scraped.value("oauth_refresh_duration_seconds_count", &[("provider", "google")]),
        Some(1.0)
    );
    // What must stay at zero is there, at zero: an alert has something to look at.
    for name in [
        "oauth_tokens_below_min_ttl_total",
        "oauth_refresh_commits_fenced_total",
        "oauth_actor_restarts_total",
        "oauth_breaker_open",
    ] {
        assert_eq!(
            scraped.value(name, &[("provider", "google")]),
            Some(0.0),
            "{name}"
        );
    }
    assert_eq!(scraped.value("oauth_database_up", &[]), Some(1.0));
    let route = "/api/v1/oauth/integrations/{id}/token";
    assert_eq!(
        scraped.value(
            "oauth_http_requests_total",
            &[("route", route), ("status", "200")]
        ),
        Some(1.0),
        "{}",
        scraped.0
    );
    for secret in [user, id.as_str(), token["access_token"].as_str().unwrap()] {
        assert!(!scraped.0.contains(secret), "{secret} is in\n{}", scraped.0);
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operators_mistake_is_one_alarm_and_an_open_breaker_until_it_is_mended() {
    let service = Service::start().await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (_, secret) = service.simulator.client(Provider::Google);
    let node = Serving::with(&service, |toml| toml.replace(&secret, "not-the-secret-at-all")).await;
    let user = node.as_caller(&service.user("ada"));
    for _ in 0..2 {
        user.post(&format!("/integrations/{id}/refresh"), json!({}))
            .await
            .expect_problem(503, "provider_paused");
    }
    let scraped = node.scrape().await;
    let google = [("provider", "google")];
    assert_eq!(scraped.value("oauth_breaker_open", &google), Some(1.0));
    assert_eq!(scraped.value("oauth_operator_alarms_total", &google), Some(1.0));
    let others = [("provider", "microsoft")];
    assert_eq!(scraped.value("oauth_breaker_open", &others), Some(0.0));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_there_is_is_documented_and_every_documented_one_is_there() {
    let known: BTreeSet<String> = oauth_manager::app::documented_metrics()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        documented(),
        known,
        "docs/metrics.md against the tables in the code"
    );

    let service = Service::start().await;
    let node = Serving::beside(&service).await;
    service.connect("ada", "google").await;
    let exposed = eventually("it has looked for work and counted accounts", || async {
        let names = node.scrape().await.names();
        let has = |name: &str| names.contains(name);
        (has("oauth_scheduler_blind") && has("oauth_integrations")).then_some(names)
    })
    .await;
    let unknown: Vec<_> = exposed.difference(&known).collect();
    assert!(unknown.is_empty(), "measured and documented nowhere: {unknown:?}");
    // What a quiet service has not met yet must at least be recorded by the code that would meet it.
    let sources = sources();
    let dead: Vec<_> = known
        .difference(&exposed)
        .filter(|name| sources.matches(&format!("\"{name}\"")).count() < 2)
        .collect();
    assert!(dead.is_empty(), "documented and recorded nowhere: {dead:?}");
    service.stop().await;
}

/// Where the actors record.
fn sources() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("actors/src/measure.rs");
    fs::read_to_string(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_for_metrics_that_cannot_be_had_is_told_at_start() {
    let service = Service::start().await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let toml = service.toml.replacen(
        "listen = \"127.0.0.1:0\"\n",
        &format!("listen = \"127.0.0.1:0\"\nmetrics_listen = \"{address}\"\n"),
        1,
    );
    let program = crate::harness::Program::new(&toml);
    let ran = program.run(&["serve"]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("server.metrics_listen") && last.contains("cannot be bound"),
        "{ran:?}"
    );
    service.stop().await;
}
