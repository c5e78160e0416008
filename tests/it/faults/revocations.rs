//! Row 24: an account revoked on one node is refused on every node within a second, and within five when no node hears of
//! the others' changes.

use std::time::Duration;

use super::{
    checker::Evidence,
    cluster::{Class, Cluster, Connected, Options},
};
use crate::harness::{eventually, scale};

/// The longest time until every node refused, over all repetitions.
async fn slowest(cluster: &Cluster, accounts: &[Connected]) -> Duration {
    let mut slowest = Duration::ZERO;
    for (number, account) in accounts.iter().enumerate() {
        let at = number % cluster.nodes.len();
        for node in 0..cluster.nodes.len() {
            cluster.token(node, account).await.expect_status(200);
        }
        let path = format!("/integrations/{}", account.id);
        let revoked = cluster.user(at, &account.user).delete(&path).await;
        revoked.expect_status(200);
        let since = tokio::time::Instant::now();
        cluster
            .token(at, account)
            .await
            .expect_problem(404, "not_connected");
        for node in 0..cluster.nodes.len() {
            eventually("the node refuses it", || async {
                (cluster.token(node, account).await.status == 404).then_some(())
            })
            .await;
        }
        slowest = slowest.max(since.elapsed());
        // And for good.
        for node in 0..cluster.nodes.len() {
            cluster
                .token(node, account)
                .await
                .expect_problem(404, "not_connected");
        }
    }
    slowest
}

fn assert_within(slowest: Duration, promised: Duration, on_a_busy_machine: Duration) {
    println!("refused everywhere within {slowest:?}");
    let limit = if scale::is_full() {
        promised
    } else {
        on_a_busy_machine
    };
    assert!(slowest <= limit, "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_account_is_refused_everywhere_within_a_second() {
    let mut cluster = Cluster::start(Options::default()).await;
    let accounts = cluster.connect(Class::Safe, scale::repetitions(3, 200)).await;
    let slowest = slowest(&cluster, &accounts).await;
    cluster.stop().await;
    Evidence::gather(&cluster, Vec::new()).await.assert_sound();
    assert_within(slowest, Duration::from_secs(1), Duration::from_secs(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_account_is_refused_everywhere_within_five_seconds_though_nobody_hears_of_it() {
    let mut cluster = Cluster::start(Options::default()).await;
    let accounts = cluster.connect(Class::Safe, scale::repetitions(2, 100)).await;
    for node in &cluster.nodes {
        node.way.deafen();
    }
    let sql = cluster.sql().await;
    let listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND query LIKE 'LISTEN%'";
    eventually("nobody listens", || async {
        let row = sql.query_one(listening, &[]).await.unwrap();
        (row.get::<_, i64>(0) == 0).then_some(())
    })
    .await;
    let slowest = slowest(&cluster, &accounts).await;
    let row = sql.query_one(listening, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 0, "nobody has listened");
    cluster.stop().await;
    Evidence::gather(&cluster, Vec::new()).await.assert_sound();
    assert_within(slowest, Duration::from_secs(5), Duration::from_secs(10));
}
