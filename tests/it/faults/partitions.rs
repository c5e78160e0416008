//! Row 23: a node is cut off from Postgres and not from the provider. It stops calling while its last claims still hold,
//! the others take its work, and it comes back by itself.

use std::time::Duration;

use super::{
    checker::{CutOff, Evidence},
    cluster::{Class, Cluster, Options, wall_ms},
    kills::{settle, slow_provider},
    load::{Given, Load},
};
use crate::harness::{eventually, scale};

const CUT_OFF: usize = 1;
const LEASE: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_cut_off_from_postgres_stops_calling_the_provider_and_others_take_its_work() {
    let mut cluster = Cluster::start(Options {
        lifetime: |_| Duration::from_secs(5),
        lease: LEASE,
        provider_deadline: Duration::from_millis(1_900),
        database_timeout: Duration::from_secs(2),
        ..Options::default()
    })
    .await;
    // Not of the strict class: an answer that sits on the node that is cut off is lost to the others, and by the time they
    // may present the token again its access token has ended.
    let mut accounts = cluster.connect(Class::Safe, 6).await;
    accounts.extend(cluster.connect(Class::Grace, 6).await);
    slow_provider(&cluster);
    let load = Load::start(&cluster, &accounts, 4, Duration::from_millis(20));
    for number in 0..scale::repetitions(2, 40) {
        let way = &cluster.nodes[CUT_OFF].way;
        if number % 2 == 0 {
            way.hold();
        } else {
            way.cut();
        }
        let began_ms = wall_ms();
        tokio::time::sleep(LEASE + Duration::from_secs(2)).await;
        way.mend();
        cluster.cut_off.push(CutOff {
            node: CUT_OFF,
            from_ms: began_ms,
            until_ms: wall_ms(),
        });
        for account in &accounts {
            eventually("it serves again", || async {
                (cluster.token(CUT_OFF, account).await.status == 200).then_some(())
            })
            .await;
        }
    }
    let answers = load.stop().await;
    cluster.simulator.clear_faults();
    settle(&cluster, &accounts).await;
    cluster.stop().await;

    let evidence = Evidence::gather(&cluster, answers).await;
    evidence.assert_sound();
    let half_ms = i64::try_from(LEASE.as_millis() / 2).unwrap();
    for CutOff {
        from_ms: began_ms,
        until_ms: ended_ms,
        ..
    } in evidence.cut_off.iter().copied()
    {
        let during = |at_ms: i64| (began_ms..ended_ms).contains(&at_ms);
        let calls = evidence.calls.iter().filter(|call| during(call.at_ms));
        let (late, others): (Vec<_>, Vec<_>) = calls
            .filter(|call| call.node != CUT_OFF || call.at_ms > began_ms + half_ms)
            .partition(|call| call.node == CUT_OFF);
        assert!(late.is_empty(), "{late:?}");
        assert!(!others.is_empty(), "the others refresh");
        let served = evidence.answers.iter().any(|answer| {
            answer.node != CUT_OFF && during(answer.asked_ms) && matches!(answer.given, Given::Token(_))
        });
        assert!(served, "the others serve");
    }
}
