//! Rows 2, 7 and 21: however many ask whichever node, one calls; when that one dies, another takes over; when it is asked
//! to stop, it finishes what it has begun and leaves nothing behind.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use oauth_manager::dev::simulator::{Endpoint, Provider};

use super::{
    checker::Evidence,
    cluster::{CLASSES, Class, Cluster, Options, random_below},
    kills::{settle, slow_provider},
    load::{Given, Load},
};
use crate::harness::scale;

const CALLERS: usize = 200;
/// How often a node looks for work that fell due.
const POLL: Duration = Duration::from_secs(2);
/// A look at a claim held elsewhere is late by this much at the most.
const LOOK_AGAIN: Duration = Duration::from_millis(600);

fn short_lived() -> Options {
    Options {
        lifetime: |_| Duration::from_secs(5),
        lease: Duration::from_secs(4),
        provider_deadline: Duration::from_millis(1_900),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_callers_of_three_nodes_cause_one_provider_call() {
    const END: &str = "UPDATE oauth_tokens SET issued_at = now() - interval '1 hour', \
                       expires_at = now() - interval '1 second', next_refresh_at = now() + interval '1 hour'";
    let mut cluster = Cluster::start(Options::default()).await;
    let accounts = cluster.connect(Class::Strict, 1).await;
    // Nobody has the account awake when its token has ended.
    cluster.stop().await;
    assert_eq!(cluster.sql().await.execute(END, &[]).await.unwrap(), 1);
    for node in 0..cluster.nodes.len() {
        cluster.restart(node).await;
    }
    let gate = cluster.simulator.gate(Provider::Oidc, Endpoint::Refresh);
    let callers = (0..CALLERS).map(|number| cluster.token(number % cluster.nodes.len(), &accounts[0]));
    let opened = async {
        gate.arrived().await;
        gate.release();
    };
    let (answers, ()) = tokio::join!(join_all(callers), opened);
    let tokens: BTreeSet<String> = answers
        .into_iter()
        .map(|answer| answer.expect_status(200)["access_token"].to_string())
        .collect();
    assert_eq!(tokens.len(), 1);
    cluster.stop().await;
    let evidence = Evidence::gather(&cluster, Vec::new()).await;
    assert_eq!(evidence.calls.len(), 1);
    evidence.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_work_of_a_node_that_dies_in_its_call_is_taken_over_when_its_claim_runs_out() {
    let mut cluster = Cluster::start(short_lived()).await;
    let accounts = cluster.connect(Class::Safe, 1).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..scale::repetitions(1, 30) {
        let gate = cluster.simulator.gate(Provider::Oidc, Endpoint::Refresh);
        gate.arrived().await;
        let calls = cluster.simulator.requests_to(Provider::Oidc, Endpoint::Refresh);
        let holder: usize = calls.last().unwrap().query("node").unwrap().parse().unwrap();
        cluster.kill(holder).await;
        let since = tokio::time::Instant::now();
        cluster
            .simulator
            .answered(Provider::Oidc, Endpoint::Refresh, calls.len() + 1)
            .await;
        slowest = slowest.max(since.elapsed());
        gate.release();
        cluster.restart(holder).await;
    }
    println!("taken over within {slowest:?}");
    let limit = short_lived().lease + POLL + LOOK_AGAIN;
    assert!(
        slowest <= if scale::is_full() { limit } else { limit * 2 },
        "{slowest:?}"
    );
    settle(&cluster, &accounts).await;
    cluster.stop().await;
    Evidence::gather(&cluster, Vec::new()).await.assert_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_asked_to_stop_under_load_finish_what_they_began_and_lose_nothing() {
    let mut cluster = Cluster::start(short_lived()).await;
    let mut accounts = Vec::new();
    for class in CLASSES {
        accounts.extend(cluster.connect(class, scale::repetitions(8, 50)).await);
    }
    slow_provider(&cluster);
    let load = Load::start(&cluster, &accounts, 4, Duration::from_millis(10));
    let mut slowest = Duration::ZERO;
    for _ in 0..scale::repetitions(3, 200) {
        tokio::time::sleep(Duration::from_millis(random_below(600) as u64)).await;
        let node = random_below(cluster.nodes.len());
        let asked = tokio::time::Instant::now();
        let code = cluster.nodes[node].terminate().await;
        assert_eq!(code, Some(0), "{}", cluster.nodes[node].log());
        slowest = slowest.max(asked.elapsed());
        cluster.restart(node).await;
    }
    let answers = load.stop().await;
    cluster.simulator.clear_faults();
    settle(&cluster, &accounts).await;
    cluster.stop().await;

    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| matches!(answer.given, Given::Refused(500.., _)))
        .cloned()
        .collect();
    let evidence = Evidence::gather(&cluster, answers).await;
    println!(
        "stopped within {slowest:?}; {} refreshes, {} hand-outs",
        evidence.calls.len(),
        evidence.answers.len(),
    );
    assert!(failed.is_empty(), "{failed:#?}");
    evidence.assert_sound();
    assert!(slowest <= Duration::from_secs(30), "{slowest:?}");
    // Nobody died, so nothing is presented again, and nothing is lost.
    assert_eq!(
        evidence.repeats(Class::Strict) + evidence.repeats(Class::Grace),
        0
    );
    assert!(evidence.lost(Class::Strict).is_empty());
}
