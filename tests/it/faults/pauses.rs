//! Row 6: a node stands still while it refreshes, longer than its claim lasts, and goes on as if nothing had happened.
//! Whatever it does then, the row of whoever took over stands.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};

use super::{
    checker::Evidence,
    cluster::{Class, Cluster, Connected, Options},
    kills::settle,
};
use crate::harness::{eventually, scale};

const PAUSED: usize = 1;
const OTHER: usize = 2;

async fn cluster() -> Cluster {
    Cluster::start(Options {
        lease: Duration::from_secs(3),
        provider_deadline: Duration::from_millis(1_400),
        // A statement held up for longer than a lease is still waited for.
        database_timeout: Duration::from_secs(10),
        ..Options::default()
    })
    .await
}

/// Both nodes hand out the same token, and the provider takes it.
async fn agree(cluster: &Cluster, account: &Connected) {
    eventually("the nodes agree", || async {
        let tokens = [
            cluster.token(PAUSED, account).await,
            cluster.token(OTHER, account).await,
        ];
        let [one, other] = tokens.map(|answer| answer.body["access_token"].as_str().map(str::to_owned));
        (one.is_some() && one == other).then_some(())
    })
    .await;
    let token = cluster.token(PAUSED, account).await.expect_status(200);
    assert!(
        cluster
            .simulator
            .access_token_is_live(token["access_token"].as_str().unwrap())
    );
}

async fn finish(mut cluster: Cluster, accounts: &[Connected]) -> Evidence {
    settle(&cluster, accounts).await;
    cluster.stop().await;
    let evidence = Evidence::gather(&cluster, Vec::new()).await;
    evidence.assert_sound();
    assert!(
        evidence.lost(Class::Strict).is_empty(),
        "{:?}",
        evidence.lost(Class::Strict)
    );
    evidence
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stopped_in_its_call_past_its_lease_changes_nothing_when_it_goes_on() {
    let cluster = cluster().await;
    let accounts = cluster.connect(Class::Safe, scale::repetitions(1, 50)).await;
    for account in &accounts {
        let before = cluster
            .simulator
            .requests_to(Provider::Oidc, Endpoint::Refresh)
            .len();
        let gate = cluster.simulator.gate(Provider::Oidc, Endpoint::Refresh);
        let pause = async {
            gate.arrived().await;
            cluster.nodes[PAUSED].signal("STOP").await;
            cluster.lease_runs_out(account).await;
            cluster.refresh(OTHER, account).await.expect_status(200);
            let winners = cluster.row(account).await;
            // The provider answers the first call too; its answer waits in the stopped process' socket.
            gate.release();
            cluster
                .simulator
                .answered(Provider::Oidc, Endpoint::Refresh, before + 2)
                .await;
            cluster.nodes[PAUSED].signal("CONT").await;
            winners
        };
        let (_, winners) = tokio::join!(cluster.refresh(PAUSED, account), pause);
        // It has answered, so it has written what it would.
        agree(&cluster, account).await;
        assert_eq!(cluster.row(account).await, winners);
    }
    finish(cluster, &accounts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_arrives_past_its_lease_is_refused() {
    let cluster = cluster().await;
    let accounts = cluster.connect(Class::Safe, scale::repetitions(1, 50)).await;
    for account in &accounts {
        let before = cluster
            .simulator
            .requests_to(Provider::Oidc, Endpoint::Refresh)
            .len();
        let gate = cluster.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh);
        let pause = async {
            gate.arrived().await;
            // From here on it has an answer, and its write is on the way for as long as the way is held.
            cluster.nodes[PAUSED].way.hold();
            gate.release();
            cluster
                .simulator
                .answered(Provider::Oidc, Endpoint::Refresh, before + 1)
                .await;
            cluster.lease_runs_out(account).await;
            cluster.refresh(OTHER, account).await.expect_status(200);
            let winners = cluster.row(account).await;
            cluster.nodes[PAUSED].way.mend();
            winners
        };
        let (_, winners) = tokio::join!(cluster.refresh(PAUSED, account), pause);
        agree(&cluster, account).await;
        assert_eq!(cluster.row(account).await, winners);
    }
    eventually("it tries to write", || async {
        let log = cluster.nodes[PAUSED].log();
        log.contains("a late answer is refused by its row").then_some(())
    })
    .await;
    finish(cluster, &accounts).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_is_stored_although_another_node_found_the_claim_stale() {
    let cluster = cluster().await;
    // Its refresh token is spent: were the answer lost, so would the account be.
    let accounts = cluster.connect(Class::Strict, scale::repetitions(1, 50)).await;
    for account in &accounts {
        let before = cluster
            .simulator
            .requests_to(Provider::Oidc, Endpoint::Refresh)
            .len();
        let (generation, ..) = cluster.row(account).await;
        let gate = cluster.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh);
        let pause = async {
            gate.arrived().await;
            cluster.nodes[PAUSED].way.hold();
            gate.release();
            cluster
                .simulator
                .answered(Provider::Oidc, Endpoint::Refresh, before + 1)
                .await;
            cluster.lease_runs_out(account).await;
            // It finds the claim stale, and must not present the token again while the old access token lives.
            cluster.refresh(OTHER, account).await;
            cluster.nodes[PAUSED].way.mend();
        };
        tokio::join!(cluster.refresh(PAUSED, account), pause);
        eventually("the answer is stored", || async {
            (cluster.row(account).await.0 > generation).then_some(())
        })
        .await;
        agree(&cluster, account).await;
    }
    let evidence = finish(cluster, &accounts).await;
    assert_eq!(evidence.repeats(Class::Strict), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_confirmed_past_its_lease_begins_no_call() {
    let cluster = cluster().await;
    let accounts = cluster.connect(Class::Strict, 1).await;
    let account = &accounts[0];
    cluster.token(PAUSED, account).await.expect_status(200);
    // A connection on which the statement was never prepared asks for that first, and stores nothing: then the next.
    let mut is_claimed = false;
    for _ in 0..40 {
        cluster.nodes[PAUSED].way.hold_answers();
        let held = async {
            let stored = eventually("the claim is stored", || async {
                cluster.is_claimed(account).await.then_some(())
            });
            let stored = tokio::time::timeout(Duration::from_secs(2), stored).await.is_ok();
            if stored {
                cluster.lease_runs_out(account).await;
            }
            cluster.nodes[PAUSED].way.mend();
            stored
        };
        (_, is_claimed) = tokio::join!(cluster.refresh(PAUSED, account), held);
        if is_claimed {
            break;
        }
    }
    assert!(is_claimed, "the claim was confirmed late");
    finish(cluster, &accounts).await;
}
