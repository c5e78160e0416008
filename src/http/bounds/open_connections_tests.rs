//! Who gives way to whom.

use super::*;
use crate::http::{settings::Limits, testing};

const PROXY: &str = "10.0.0.9";

fn connections(max: usize, per_address_max: usize) -> Arc<OpenConnections> {
    let settings = HttpSettings {
        limits: Limits {
            connections_max: max,
            connections_per_address_max: per_address_max,
            ..Limits::default()
        },
        trusted_proxies: vec![format!("{PROXY}/32").parse().unwrap()],
        ..testing::settings()
    };
    OpenConnections::new(&settings, Refusals::new())
}

async fn admit(all: &Arc<OpenConnections>, ip: &str) -> Option<OpenConnection> {
    all.admit(ip.parse().unwrap(), &CancellationToken::new()).await
}

/// One that is answering a request.
async fn at_work(all: &Arc<OpenConnections>, ip: &str) -> OpenConnection {
    let open = admit(all, ip).await.unwrap();
    open.progress.request_came();
    open
}

/// A new one from there, for which this one must close.
async fn in_favour_of(all: &Arc<OpenConnections>, ip: &str, victim: OpenConnection) -> OpenConnection {
    let close = victim.close.clone();
    let closing = async move {
        close.cancelled().await;
        drop(victim);
    };
    tokio::join!(admit(all, ip), closing).0.unwrap()
}

#[tokio::test]
async fn the_greediest_address_gives_way_with_its_oldest_silent_connection() {
    let all = connections(4, 4);
    let alone = admit(&all, "192.0.2.1").await.unwrap();
    let busy = at_work(&all, "192.0.2.2").await;
    let oldest = admit(&all, "192.0.2.2").await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let younger = admit(&all, "192.0.2.2").await.unwrap();
    let new = in_favour_of(&all, "192.0.2.3", oldest).await;
    for kept in [&alone, &busy, &younger, &new] {
        assert!(!kept.close.is_cancelled());
    }
}

/// One between two requests.
async fn idle(all: &Arc<OpenConnections>, ip: &str) -> OpenConnection {
    let open = at_work(all, ip).await;
    open.progress.answered();
    open.progress.waits_for(WaitsFor::Request, Instant::now());
    open
}

#[tokio::test]
async fn what_has_sent_nothing_gives_way_before_what_is_between_two_requests() {
    let all = connections(2, 2);
    let idle = idle(&all, "192.0.2.1").await;
    let silent = admit(&all, "192.0.2.1").await.unwrap();
    tokio::time::sleep(SILENT_AFTER).await;
    let _new = in_favour_of(&all, "192.0.2.1", silent).await;
    assert!(!idle.close.is_cancelled());
}

#[tokio::test]
async fn whoever_has_just_come_stays_before_what_is_between_two_requests() {
    let all = connections(64, 64);
    let mut idle_ones = Vec::new();
    for _ in 0..8 {
        idle_ones.push(idle(&all, "192.0.2.1").await);
    }
    let state = || all.state();
    let just_come = admit(&all, "192.0.2.1").await.unwrap();
    assert_eq!(all.close_waiting(&mut state(), None), 1);
    assert!(!just_come.close.is_cancelled());
    idle_ones.clear();
    // And if there is nobody else.
    assert_eq!(all.close_waiting(&mut state(), None), 1);
    assert!(just_come.close.is_cancelled());
}

#[tokio::test]
async fn an_address_with_its_part_at_work_is_refused_and_another_is_not() {
    let all = connections(4, 2);
    let _both = (at_work(&all, "192.0.2.1").await, at_work(&all, "192.0.2.1").await);
    assert!(admit(&all, "192.0.2.1").await.is_none());
    assert!(admit(&all, "192.0.2.2").await.is_some());
    assert!(admit(&all, PROXY).await.is_some());
}

#[tokio::test]
async fn a_trusted_proxy_has_no_part_and_gives_way_last() {
    let all = connections(5, 2);
    let proxied = [
        admit(&all, PROXY).await.unwrap(),
        admit(&all, PROXY).await.unwrap(),
        admit(&all, PROXY).await.unwrap(),
    ];
    let direct = admit(&all, "192.0.2.1").await.unwrap();
    let _other = at_work(&all, "192.0.2.1").await;
    let _new = in_favour_of(&all, PROXY, direct).await;
    assert!(proxied.iter().all(|open| !open.close.is_cancelled()));
}

#[tokio::test]
async fn who_owes_a_body_for_a_while_gives_way_and_who_does_not_take_an_answer_too() {
    let all = connections(1, 1);
    let slow = at_work(&all, "192.0.2.1").await;
    slow.progress.awaits_body(Instant::now());
    let begun = Instant::now();
    let _new = in_favour_of(&all, "192.0.2.2", slow).await;
    assert!(begun.elapsed() >= SLOW_AFTER, "most need no longer");
}

#[tokio::test]
async fn at_an_address_that_has_its_part_who_owes_a_body_gives_way_sooner() {
    let all = connections(4, 2);
    let busy = at_work(&all, "192.0.2.1").await;
    let slow = at_work(&all, "192.0.2.1").await;
    slow.progress.awaits_body(Instant::now());
    tokio::time::sleep(SLOW_AFTER_AT_OWN_ADDRESS).await;
    assert!(admit(&all, "192.0.2.1").await.is_some());
    assert!(slow.close.is_cancelled() && !busy.close.is_cancelled());
}

#[tokio::test]
async fn who_is_at_work_is_waited_for() {
    let all = connections(1, 1);
    let busy = at_work(&all, "192.0.2.1").await;
    let ends = async move {
        tokio::time::sleep(CLOSING_PATIENCE * 3).await;
        assert!(!busy.close.is_cancelled());
        drop(busy);
    };
    let (new, ()) = tokio::join!(admit(&all, "192.0.2.2"), ends);
    assert!(new.is_some());
}

#[tokio::test]
async fn nothing_is_kept_of_whoever_has_gone() {
    let all = connections(4, 2);
    drop((admit(&all, "192.0.2.1").await, admit(&all, "2001:db8::1").await));
    let state = all.state();
    assert!(state.connections.is_empty() && state.addresses.is_empty());
    assert_eq!(all.places.available_permits(), 4);
}
