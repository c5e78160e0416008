//! Rows 3 and 5 at once: a node dies with an answer in hand that Postgres could not take. The answer lies on its disk, and
//! its next start stores it, whatever the other nodes have found out meanwhile.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};

use super::{
    checker::Evidence,
    cluster::{Class, Cluster, Options},
    kills::settle,
};
use crate::harness::{eventually, scale};

const DIES: usize = 1;
const OTHER: usize = 2;

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_of_a_node_that_is_killed_is_stored_when_it_starts_again() {
    let mut cluster = Cluster::start(Options {
        lease: Duration::from_secs(3),
        provider_deadline: Duration::from_millis(1_400),
        ..Options::default()
    })
    .await;
    // Their refresh tokens are spent: were an answer lost, so would the account be.
    let accounts = cluster.connect(Class::Strict, scale::repetitions(2, 100)).await;
    for (number, account) in accounts.iter().enumerate() {
        let spooled = cluster.nodes[DIES].spooled_bytes();
        let gate = cluster.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh);
        let user = cluster.user(DIES, &account.user);
        let path = format!("/integrations/{}/refresh", account.id);
        let outage = async {
            gate.arrived().await;
            cluster.nodes[DIES].way.cut();
            gate.release();
            eventually("the answer is on the disk", || async {
                (cluster.nodes[DIES].spooled_bytes() > spooled).then_some(())
            })
            .await;
        };
        let (answer, ()) = tokio::join!(user.post(&path, serde_json::json!({})), outage);
        answer.expect_problem(503, "overloaded");
        cluster.kill(DIES).await;
        cluster.nodes[DIES].way.mend();
        if number % 2 == 1 {
            // The others find the claim stale, and the account waiting for somebody who knows more.
            cluster.lease_runs_out(account).await;
            cluster.refresh(OTHER, account).await;
        }
        cluster.restart(DIES).await;
        eventually("it is stored", || async {
            (cluster.row(account).await.0 == 2).then_some(())
        })
        .await;
    }
    settle(&cluster, &accounts).await;
    cluster.stop().await;
    let evidence = Evidence::gather(&cluster, Vec::new()).await;
    evidence.assert_sound();
    assert!(evidence.lost(Class::Strict).is_empty());
    assert_eq!(evidence.repeats(Class::Strict), 0);
    println!(
        "{} answers on the disk of a dead node, all stored",
        accounts.len()
    );
}
