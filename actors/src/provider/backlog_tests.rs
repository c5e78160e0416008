//! Who goes first, who must not starve, and who is sent away.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn ends(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn background(second: i64) -> Wish {
    Wish {
        account: Some(Uuid::from_u128(second as u128)),
        waited_for_until: None,
        ends_at: ends(second),
        is_retry: false,
    }
}

fn waited_for(now: Instant) -> Wish {
    Wish::waited_for(None, now + Duration::from_secs(25))
}

fn drain(backlog: &mut Backlog<i64>, now: Instant) -> Vec<i64> {
    std::iter::from_fn(|| backlog.pop(now))
        .map(|(_, who)| who)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_token_that_ends_soonest_goes_first() {
    let mut backlog = Backlog::new(10);
    for second in [30, 10, 20] {
        assert_eq!(backlog.push(background(second), second), None);
    }
    assert_eq!(drain(&mut backlog, Instant::now()), [10, 20, 30]);
}

#[tokio::test(start_paused = true)]
async fn somebody_who_waits_goes_before_what_nobody_waits_for() {
    let now = Instant::now();
    let mut backlog = Backlog::new(10);
    backlog.push(background(10), 10);
    backlog.push(background(20), 20);
    backlog.push(waited_for(now), 1);
    backlog.hurry(Uuid::from_u128(20), now + Duration::from_secs(25));
    assert_eq!(drain(&mut backlog, now), [1, 20, 10]);
}

#[tokio::test(start_paused = true)]
async fn whoever_gave_up_is_not_run_ahead_of_others() {
    let now = Instant::now();
    let mut backlog = Backlog::new(10);
    let mut gave_up = waited_for(now);
    gave_up.ends_at = ends(15);
    backlog.push(gave_up, 15);
    backlog.push(background(10), 10);
    backlog.push(background(20), 20);
    assert_eq!(drain(&mut backlog, now + Duration::from_secs(25)), [10, 15, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_callers_does_not_starve_the_background() {
    let now = Instant::now();
    let mut backlog = Backlog::new(1_000);
    backlog.push(background(10), -1);
    for who in 0..100 {
        backlog.push(waited_for(now), who);
    }
    let order = drain(&mut backlog, now);
    assert!(order.iter().position(|who| *who == -1).unwrap() < BACKGROUND_SHARE as usize);
}

proptest! {
    /// Whatever comes: nobody is lost, and when there is no room the latest end is what is sent away.
    #[test]
    fn nobody_is_lost_and_the_least_urgent_is_sent_away(seconds in prop::collection::vec(0_i64..100, 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let mut backlog = Backlog::new(20);
        let mut sent_away = Vec::new();
        for (n, second) in seconds.iter().enumerate() {
            let wish = Wish { account: Some(Uuid::from_u128(n as u128)), ..background(*second) };
            sent_away.extend(backlog.push(wish, *second));
            prop_assert!(backlog.len() <= 20);
        }
        let kept = drain(&mut backlog, Instant::now());
        prop_assert!(kept.is_sorted());
        prop_assert!(backlog.places.is_empty());
        let mut all: Vec<_> = kept.iter().chain(&sent_away).copied().collect();
        let mut expected = seconds.clone();
        all.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(all, expected);
        if let (Some(last), Some(first_away)) = (kept.last(), sent_away.iter().min()) {
            prop_assert!(last <= first_away);
        }
    }
}
