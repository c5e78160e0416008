//! The way out, alone: places, priorities, holds.

use crate::{
    domain::{Timestamp, ids::ProviderKey},
    ports::oauth::{FailureKind, ProviderFailure},
    testing::{clock::TestClock, provider::provider, rng::SeededRng, store::MemoryStore},
};

use super::*;

const INTERVAL: Duration = Duration::from_secs(30);

struct Bench {
    egress: Arc<Egress>,
    effects: Effects,
}

fn bench(max_concurrency: usize, rate: Option<f64>) -> Bench {
    on(&MemoryStore::new(TestClock::new()), max_concurrency, rate)
}

fn on(store: &MemoryStore, max_concurrency: usize, rate: Option<f64>) -> Bench {
    let store: Arc<dyn EgressStore> = Arc::new(store.clone());
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let effects = Effects::default();
    let provider = Provider {
        max_concurrency,
        rate,
        ..provider("google")
    };
    let node = NodeId(Uuid::now_v7());
    let mut all = Egress::of_providers(&[Arc::new(provider)], INTERVAL, node, &store, &rng, &effects);
    Bench {
        egress: all.remove(0).1,
        effects,
    }
}

fn background(second: i64) -> Wish {
    Wish {
        account: Some(Uuid::from_u128(second as u128)),
        waited_for_until: None,
        ends_at: Timestamp::from_second(second).unwrap(),
        is_retry: false,
    }
}

fn urgent() -> Wish {
    Wish::waited_for(None, Instant::now() + Duration::from_secs(25))
}

fn failed(kind: FailureKind, retry_after: Option<u64>) -> Result<(), ProviderFailure> {
    let provider: ProviderKey = "google".parse().unwrap();
    Err(ProviderFailure {
        retry_after: retry_after.map(Duration::from_secs),
        ..ProviderFailure::new(provider, kind, ReasonCode::new("why"))
    })
}

/// Admits in the background and notes the order.
fn admit_all(bench: &Bench, wishes: Vec<Wish>) -> Arc<Mutex<Vec<(i64, Instant)>>> {
    let order = Arc::new(Mutex::new(Vec::new()));
    for wish in wishes {
        let (egress, order) = (Arc::clone(&bench.egress), Arc::clone(&order));
        bench.effects.spawn(async move {
            let permit = egress.admit(wish).await.unwrap();
            let second = if wish.ends_at == Timestamp::MIN {
                0
            } else {
                wish.ends_at.as_second()
            };
            order.lock().unwrap().push((second, Instant::now()));
            tokio::time::sleep(Duration::from_millis(10)).await;
            let _ = permit.report(wish.account, Ok(()));
        });
    }
    order
}

#[tokio::test(start_paused = true)]
async fn one_accounts_throttling_holds_nobody_else_off() {
    let bench = bench(1, None);
    let permit = bench.egress.admit(urgent()).await.unwrap();
    let _ = permit.report(None, failed(FailureKind::AccountThrottled, Some(300)));
    let permit = bench.egress.admit(urgent()).await.unwrap();
    // The provider's own is obeyed by all.
    let _ = permit.report(None, failed(FailureKind::Passing, Some(300)));
    assert_eq!(
        bench.egress.admit(urgent()).await.unwrap_err().retry_after,
        Duration::from_secs(300)
    );
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_soonest_end_first_and_callers_before_all() {
    let bench = bench(1, None);
    let held = bench.egress.admit(urgent()).await.unwrap();
    let order = admit_all(
        &bench,
        vec![background(30), background(10), urgent(), background(20)],
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(order.lock().unwrap().is_empty());
    drop(held);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let order: Vec<i64> = order.lock().unwrap().iter().map(|(second, _)| *second).collect();
    assert_eq!(order, [0, 10, 20, 30]);
}

#[tokio::test(start_paused = true)]
async fn two_nodes_with_a_backlog_stay_within_the_rate_together() {
    let store = MemoryStore::new(TestClock::new());
    let (one, other) = (on(&store, 64, Some(50.0)), on(&store, 64, Some(50.0)));
    let wishes = || (1..=250).map(background).collect();
    let (here, there) = (admit_all(&one, wishes()), admit_all(&other, wishes()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut calls: Vec<Instant> = here.lock().unwrap().iter().map(|(_, at)| *at).collect();
    calls.extend(there.lock().unwrap().iter().map(|(_, at)| *at));
    calls.sort_unstable();
    assert_eq!(calls.len(), 500);
    for window in calls.windows(51) {
        assert!(window[50] - window[0] >= Duration::from_millis(890), "{window:?}");
    }
    let took = calls[499] - calls[0];
    assert!(took < Duration::from_secs(11), "and they use it: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_one_node_is_told_by_the_provider_every_node_obeys() {
    let store = MemoryStore::new(TestClock::new());
    let (one, other) = (on(&store, 8, None), on(&store, 8, None));
    drop(other.egress.admit(urgent()).await.unwrap());
    let permit = one.egress.admit(urgent()).await.unwrap();
    let _ = permit.report(None, failed(FailureKind::Passing, Some(120)));
    tokio::time::sleep(FRESH).await;
    let held = other.egress.admit(urgent()).await.unwrap_err();
    assert!(held.retry_after > Duration::from_secs(119), "{held:?}");
    // And when the time has come, one of them probes; the others wait for what comes of it.
    tokio::time::sleep(Duration::from_secs(120)).await;
    let probe = one.egress.admit(urgent()).await.unwrap();
    assert!(other.egress.admit(urgent()).await.is_err());
    let _ = probe.report(None, Ok(()));
    tokio::time::sleep(FRESH_WHILE_OPEN).await;
    assert!(other.egress.admit(urgent()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_the_probe_is_out_goes_on_as_soon_as_it_is_answered() {
    let bench = bench(8, None);
    let permit = bench.egress.admit(urgent()).await.unwrap();
    let _ = permit.report(None, failed(FailureKind::Passing, Some(30)));
    tokio::time::sleep(INTERVAL).await;
    let probe = bench.egress.admit(background(1)).await.unwrap();
    let order = admit_all(&bench, (2..20).map(background).collect());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(order.lock().unwrap().is_empty());
    let _ = probe.report(None, Ok(()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    let order = order.lock().unwrap();
    assert!(order.iter().map(|(second, _)| *second).eq(2..20), "{order:?}");
    // Slowly at first.
    assert!(order[1].1 - order[0].1 >= Duration::from_millis(10), "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn a_probe_lost_in_a_panic_may_have_been_made_and_nobody_probes_again_before_the_next_interval() {
    let bench = bench(64, None);
    let permit = bench.egress.admit(urgent()).await.unwrap();
    let _ = permit.report(None, failed(FailureKind::Operator, None));
    tokio::time::sleep(INTERVAL).await;
    let probe = bench.egress.admit(urgent()).await.unwrap();
    assert!(probe.is_probe);
    let lost = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _held = probe;
        panic!("a defect in the call");
    }));
    assert!(lost.is_err());
    assert!(bench.egress.admit(urgent()).await.is_err());
    tokio::time::sleep(INTERVAL).await;
    assert!(bench.egress.admit(urgent()).await.unwrap().is_probe);
}

#[tokio::test(start_paused = true)]
async fn without_the_database_nobody_probes_and_the_breaker_closes_when_it_is_back() {
    let store = MemoryStore::new(TestClock::new());
    let bench = on(&store, 8, None);
    let permit = bench.egress.admit(urgent()).await.unwrap();
    store.away(true);
    let _ = permit.report(None, failed(FailureKind::Operator, None));
    for _ in 0..20 {
        tokio::time::sleep(INTERVAL).await;
        assert!(bench.egress.admit(urgent()).await.is_err());
    }
    store.away(false);
    // What could not be told is told first: only then a probe, and an interval after that.
    tokio::time::sleep(INTERVAL).await;
    let _ = bench.egress.admit(urgent()).await;
    tokio::time::sleep(INTERVAL).await;
    let probe = bench.egress.admit(urgent()).await.unwrap();
    assert!(probe.is_probe);
    let _ = probe.report(None, Ok(()));
    assert!(bench.egress.admit(urgent()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn two_providers_of_one_registration_share_one_budget() {
    let store: Arc<dyn EgressStore> = Arc::new(MemoryStore::new(TestClock::new()));
    let rng: Arc<dyn Rng> = Arc::new(SeededRng::new(1));
    let shared = |key: &str, max_concurrency| {
        Arc::new(Provider {
            budget: BudgetKey::new("accounts#1"),
            max_concurrency,
            ..provider(key)
        })
    };
    let providers = [
        shared("google", 4),
        shared("youtube", 2),
        Arc::new(provider("notion")),
    ];
    let node = NodeId(Uuid::now_v7());
    let all = Egress::of_providers(&providers, INTERVAL, node, &store, &rng, &Effects::default());
    assert!(Arc::ptr_eq(&all[0].1, &all[1].1));
    assert!(!Arc::ptr_eq(&all[0].1, &all[2].1));
    assert_eq!(all[0].1.lock().max_concurrency, 2, "the narrower limit holds");
}
