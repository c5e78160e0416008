//! However many ask at once, the provider is called once.

use std::{collections::BTreeSet, future::poll_fn, task::Poll, time::Duration};

use futures_util::future::{join_all, maybe_done};
use oauth_manager::{
    app::Running,
    dev::simulator::{Endpoint, Provider},
};

use crate::harness::{Api, Service, ServiceOptions, eventually};

const CALLERS: usize = 200;

/// Stops the service, makes the token of its one account end a moment ago, and starts it again.
async fn restart_with_expired_token(service: Service) -> Service {
    let ended = "UPDATE oauth_tokens SET issued_at = now() - interval '1 hour', expires_at = now() - interval '1 second', \
                 next_refresh_at = now() + interval '1 hour'";
    let sql = service.sql().await;
    let database_url = Some(service.database_url.clone());
    let (simulator, _) = service.stop().await;
    assert_eq!(sql.execute(ended, &[]).await.unwrap(), 1);
    let options = ServiceOptions {
        database_url,
        ..ServiceOptions::default()
    };
    Service::start_before(simulator, options).await
}

async fn callers_share_one_refresh(provider: Provider, path: impl Fn(&str) -> String) {
    let service = Service::start().await;
    let integration = service.connect("ada", provider.key()).await;
    let service = restart_with_expired_token(service).await;
    let consumer = service.service(&["*:*"]).await;
    let gate = service.simulator.gate(provider, Endpoint::Refresh);
    let path = path(integration["id"].as_str().unwrap());

    let callers = join_all((0..CALLERS).map(|_| consumer.get(&path)));
    let observer = async {
        gate.arrived().await;
        gate.release();
    };
    let (answers, ()) = tokio::join!(callers, observer);

    let tokens: BTreeSet<String> = answers
        .into_iter()
        .map(|answer| {
            let token = answer.expect_status(200);
            token["access_token"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(tokens.len(), 1);
    assert!(service.simulator.access_token_is_live(tokens.first().unwrap()));
    assert_eq!(
        service.simulator.requests_to(provider, Endpoint::Refresh).len(),
        1
    );
    // Each of them is in the records, once.
    let sql = service.sql().await;
    service.stop().await;
    let issued: i64 = sql
        .query_one(
            "SELECT coalesce(sum(count), 0) FROM oauth_audit_log WHERE action = 'token_issued'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    assert_eq!(usize::try_from(issued).unwrap(), CALLERS);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_of_one_expired_account_cause_one_provider_call() {
    callers_share_one_refresh(Provider::Google, |id| format!("/integrations/{id}/token")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_of_one_expired_user_cause_one_provider_call() {
    callers_share_one_refresh(Provider::Microsoft, |_| {
        "/users/ada/token?provider=microsoft&min_ttl=300".to_owned()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_in_the_process_all_wait_for_the_same_provider_call() {
    let service = Service::start().await;
    service.connect("ada", "google").await;
    let service = restart_with_expired_token(service).await;
    let gate = service.simulator.gate(Provider::Google, Endpoint::Refresh);
    let (user, feature) = ("ada".parse().unwrap(), "google.calendar".parse().unwrap());
    let manager = &service.manager;
    let mut callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            Box::pin(maybe_done(manager.access_token(
                &user,
                &feature,
                Duration::from_secs(60),
            )))
        })
        .collect();
    // The first poll sends the question; what is sent afterwards arrives afterwards.
    poll_fn(|context| {
        for caller in &mut callers {
            assert!(caller.as_mut().poll(context).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    gate.arrived().await;
    manager.observe(&"google".parse().unwrap()).await.unwrap();
    gate.release();
    join_all(callers.iter_mut()).await;
    let tokens: BTreeSet<String> = callers
        .iter_mut()
        .map(|caller| {
            let grant = caller.as_mut().take_output().unwrap().unwrap();
            grant.access_token.expose().to_owned()
        })
        .collect();
    assert_eq!(tokens.len(), 1);
    let refreshes = service.simulator.requests_to(Provider::Google, Endpoint::Refresh);
    assert_eq!(refreshes.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_asked_at_once_cause_one_provider_call() {
    let service = Service::start().await;
    let integration = service.connect("ada", "google").await;
    let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
    let one = restart_with_expired_token(service).await;
    let gate = one.simulator.gate(Provider::Google, Endpoint::Refresh);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let other_url = format!("http://{}", listener.local_addr().unwrap());
    let two = Running::start(&one.config, listener).await.unwrap();
    two.ready_within(Duration::from_secs(20)).await.unwrap();

    let api_one = one.service(&["*:*"]).await;
    let api_two = Api::new(
        crate::harness::http_client(),
        &other_url,
        Some(api_one.token().to_owned()),
    );
    let google = "google".parse().unwrap();
    let both = async { tokio::join!(api_one.get(&path), api_two.get(&path)) };
    let observer = async {
        gate.arrived().await;
        eventually("both nodes have the account awake", || async {
            let awake = [
                one.manager.observe(&google).await.unwrap().awake,
                two.manager.observe(&google).await.unwrap().awake,
            ];
            (awake == [1, 1]).then_some(())
        })
        .await;
        gate.release();
    };
    let ((first, second), ()) = tokio::join!(both, observer);
    assert_eq!(
        first.expect_status(200)["access_token"],
        second.expect_status(200)["access_token"]
    );
    let refreshes = one.simulator.requests_to(Provider::Google, Endpoint::Refresh);
    assert_eq!(refreshes.len(), 1);
    two.until(std::future::ready(())).await.unwrap();
    one.stop().await;
}
