//! Row 5, with Postgres there and taking no writes: read-only after a failover, or locked. No call is begun whose claim
//! cannot be stored, and an answer in hand is stored when it can be.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};
use tokio_postgres::Client;

use super::{
    checker::Evidence,
    cluster::{Class, Cluster, Options},
    kills::settle,
};
use crate::harness::{eventually, scale};

const NODE: usize = 1;

#[derive(Debug, Clone, Copy)]
enum Obstacle {
    ReadOnly,
    Locked,
}

impl Obstacle {
    async fn raise(self, sql: &Client) {
        match self {
            Self::ReadOnly => read_only(sql, "on").await,
            Self::Locked => sql
                .batch_execute("BEGIN; LOCK TABLE oauth_tokens IN EXCLUSIVE MODE")
                .await
                .unwrap(),
        }
    }

    async fn lift(self, sql: &Client) {
        match self {
            Self::ReadOnly => read_only(sql, "off").await,
            Self::Locked => sql.batch_execute("ROLLBACK").await.unwrap(),
        }
    }
}

/// For every session but this one, from now on.
async fn read_only(sql: &Client, value: &str) {
    let name: String = sql
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap()
        .get(0);
    sql.batch_execute(&format!(
        "SET default_transaction_read_only = off; \
         ALTER DATABASE {name} SET default_transaction_read_only = {value}; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ))
    .await
    .unwrap();
}

async fn outlasts(obstacle: Obstacle) {
    let mut cluster = Cluster::start(Options {
        database_timeout: Duration::from_secs(1),
        ..Options::default()
    })
    .await;
    // Its refresh token is spent: were the answer lost, so would the account be.
    let accounts = cluster.connect(Class::Strict, 2).await;
    let (in_hand, other) = (&accounts[0], &accounts[1]);
    cluster.token(NODE, other).await.expect_status(200);
    let sql = cluster.sql().await;
    for _ in 0..scale::repetitions(1, 30) {
        let logged = cluster.nodes[NODE].log().len();
        let gate = cluster.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh);
        let begun = || {
            let calls = cluster.simulator.requests_to(Provider::Oidc, Endpoint::Refresh);
            calls.len()
        };
        let hindered = async {
            gate.arrived().await;
            let before = begun();
            obstacle.raise(&sql).await;
            gate.release();
            eventually("it tries in vain", || async {
                cluster.nodes[NODE].log()[logged..]
                    .contains("is not stored yet")
                    .then_some(())
            })
            .await;
            // Nothing new is begun meanwhile, and what lives is served.
            let refused = cluster.refresh(NODE, other).await;
            refused.expect_problem(503, "overloaded");
            cluster.token(NODE, other).await.expect_status(200);
            assert_eq!(begun(), before, "no call without a claim");
            obstacle.lift(&sql).await;
        };
        let (generation, ..) = cluster.row(in_hand).await;
        let (answer, ()) = tokio::join!(cluster.refresh(NODE, in_hand), hindered);
        // Told that the database is away, unless it took writes again before that was worth telling.
        if answer.status != 200 {
            answer.expect_problem(503, "overloaded");
        }
        eventually("the answer is stored", || async {
            let (stored, _, status) = cluster.row(in_hand).await;
            (stored == generation + 1 && status == "active").then_some(())
        })
        .await;
        // A claim that waited for the lock is stored now, and its refresh goes on.
        eventually("nothing is under way", || async {
            (!cluster.is_claimed(other).await).then_some(())
        })
        .await;
    }
    settle(&cluster, &accounts).await;
    cluster.stop().await;
    let evidence = Evidence::gather(&cluster, Vec::new()).await;
    evidence.assert_sound();
    assert!(evidence.lost(Class::Strict).is_empty());
    assert_eq!(evidence.repeats(Class::Strict), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_outlasts_a_database_that_only_reads() {
    outlasts(Obstacle::ReadOnly).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_outlasts_a_lock_on_its_table() {
    outlasts(Obstacle::Locked).await;
}
