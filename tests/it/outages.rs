//! Outages and limits over real sockets and two nodes, judged by the provider's record.

use std::time::Duration;

use futures_util::future::join_all;
use oauth_manager::{
    app::Running,
    config::Config,
    dev::simulator::{Endpoint, Fault, Provider},
};
use oauth_manager_actors::{
    handle::{BreakerState, EgressView, OAuthManager},
    ports::store::FaultKind,
};
use tokio::net::TcpListener;

use crate::harness::{Service, ServiceOptions, eventually, scale::repetitions, start_simulator};

/// Short, and long enough that two probes of one interval could not be taken for one.
const INTERVAL: Duration = Duration::from_millis(400);

fn options() -> ServiceOptions {
    ServiceOptions {
        extra_toml: "[timings]\nprovider_deadline = \"1500ms\"\nrefresh_lease = \"4s\"\n".to_owned(),
        adjust: |settings| settings.breaker_interval = INTERVAL,
        ..ServiceOptions::default()
    }
}

/// Another node of the same configuration.
async fn another_node(service: &Service) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config: &Config = &service.config;
    let running = Running::start_adjusted(config, listener, |settings| settings.breaker_interval = INTERVAL)
        .await
        .unwrap();
    running.ready_within(Duration::from_secs(30)).await.unwrap();
    running
}

async fn egress(manager: &OAuthManager, provider: Provider) -> EgressView {
    let observed = manager.observe(&provider.key().parse().unwrap()).await.unwrap();
    observed.egress.unwrap()
}

/// Makes every token end a moment ago and its refresh due.
async fn all_overdue(service: &Service) {
    let overdue = "UPDATE oauth_tokens SET issued_at = now() - interval '1 hour', expires_at = now() - interval '1 second', \
                   next_refresh_at = now() - interval '1 second'";
    service.sql().await.execute(overdue, &[]).await.unwrap();
}

async fn statuses(service: &Service, provider: &str) -> Vec<String> {
    let sql = "SELECT status FROM oauth_integrations WHERE provider = $1";
    let rows = service.sql().await.query(sql, &[&provider]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

async fn overdue_left(service: &Service) -> i64 {
    let sql = "SELECT count(*) FROM oauth_tokens WHERE expires_at < now()";
    service.sql().await.query_one(sql, &[]).await.unwrap().get(0)
}

async fn connect_many(service: &Service, provider: &str, many: usize) {
    for chunk in (0..many).collect::<Vec<_>>().chunks(16) {
        join_all(chunk.iter().map(async |n| {
            let user = format!("user{n}");
            let begun = serde_json::json!({ "provider": provider, "login_hint": user });
            service.connect_with(&user, begun).await
        }))
        .await;
    }
}

/// Refreshes that reached the provider, by when.
fn refreshes(service: &Service, provider: Provider) -> Vec<i64> {
    let requests = service.simulator.requests_to(provider, Endpoint::Refresh);
    requests.iter().map(|request| request.at_ms).collect()
}

async fn outage(name: &str, fault: Fault) {
    let service = Service::start_with(options()).await;
    connect_many(&service, "google", 40).await;
    service.connect("healthy", "microsoft").await;
    let consumer = service.service(&["*:*"]).await;
    let other = another_node(&service).await;
    service
        .simulator
        .inject(Provider::Google, Endpoint::Refresh, fault, 0);
    let google_overdue = "UPDATE oauth_tokens t SET issued_at = now() - interval '1 hour', \
         expires_at = now() - interval '1 second', next_refresh_at = now() - interval '1 second' \
         FROM oauth_integrations i WHERE i.id = t.integration_id AND i.provider = 'google'";
    service.sql().await.execute(google_overdue, &[]).await.unwrap();
    // Whoever notices first tells the other.
    eventually(&format!("{name}: both nodes hold off"), async || {
        let here = egress(&service.manager, Provider::Google).await.breaker;
        let there = egress(&other.manager, Provider::Google).await.breaker;
        let open = |state| matches!(state, BreakerState::Open | BreakerState::HalfOpen);
        (open(here) && open(there)).then_some(())
    })
    .await;
    // What was under way when it opened has ended by now; from here on there are probes only.
    tokio::time::timeout(Duration::from_secs(10), async {
        while egress(&service.manager, Provider::Google).await.in_flight
            + egress(&other.manager, Provider::Google).await.in_flight
            > 1
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    service.simulator.forget_requests();
    let probes = repetitions(6, 60);
    tokio::time::timeout(Duration::from_secs(240), async {
        while refreshes(&service, Provider::Google).len() < probes {
            // Another provider is served meanwhile.
            let token = consumer.get("/users/healthy/token?provider=microsoft").await;
            token.expect_status(200);
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{name}: the provider is not probed"));
    let probed = refreshes(&service, Provider::Google);
    // The rights to them are an interval apart by the database's clock; what each needs from there to the provider's door
    // differs, on a busy machine by a good part of this short interval. Two nodes that probed each for itself would need
    // half the time.
    let took = Duration::from_millis(u64::try_from(probed[probes - 1] - probed[0]).unwrap());
    let intervals = u32::try_from(probes - 1).unwrap();
    assert!(took >= INTERVAL * intervals - INTERVAL, "{name}: {probed:?}");
    for status in statuses(&service, "google").await {
        assert!(
            matches!(status.as_str(), "active" | "degraded"),
            "{name}: {status}"
        );
    }
    service.simulator.clear_faults();
    eventually(&format!("{name}: everybody is refreshed"), async || {
        (overdue_left(&service).await == 0).then_some(())
    })
    .await;
    let all = statuses(&service, "google").await;
    assert!(all.iter().all(|status| status == "active"), "{name}: {all:?}");
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_answers_503_is_probed_once_per_interval_by_all_nodes_together() {
    outage("503", Fault::ServerError { status: 503 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_resets_connections_is_probed_once_per_interval_by_all_nodes_together() {
    outage("reset", Fault::Reset).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_is_probed_once_per_interval_by_all_nodes_together() {
    outage("hang", Fault::Hang).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_behind_a_broken_proxy_is_probed_once_per_interval_by_all_nodes_together() {
    outage("html", Fault::HtmlBody { status: 502 }).await;
}

async fn left_alone(retry_after: String, at_least: Duration) {
    let service = Service::start_with(options()).await;
    connect_many(&service, "google", 20).await;
    let other = another_node(&service).await;
    let fault = Fault::TooManyRequests {
        retry_after: Some(retry_after),
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Refresh, fault, 1);
    // One account meets it, and then everybody wants to go.
    let one = "UPDATE oauth_tokens SET issued_at = now() - interval '1 hour', expires_at = now(), next_refresh_at = now() \
               WHERE integration_id = (SELECT integration_id FROM oauth_tokens LIMIT 1)";
    service.sql().await.execute(one, &[]).await.unwrap();
    service
        .simulator
        .answered(Provider::Google, Endpoint::Refresh, 1)
        .await;
    eventually("the node that was told holds off", async || {
        let here = egress(&service.manager, Provider::Google).await.breaker;
        let there = egress(&other.manager, Provider::Google).await.breaker;
        (here == BreakerState::Open || there == BreakerState::Open).then_some(())
    })
    .await;
    all_overdue(&service).await;
    eventually("everybody is refreshed", async || {
        (overdue_left(&service).await == 0).then_some(())
    })
    .await;
    let times = refreshes(&service, Provider::Google);
    let gap = times[1] - times[0];
    assert!(
        gap >= i64::try_from(at_least.as_millis()).unwrap(),
        "called {gap} ms after being told to wait"
    );
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_in_seconds_is_obeyed_by_every_node() {
    left_alone("3".to_owned(), Duration::from_secs(3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_as_a_date_is_obeyed_by_every_node() {
    #[expect(clippy::disallowed_methods, reason = "the provider's own clock")]
    let date = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(12);
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&date)
        .unwrap();
    // The flows before it take some of the time; what is left of it is still obeyed.
    left_alone(date, Duration::from_secs(2)).await;
}

/// A service with one more provider, a strict single-use one, whose registration has these lines.
async fn with_acme(registration: impl Fn(&str) -> String) -> Service {
    let simulator = start_simulator(&options()).await;
    let (client_id, secret) = simulator.client(Provider::Oidc);
    let extra_toml = format!(
        "{}[providers.acme]\ntype = \"oidc\"\nissuer = \"{}\"\nclient_id = \"{client_id}\"\nallow_loopback = true\n\
         refresh_class = \"single_use\"\n{}\n[providers.acme.features]\n\
         \"acme.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n",
        options().extra_toml,
        simulator.provider_url(Provider::Oidc),
        registration(&secret),
    );
    let options = ServiceOptions {
        extra_toml,
        ..options()
    };
    Service::start_before(simulator, options).await
}

async fn acme(manager: &OAuthManager) -> (EgressView, Option<&'static str>) {
    let observed = manager.observe(&"acme".parse().unwrap()).await.unwrap();
    (observed.egress.unwrap(), observed.client_secret)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_client_secret_touches_nobody_and_its_file_put_right_is_enough() {
    let file = std::env::temp_dir().join(format!("oauth-manager-secret-{}", uuid::Uuid::new_v4()));
    let service = with_acme(|secret| {
        std::fs::write(&file, secret).unwrap();
        format!("client_secret_file = \"{}\"", file.display())
    })
    .await;
    connect_many(&service, "acme", repetitions(100, 400)).await;
    let other = another_node(&service).await;
    service
        .simulator
        .set_client_secret(Provider::Oidc, "rotated-at-the-provider");
    all_overdue(&service).await;
    let operators = Some(FaultKind::Operator);
    eventually("both nodes hold off", async || {
        let (here, there) = (acme(&service.manager).await.0, acme(&other.manager).await.0);
        (here.cause == operators && there.cause == operators).then_some(())
    })
    .await;
    service.simulator.forget_requests();
    eventually("it is probed", async || {
        (refreshes(&service, Provider::Oidc).len() >= 4).then_some(())
    })
    .await;
    let untouched = statuses(&service, "acme").await;
    assert!(untouched.iter().all(|status| status == "active"), "{untouched:?}");

    // With a line end, as editors leave it. Nobody restarts anything.
    std::fs::write(&file, "rotated-at-the-provider\n").unwrap();
    eventually("everybody is refreshed", async || {
        (overdue_left(&service).await == 0).then_some(())
    })
    .await;
    let all = statuses(&service, "acme").await;
    assert!(all.iter().all(|status| status == "active"), "{all:?}");
    let _ = std::fs::remove_file(&file);
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_two_client_secrets_overlap_whichever_the_provider_takes_is_used() {
    let service = with_acme(|secret| {
        format!("client_secret = \"{secret}\"\nclient_secret_next = \"the-secret-to-come\"")
    })
    .await;
    connect_many(&service, "acme", 20).await;
    assert_eq!(acme(&service.manager).await.1, Some("first"));
    let logged = crate::harness::logs::length();
    service
        .simulator
        .set_client_secret(Provider::Oidc, "the-secret-to-come");
    service.simulator.forget_requests();
    all_overdue(&service).await;
    eventually("everybody is refreshed", async || {
        (overdue_left(&service).await == 0).then_some(())
    })
    .await;
    let (egress, in_use) = acme(&service.manager).await;
    assert_eq!(in_use, Some("next"));
    assert_eq!(egress.breaker, BreakerState::Closed, "nobody was held off");
    let all = statuses(&service, "acme").await;
    assert!(all.iter().all(|status| status == "active"), "{all:?}");
    // Each refresh token was taken once: a client that is not known has spent nothing.
    let requests = service.simulator.requests_to(Provider::Oidc, Endpoint::Refresh);
    assert_eq!(
        requests.iter().filter(|one| one.status() == Some(200)).count(),
        20
    );
    // And whoever connects anew is not troubled either.
    service.connect("newcomer", "acme").await;
    let said = crate::harness::logs::since(logged);
    assert!(said.contains("the other of two client secrets"));
    assert!(!said.contains("the-secret-to-come"), "a secret is in the log");
}
