//! `/ready` tells the truth, and tells it at once.

use std::time::Duration;

use oauth_manager::vault::keyring;
use serde_json::Value;

use crate::harness::{Answer, ENCRYPTION_KEY, Proxy, Service, ServiceOptions, eventually, serving::Serving};

/// An orchestrator does not wait longer.
const PATIENCE: Duration = Duration::from_secs(4);

async fn ready(service: &Service) -> Answer {
    let asked = service.http.get(format!("{}/ready", service.base_url)).send();
    Answer::of(
        tokio::time::timeout(PATIENCE, asked)
            .await
            .expect("an answer, whatever it is")
            .unwrap(),
    )
    .await
}

fn parts(body: &Value) -> [bool; 4] {
    ["database", "migrations", "keys", "actors"].map(|part| body[part].as_bool().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_says_nothing_any_more_is_told_at_once() {
    let database = crate::harness::fresh_database().await;
    let proxy = Proxy::before(&database, false).await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(proxy.url(&database)),
        ..ServiceOptions::default()
    })
    .await;
    assert_eq!(parts(&ready(&service).await.expect_status(200)), [true; 4]);
    proxy.hold();
    let told = ready(&service).await.expect_status(503);
    assert_eq!((&told["status"], parts(&told)[0]), (&"not_ready".into(), false));
    assert!(parts(&told)[3], "the actors run");
    proxy.mend();
    eventually("it is ready again", || async {
        (ready(&service).await.status == 200).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_without_a_free_connection_is_told_at_once() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let mut paths = Vec::new();
    for user in 0..12 {
        let id = service.connect(&format!("user-{user}"), "google").await["id"].clone();
        paths.push(format!("/integrations/{}/token", id.as_str().unwrap()));
    }
    // Asleep, every one of them: a token takes a look at the row, and the rows are locked.
    let restarted = Service::start_before(
        crate::harness::start_simulator(&ServiceOptions::default()).await,
        ServiceOptions {
            database_url: Some(service.database_url.clone()),
            ..ServiceOptions::default()
        },
    )
    .await;
    let consumer = crate::harness::Api::new(
        restarted.http.clone(),
        &restarted.base_url,
        Some(consumer.token().to_owned()),
    );
    consumer
        .get("/users/nobody/token?provider=google")
        .await
        .expect_problem(404, "not_connected");
    let mut sql = service.sql().await;
    let lock = sql.transaction().await.unwrap();
    lock.batch_execute("LOCK TABLE oauth_integrations IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let asked = futures_util::future::join_all(paths.iter().map(|path| consumer.get(path)));
    let meanwhile = async {
        let told = eventually("no connection is free", || async {
            let answer = ready(&restarted).await;
            (answer.status == 503).then_some(answer.body)
        })
        .await;
        assert!(!parts(&told)[0], "{told:#}");
        let health = restarted.http.get(format!("{}/health", restarted.base_url));
        assert_eq!(health.send().await.unwrap().status(), 200, "alive all the same");
        lock.rollback().await.unwrap();
    };
    let (answers, ()) = tokio::join!(asked, meanwhile);
    for answer in answers {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    eventually("it is ready again", || async {
        (ready(&restarted).await.status == 200).then_some(())
    })
    .await;
    restarted.stop().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_rows_still_need_and_that_was_taken_away_is_told() {
    let service = Service::start().await;
    let new = keyring::generate().unwrap();
    let old = format!("\"test:{ENCRYPTION_KEY}\"");
    // Both: the new one seals from now on, and leaves its check value.
    let both = Serving::with(&service, |toml| {
        toml.replace(&old, &format!("\"next:{}\", {old}", *new))
    })
    .await;
    service.connect("ada", "google").await;
    let (_, said) = both.get("/ready").await;
    assert!(said.contains("\"keys\":true"), "{said}");
    // The old one is taken away too early.
    let toml = service.toml.replace(&old, &format!("\"next:{}\"", *new));
    let hasty = Serving::start(toml).await;
    let said = eventually("it knows", || async {
        let (status, said) = hasty.get("/ready").await;
        assert_ne!(status, 200, "{said}");
        said.contains("\"migrations\":true").then_some(said)
    })
    .await;
    assert!(
        said.contains("\"keys\":false") && said.contains("\"database\":true"),
        "{said}"
    );
    // With nothing left that needs it, nothing is missing.
    let sql = service.sql().await;
    sql.execute("DELETE FROM oauth_tokens", &[]).await.unwrap();
    let in_time = Serving::with(&service, |toml| toml.replace(&old, &format!("\"next:{}\"", *new))).await;
    assert_eq!(in_time.get("/ready").await.0, 200);
    service.stop().await;
}
