//! Rows 5, 8, 9 and 10: Postgres is stopped, crashes, goes away without a word, or ends sessions. What lives is served,
//! nothing is begun that could not be stored, an answer in hand is stored afterwards.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Provider};

use super::{
    checker::Evidence,
    cluster::{Class, Cluster, Connected, Options, wall_ms},
    database::Stop,
    kills::settle,
    load::{Answer, Given, Load},
};
use crate::harness::{eventually, scale};

/// How soon everything works again, once Postgres does.
const RECOVERED_IN: Duration = Duration::from_secs(5);
/// The same on a machine that builds something else meanwhile.
const RECOVERED_IN_SHORT: Duration = Duration::from_secs(15);

/// How soon a node notices that Postgres is gone, at the latest.
const NOTICED_IN_MS: i64 = 2_000;
/// How long a caller waits then to hear that a spent token cannot be refreshed.
const TOLD_IN_MS: i64 = 250;
/// The same on a machine that builds something else meanwhile.
const TOLD_IN_MS_SHORT: i64 = 3_000;

/// Longer than Postgres takes to stop, start and recover, and a node to store what it holds.
const ONE_OUTAGE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options {
        lifetime: |class| match class {
            Class::Strict | Class::Grace => Duration::from_secs(5),
            Class::Safe => Duration::from_secs(3600),
        },
        lease: Duration::from_secs(4),
        provider_deadline: Duration::from_millis(1_900),
        database_timeout: Duration::from_secs(2),
        ..Options::default()
    }
}

/// Every node has handed each of them out: they are awake everywhere.
async fn wake(cluster: &Cluster, accounts: &[Connected]) {
    for node in 0..cluster.nodes.len() {
        for account in accounts {
            cluster.token(node, account).await.expect_status(200);
        }
    }
}

fn unserved(answers: &[Answer]) -> Vec<&Answer> {
    let unserved = |answer: &&Answer| !matches!(answer.given, Given::Token(_));
    answers.iter().filter(unserved).collect()
}

async fn judge(cluster: &mut Cluster, accounts: &[Connected], answers: Vec<Answer>) -> Evidence {
    settle(cluster, accounts).await;
    cluster.stop().await;
    let evidence = Evidence::gather(cluster, answers).await;
    evidence.assert_sound();
    assert!(
        evidence.lost(Class::Strict).is_empty(),
        "{:?}",
        evidence.lost(Class::Strict)
    );
    evidence
}

async fn an_outage(stop: Stop, outage: Duration) {
    let mut cluster = Cluster::start(Options {
        own_postgres: true,
        ..options()
    })
    .await;
    let long = cluster.connect(Class::Safe, 6).await;
    let short = cluster.connect(Class::Strict, 6).await;
    wake(&cluster, &long).await;
    let served = Load::start(&cluster, &long, 4, Duration::from_millis(10));
    let spent = Load::start(&cluster, &short, 2, Duration::from_millis(50));
    cluster
        .simulator
        .answered(Provider::Oidc, Endpoint::Refresh, short.len())
        .await;

    cluster.stop_postgres(stop).await;
    let gone_ms = wall_ms();
    tokio::time::sleep(outage).await;
    let returns_ms = wall_ms();
    cluster.start_postgres().await;
    let back = tokio::time::Instant::now();
    for node in 0..cluster.nodes.len() {
        for account in &short {
            let mut last = None;
            let served = async {
                loop {
                    let answer = cluster.token(node, account).await;
                    if answer.status == 200 {
                        return;
                    }
                    last = Some(answer.body);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let served = tokio::time::timeout(RECOVERED_IN_SHORT, served).await;
            assert!(
                served.is_ok(),
                "{account:?} is not refreshed again: {last:#?}\n{}",
                cluster.nodes[node].log_about(&account.id)
            );
        }
    }
    let recovered_in = back.elapsed();

    let served = served.stop().await;
    assert!(unserved(&served).is_empty(), "{:?}", unserved(&served));
    let mut answers = spent.stop().await;
    let during = |from_ms: i64| {
        let during = answers
            .iter()
            .filter(|answer| (from_ms..returns_ms).contains(&answer.asked_ms));
        let mut waited: Vec<i64> = during
            .map(|answer| answer.answered_ms - answer.asked_ms)
            .collect();
        waited.sort_unstable();
        waited
    };
    let (at_first, then) = (during(gone_ms), during(gone_ms + NOTICED_IN_MS));
    let (slowest_ms, told_in_ms) = (at_first[at_first.len() - 1], then[(then.len() * 99 - 1) / 100]);
    println!(
        "away for {outage:?}: {} hand-outs of living tokens, all served; recovered in {recovered_in:?}; {} answers about \
         spent tokens, the slowest after {slowest_ms} ms; once it was noticed 99 % of them within {told_in_ms} ms, the \
         slowest after {} ms",
        served.len(),
        at_first.len(),
        then[then.len() - 1],
    );
    assert!(slowest_ms <= NOTICED_IN_MS + TOLD_IN_MS_SHORT, "{slowest_ms}");
    let told_in_ms_max = if scale::is_full() {
        TOLD_IN_MS
    } else {
        TOLD_IN_MS_SHORT
    };
    assert!(told_in_ms <= told_in_ms_max, "{told_in_ms}");
    answers.extend(served);
    let evidence = judge(&mut cluster, &[long, short].concat(), answers).await;
    let limit = if scale::is_full() {
        RECOVERED_IN
    } else {
        RECOVERED_IN_SHORT
    };
    assert!(recovered_in <= limit, "{recovered_in:?}");
    // Claims stored right before may still begin their calls; what had none to begin with, the checker finds.
    let lease_ms = i64::try_from(options().lease.as_millis()).unwrap();
    let begun = evidence
        .calls
        .iter()
        .filter(|call| (gone_ms + lease_ms..returns_ms).contains(&call.at_ms));
    assert_eq!(begun.count(), 0, "nothing could be stored");
    assert!(!evidence.calls.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_postgres_is_stopped_living_tokens_are_served_and_no_call_is_begun() {
    let outage = if scale::is_full() { 300 } else { 6 };
    an_outage(Stop::Fast, Duration::from_secs(outage)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_when_postgres_stops_is_stored_when_it_is_back() {
    let mut cluster = Cluster::start(Options {
        own_postgres: true,
        lifetime: |_| Duration::from_secs(3600),
        ..options()
    })
    .await;
    // Its refresh token works once: were the answer lost, so would the account be.
    let accounts = cluster.connect(Class::Strict, 1).await;
    let account = accounts[0].clone();
    let repetitions = scale::repetitions(3, 200);
    for number in 0..repetitions {
        let gate = cluster.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh);
        let node = number % cluster.nodes.len();
        let (api, path) = (
            cluster.user(node, &account.user),
            format!("/integrations/{}/refresh", account.id),
        );
        let outage = async {
            gate.arrived().await;
            let how = if number % 2 == 0 {
                Stop::Immediate
            } else {
                Stop::Fast
            };
            cluster.stop_postgres(how).await;
            gate.release();
            cluster
                .simulator
                .answered(Provider::Oidc, Endpoint::Refresh, number + 1)
                .await;
            cluster.start_postgres().await;
        };
        let asked = async {
            loop {
                api.post(&path, serde_json::json!({})).await;
                // A node that has not noticed yet that Postgres is back begins nothing; one that has not heard yet of the
                // last refresh, elsewhere, hears of it now and begins nothing either.
                if gate.arrivals() > 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let both = async { tokio::join!(asked, outage) };
        tokio::time::timeout(ONE_OUTAGE, both).await.expect("it goes on");
        // Whoever asked may have been told to wait, if another node found the claim stale first; the answer is kept.
        let generation = i64::try_from(number).unwrap() + 2;
        eventually("the answer is stored", || async {
            let (stored, _, status) = cluster.row(&account).await;
            (stored == generation && status == "active").then_some(())
        })
        .await;
    }
    let evidence = judge(&mut cluster, &accounts, Vec::new()).await;
    assert_eq!(evidence.repeats(Class::Strict), 0);
    println!("{repetitions} answers in hand, all stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_has_gone_without_a_word_is_noticed_and_the_node_heals() {
    const CUT_OFF: usize = 1;
    let mut cluster = Cluster::start(Options {
        lifetime: |_| Duration::from_secs(3600),
        ..options()
    })
    .await;
    let accounts = cluster.connect(Class::Safe, 2).await;
    wake(&cluster, &accounts).await;
    cluster.nodes[CUT_OFF].way.hold();
    let began = tokio::time::Instant::now();
    let user = cluster.user(CUT_OFF, &accounts[0].user);
    let refused = user.get("/integrations").await;
    refused.expect_problem(503, "overloaded");
    let noticed_in = began.elapsed();
    println!("noticed in {noticed_in:?}");
    assert!(noticed_in <= Duration::from_secs(10), "{noticed_in:?}");
    for account in &accounts {
        cluster.token(CUT_OFF, account).await.expect_status(200);
        cluster.refresh(0, account).await.expect_status(200);
    }
    cluster.nodes[CUT_OFF].way.mend();
    eventually("it reads again", || async {
        (user.get("/integrations").await.status == 200).then_some(())
    })
    .await;
    judge(&mut cluster, &accounts, Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_server_ends_again_and_again_cost_no_record_and_no_grant() {
    const END_ALL: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                           WHERE datname = current_database() AND pid <> pg_backend_pid()";
    let (times, pause) = if scale::is_full() {
        (150, Duration::from_secs(2))
    } else {
        (6, Duration::from_millis(500))
    };
    let mut cluster = Cluster::start(options()).await;
    let long = cluster.connect(Class::Safe, 6).await;
    let short = cluster.connect(Class::Strict, 12).await;
    wake(&cluster, &long).await;
    let served = Load::start(&cluster, &long, 2, Duration::from_millis(10));
    let spent = Load::start(&cluster, &short, 4, Duration::from_millis(10));
    let mut sessions = 0;
    let sql = cluster.sql().await;
    for _ in 0..times {
        tokio::time::sleep(pause).await;
        sessions += sql.query_one(END_ALL, &[]).await.unwrap().get::<_, i64>(0);
    }
    let served = served.stop().await;
    assert!(unserved(&served).is_empty(), "{:?}", unserved(&served));
    let mut answers = spent.stop().await;
    let (asked, refused) = (answers.len(), unserved(&answers).len());
    println!(
        "{sessions} sessions ended {times} times; {refused} of {asked} hand-outs of short-lived tokens refused"
    );
    answers.extend(served);
    judge(&mut cluster, &[long, short].concat(), answers).await;
    if scale::is_full() {
        assert!(refused * 100 <= asked, "{refused} of {asked}");
    }
}
