//! Row 3, point by point: a node is killed at each step of a refresh, for each class of provider. What is lost is exactly
//! what nobody could have kept: a single-use refresh token whose answer never came.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, FaultRule, Gate, Provider};

use super::{
    checker::Evidence,
    cluster::{CLASSES, Class, Cluster, Connected, Options},
    kills::settle,
};
use crate::harness::{eventually, scale};

/// Where the node is when it dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    /// Its claim is stored, and the provider has not been asked.
    Claimed,
    /// The provider has been asked and has done nothing yet.
    Asked,
    /// The provider has done its work and not answered yet.
    Worked,
    /// It has the answer, which Postgres could not take.
    Answered,
    /// The answer is stored, and it does not know.
    Committed,
}

const POINTS: [Point; 5] = [
    Point::Claimed,
    Point::Asked,
    Point::Worked,
    Point::Answered,
    Point::Committed,
];

/// A connection on which the statement was never prepared asks for that first, and stores nothing: then the next.
const TRIES_MAX: usize = 40;
/// Longer than a statement takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The next refresh of this class waits, before the work or after it.
fn gate(cluster: &Cluster, class: Class, fault: fn(Gate) -> Fault) -> Gate {
    let gate = Gate::new();
    cluster.simulator.inject_rule(FaultRule {
        provider: Provider::Oidc,
        endpoint: Endpoint::Refresh,
        fault: fault(gate.clone()),
        times: 1,
        only_if_sent: Some(class.client_id()),
        only_for_account: None,
    });
    gate
}

/// Lets the node begin a refresh of the account and kills it when it has come to this point.
async fn kill_at(cluster: &mut Cluster, node: usize, class: Class, account: &Connected, point: Point) {
    for _ in 0..TRIES_MAX {
        let is_there = {
            let begun = cluster.refresh(node, account);
            let comes = come_to(cluster, node, class, account, point);
            tokio::pin!(begun, comes);
            tokio::select! {
                is_there = &mut comes => {
                    if !is_there {
                        begun.await;
                    }
                    is_there
                }
                // It went through before it could be held up.
                _ = &mut begun => comes.await,
            }
        };
        if is_there {
            cluster.kill(node).await;
            cluster.nodes[node].way.mend();
            return;
        }
    }
    panic!("{account:?} never came to {point:?}");
}

/// Whether it is at this point now. If not, it goes on as if nothing had been. Whatever holds it up is in place before
/// anything is waited for.
async fn come_to(cluster: &Cluster, node: usize, class: Class, account: &Connected, point: Point) -> bool {
    let way = &cluster.nodes[node].way;
    let is_there = match point {
        Point::Claimed => {
            way.hold_answers();
            within(eventually("the claim is stored", || async {
                cluster.is_claimed(account).await.then_some(())
            }))
            .await
        }
        Point::Asked => {
            gate(cluster, class, Fault::Gate).arrived().await;
            true
        }
        Point::Worked => {
            gate(cluster, class, Fault::GateAnswer).arrived().await;
            true
        }
        Point::Answered => {
            let before = cluster.nodes[node].spooled_bytes();
            let gate = gate(cluster, class, Fault::GateAnswer);
            gate.arrived().await;
            way.cut();
            gate.release();
            // What may be asked for again is written only when storing it has failed; so it is soon, too.
            eventually("the answer is on the disk", || async {
                (cluster.nodes[node].spooled_bytes() > before).then_some(())
            })
            .await;
            true
        }
        Point::Committed => {
            let gate = gate(cluster, class, Fault::GateAnswer);
            gate.arrived().await;
            let (generation, ..) = cluster.row(account).await;
            way.hold_answers();
            gate.release();
            within(eventually("the answer is stored", || async {
                (cluster.row(account).await.0 > generation).then_some(())
            }))
            .await
        }
    };
    if !is_there {
        way.mend();
    }
    is_there
}

async fn within(comes: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(PATIENCE, comes).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_any_point_of_a_refresh_loses_only_what_never_came() {
    let mut cluster = Cluster::start(Options {
        // A refresh token of unknown fate is risked a minute before the access token ends: so, soon.
        lifetime: |_| Duration::from_secs(64),
        lease: Duration::from_secs(3),
        provider_deadline: Duration::from_millis(1_400),
        // A statement that is held up is waited for.
        database_timeout: Duration::from_secs(10),
        ..Options::default()
    })
    .await;
    let mut killed = Vec::new();
    for round in 0..scale::repetitions(1, 5) {
        for (number, class) in CLASSES.into_iter().enumerate() {
            let accounts = cluster
                .connect_named(class, &format!("round-{round}"), POINTS.len())
                .await;
            for (at, (point, account)) in POINTS.into_iter().zip(accounts).enumerate() {
                let node = (number + at) % cluster.nodes.len();
                kill_at(&mut cluster, node, class, &account, point).await;
                cluster.restart(node).await;
                killed.push((class, point, account));
            }
        }
        let accounts: Vec<_> = killed.iter().map(|(_, _, account)| account.clone()).collect();
        settle(&cluster, &accounts).await;
    }
    cluster.stop().await;
    let evidence = Evidence::gather(&cluster, Vec::new()).await;
    evidence.assert_sound();
    for (class, point, account) in killed {
        let lost = evidence.lost(class);
        let is_lost = lost.iter().any(|lost| lost.id == account.uuid());
        let cannot_be_kept = class == Class::Strict && point == Point::Worked;
        assert_eq!(is_lost, cannot_be_kept, "{class:?}, {point:?}");
    }
}
