//! Tables of times.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::testing::provider::provider;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn an_hour_long_token_is_refreshed_six_minutes_before_its_end_and_a_short_one_at_half_its_life() {
    let google = provider("google");
    assert_eq!(
        refresh_at(&google, at(0), Some(at(3600)), at(0), 0.0),
        Some(at(3240))
    );
    assert_eq!(refresh_at(&google, at(0), Some(at(60)), at(0), 0.0), Some(at(30)));
    assert_eq!(refresh_at(&google, at(0), None, at(0), 0.0), None);
}

#[test]
fn a_refresh_in_the_past_becomes_now_with_jitter() {
    assert_eq!(
        refresh_at(&provider("google"), at(0), Some(at(3600)), at(9000), 0.5),
        Some(at(9001))
    );
}

proptest! {
    #[test]
    fn a_refresh_is_never_planned_after_the_end_nor_before_three_tenths_of_the_life(
        life in 1_i64..10_000_000, jitter in 0.0_f64..1.0, margin in 0_u64..100_000_000,
    ) {
        let provider = Provider { refresh_margin: Some(Duration::from_secs(margin)), ..provider("google") };
        let planned = refresh_at(&provider, at(0), Some(at(life)), at(0), jitter).unwrap();
        prop_assert!(planned < at(life));
        prop_assert!(until(at(0), planned) >= Duration::from_secs_f64(life as f64 * 0.29));
    }

    #[test]
    fn a_pause_is_bounded_and_no_shorter_than_the_provider_asked(
        failures in 0_u32..1000, asked in proptest::option::of(0_u64..3600), jitter in 0.0_f64..1.0,
    ) {
        let pause = backoff(failures, asked.map(Duration::from_secs), jitter);
        prop_assert!(pause >= Duration::from_secs(asked.unwrap_or(1)));
        prop_assert!(pause <= BACKOFF_MAX + Duration::from_secs(3600));
    }
}

const DAY: i64 = 24 * 3600;
const HOUR: i64 = 3600;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

/// A provider whose idle accounts must be refreshed this often.
fn keeping(pause: Option<Duration>) -> Provider {
    Provider {
        keep_alive: pause,
        ..provider("google")
    }
}

/// An hour-long token of this moment.
fn hourly(now: i64, refresh_token: Option<(i64, i64)>) -> Lives {
    Lives {
        issued_at: at(now),
        expires_at: Some(at(now + HOUR)),
        refresh_token: refresh_token.map(|(since, until)| Life {
            since: at(since),
            until: at(until),
        }),
    }
}

#[test]
fn who_asked_within_a_day_is_refreshed_ahead_and_who_did_not_only_kept_alive() {
    let google = keeping(Some(days(90)));
    let plan = |used, jitter| next_work(&google, &hourly(10 * DAY, None), at(used), at(10 * DAY), jitter);
    assert_eq!(plan(10 * DAY, 0.0), Some(at(10 * DAY + 3240)));
    assert_eq!(plan(9 * DAY + 1, 0.0), Some(at(10 * DAY + 3240)));
    assert_eq!(plan(9 * DAY, 0.0), Some(at(100 * DAY)));
    assert_eq!(plan(0, 0.5), Some(at(91 * DAY)), "accounts drift apart");
}

#[test]
fn rules_nobody_knows_are_no_reason_to_leave_an_account_alone() {
    let plan = next_work(&keeping(None), &hourly(10 * DAY, None), at(0), at(10 * DAY), 0.0);
    assert_eq!(plan, Some(at(10 * DAY + 3240)));
}

#[test]
fn a_token_without_an_end_is_refreshed_only_where_its_provider_needs_it() {
    let lives = Lives {
        expires_at: None,
        ..hourly(0, None)
    };
    assert_eq!(next_work(&keeping(None), &lives, at(0), at(0), 0.0), None);
    assert_eq!(
        next_work(&keeping(Some(days(30))), &lives, at(0), at(0), 0.0),
        Some(at(30 * DAY))
    );
}

#[test]
fn an_idle_account_is_refreshed_well_before_its_refresh_token_ends() {
    // 24 hours, told by the provider: at four fifths, however long the provider's rule would wait.
    let plan = next_work(
        &keeping(Some(days(90))),
        &hourly(10 * DAY, Some((10 * DAY, 11 * DAY))),
        at(0),
        at(10 * DAY),
        0.0,
    );
    assert_eq!(plan, Some(at(10 * DAY + 69_120)));
    // 90 days: a week before.
    let plan = next_work(
        &keeping(None),
        &hourly(10 * DAY, Some((10 * DAY, 100 * DAY))),
        at(0),
        at(10 * DAY),
        0.0,
    );
    assert_eq!(plan, Some(at(93 * DAY)));
    // One that has ended by our reckoning: only its provider can tell, and it is not asked more often for that.
    let plan = next_work(
        &keeping(Some(days(90))),
        &hourly(10 * DAY, Some((0, 9 * DAY))),
        at(0),
        at(10 * DAY),
        0.0,
    );
    assert_eq!(plan, Some(at(100 * DAY)));
}

#[test]
fn a_refresh_token_that_ends_before_its_access_token_is_used_in_time() {
    let plan = next_work(&keeping(None), &hourly(0, Some((0, 1800))), at(0), at(0), 0.0);
    assert_eq!(plan, Some(at(1440)));
}

#[test]
fn the_user_is_asked_a_week_before_the_end_or_a_fifth_of_a_shorter_life() {
    let life = |since, until| {
        Some(Life {
            since: at(since),
            until: at(until),
        })
    };
    for (life, first) in [
        (life(0, 180 * DAY), 173 * DAY),
        (life(0, 7 * DAY), 483_840),
        (life(0, DAY), 69_120),
    ] {
        assert!(!is_ending(life, at(first - 1)));
        assert!(is_ending(life, at(first)));
        assert!(is_ending(life, at(1000 * DAY)));
    }
    assert!(!is_ending(None, at(0)));
}

#[test]
fn an_end_that_a_refresh_puts_off_begins_a_new_life_and_one_that_stays_does_not() {
    let present = Some(Life {
        since: at(0),
        until: at(7 * DAY),
    });
    let later = |end| refresh_token_life(present, Some(at(end)), at(6 * DAY));
    assert_eq!(
        later(13 * DAY),
        Some(Life {
            since: at(6 * DAY),
            until: at(13 * DAY)
        })
    );
    // Counted from another second of the provider's.
    assert_eq!(later(7 * DAY + 1).unwrap().since, at(0));
    assert_eq!(later(7 * DAY - 1).unwrap().until, at(7 * DAY - 1));
    assert_eq!(refresh_token_life(present, None, at(6 * DAY)), present);
    assert_eq!(refresh_token_life(None, None, at(0)), None);
}

#[test]
fn ten_thousand_tokens_issued_in_one_minute_are_refreshed_over_more_than_ten() {
    let rng = crate::testing::rng::SeededRng::new(19);
    let google = provider("google");
    let mut minutes = std::collections::BTreeMap::<i64, u32>::new();
    for n in 0..10_000 {
        let issued = n * 60 / 10_000;
        let jitter = crate::ports::rng::Rng::unit(&rng);
        let planned = next_work(&google, &hourly(issued, None), at(issued), at(issued), jitter).unwrap();
        *minutes.entry(planned.as_second() / 60).or_default() += 1;
    }
    let span = minutes.last_key_value().unwrap().0 - minutes.first_key_value().unwrap().0;
    let mean = 10_000.0 / f64::from(u32::try_from(minutes.len()).unwrap());
    let peak = f64::from(*minutes.values().max().unwrap());
    assert!(span >= 10, "{minutes:?}");
    assert!(peak <= 2.0 * mean, "{minutes:?}");
}

#[test]
fn accounts_kept_alive_that_were_connected_together_are_refreshed_over_days() {
    let rng = crate::testing::rng::SeededRng::new(7);
    let google = keeping(Some(days(90)));
    let mut by_day = std::collections::BTreeMap::<i64, u32>::new();
    for _ in 0..10_000 {
        let jitter = crate::ports::rng::Rng::unit(&rng);
        let planned = next_work(&google, &hourly(10 * DAY, None), at(0), at(10 * DAY), jitter).unwrap();
        *by_day.entry(planned.as_second() / DAY).or_default() += 1;
    }
    assert!(by_day.len() >= 18, "{by_day:?}");
    assert!(by_day.values().all(|count| *count < 1_200), "{by_day:?}");
}

proptest! {
    #[test]
    fn an_idle_account_is_never_refreshed_more_often_than_one_in_use_nor_left_until_its_refresh_token_ends(
        life in 60_i64..1_000_000, pause in 60_u64..10_000_000, refresh_life in proptest::option::of(60_i64..10_000_000),
        jitter in 0.0_f64..1.0,
    ) {
        let provider = keeping(Some(Duration::from_secs(pause)));
        let lives = Lives {
            issued_at: at(10 * DAY),
            expires_at: Some(at(10 * DAY + life)),
            refresh_token: refresh_life.map(|life| Life { since: at(10 * DAY), until: at(10 * DAY + life) }),
        };
        let now = at(10 * DAY);
        let idle = next_work(&provider, &lives, at(0), now, jitter).unwrap();
        let in_use = next_work(&provider, &lives, now, now, jitter).unwrap();
        prop_assert!(idle >= in_use);
        prop_assert!(in_use < at(10 * DAY + life));
        if let Some(refresh_life) = refresh_life {
            // Unless the access token outlives it: then there is nothing to win.
            prop_assert!(idle < at(10 * DAY + refresh_life) || idle < at(10 * DAY + life));
            prop_assert!(in_use < at(10 * DAY + refresh_life));
        }
    }
}
