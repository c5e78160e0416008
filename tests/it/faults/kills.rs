//! Rows 1, 3 and 4: nodes are killed at random instants while short-lived tokens are refreshed. Nothing is presented twice
//! without need, no grant is lost that could be kept, and what is lost says why.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};

use super::{
    checker::Evidence,
    cluster::{CLASSES, Class, Cluster, Connected, Options, random_below},
    load::Load,
};
use crate::harness::scale;

/// How long the provider takes before and after its work: a kill finds calls under way.
const THINKS: Duration = Duration::from_millis(100);

/// How long an answer that was sent may wait to be read, on a machine that does everything at once.
const UNREAD_MS_MAX: i64 = 1_000;
/// Longer than a lease, the pause for whoever holds the answer, and a pause after a failure.
const SETTLES: Duration = Duration::from_secs(45);

const LEASE: Duration = Duration::from_secs(10);
const PROVIDER_DEADLINE: Duration = Duration::from_secs(4);
/// Kills come in bursts, any number of nodes in any order, each shorter than the shortest lease; the next one begins when
/// what the last one cut off has been taken over. So whoever takes over lives. That is the bound of what can be promised of
/// a provider's window: a takeover cannot begin before the lease has run out, the lease is half the window, and if the node
/// that takes over died as well, the window would be over before a third could notice.
const BURST: Duration = Duration::from_secs(6);
/// Longer than a call under way, claim and commit included.
const UNDER_WAY: Duration = Duration::from_secs(4);

/// Every refresh takes its time.
pub fn slow_provider(cluster: &Cluster) {
    let faults = vec![Fault::Delay { by: THINKS }, Fault::DelayAnswer { by: THINKS }];
    cluster
        .simulator
        .inject(Provider::Oidc, Endpoint::Refresh, Fault::All { faults }, 0);
}

/// Every account is refreshed once more on demand, or is known to need its user.
pub async fn settle(cluster: &Cluster, accounts: &[Connected]) {
    let settled = stream::iter(accounts).for_each_concurrent(16, |account| async move {
        let node = random_below(cluster.nodes.len());
        let mut last = None;
        let settled = async {
            loop {
                let answer = cluster.refresh(node, account).await;
                match answer.status {
                    200 if answer.body["status"] == "active" => return,
                    409 => return,
                    _ => last = Some(answer.body),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let settled = tokio::time::timeout(SETTLES, settled).await;
        assert!(
            settled.is_ok(),
            "{account:?} is neither refreshed nor lost: {last:#?}\n{}",
            cluster.nodes[node].log_about(&account.id)
        );
    });
    settled.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_killed_at_random_instants_lose_no_grant_that_could_be_kept() {
    let kills = scale::repetitions(6, 1_000);
    let accounts = scale::repetitions(30, 500);
    let mut cluster = Cluster::start(Options {
        lifetime: |_| Duration::from_secs(5),
        lease: LEASE,
        provider_deadline: PROVIDER_DEADLINE,
        ..Options::default()
    })
    .await;
    let mut connected = Vec::new();
    for class in CLASSES {
        connected.extend(cluster.connect(class, accounts.div_ceil(CLASSES.len())).await);
    }
    slow_provider(&cluster);
    let load = Load::start(&cluster, &connected, 6, Duration::from_millis(20));

    while cluster.ended.len() < kills {
        let burst = tokio::time::Instant::now();
        while cluster.ended.len() < kills {
            tokio::time::sleep(Duration::from_millis(random_below(300) as u64)).await;
            if burst.elapsed() >= BURST {
                break;
            }
            let node = random_below(cluster.nodes.len());
            cluster.kill(node).await;
            cluster.restart(node).await;
        }
        tokio::time::sleep(UNDER_WAY).await;
        cluster.settled_since(Class::Grace, UNDER_WAY).await;
    }
    let answers = load.stop().await;
    cluster.simulator.clear_faults();
    settle(&cluster, &connected).await;
    cluster.stop().await;

    let evidence = Evidence::gather(&cluster, answers).await;
    println!(
        "{} kills, {} accounts, {} refreshes, {} hand-outs; presented again: {} single-use, {} grace; \
         lost: {} single-use; answers sent this long before the kill (ms): {:?}",
        evidence.ended.len(),
        evidence.accounts.len(),
        evidence.calls.len(),
        evidence.answers.len(),
        evidence.repeats(Class::Strict),
        evidence.repeats(Class::Grace),
        evidence.lost(Class::Strict).len(),
        evidence.sent_before_the_kill_ms(),
    );
    evidence.assert_sound();
    // An answer is on the disk of its node as soon as it has been read.
    let unread = |gap_ms: &i64| *gap_ms <= UNREAD_MS_MAX;
    assert!(evidence.sent_before_the_kill_ms().iter().all(unread));
    assert!(evidence.calls.len() >= accounts, "tokens were refreshed");
}
