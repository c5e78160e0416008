//! When to refresh, and when to try again: the arithmetic of time, pure.

use std::time::Duration;

use crate::{
    domain::{Timestamp, provider::Provider},
    shared::{after, before, until},
};

/// Least pause told to a caller.
pub(crate) const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// A refresh is begun at least this long before the token ends…
const MARGIN_MIN: Duration = Duration::from_secs(60);
/// …or this share of its life, whichever is more…
const MARGIN_SHARE: f64 = 0.10;
/// …but never before half its life is over: a margin longer than the life would never stop refreshing.
const MARGIN_SHARE_MAX: f64 = 0.5;
/// Refreshes of tokens issued together are spread over this share of their life.
const JITTER_SHARE: f64 = 0.10;
/// Jitter of a refresh that is already due: a restart with many due is not a stampede.
const OVERDUE_JITTER: Duration = Duration::from_secs(2);
/// First pause after a failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(900);
/// Pause before a paused account (an administrator's fault) is tried again by itself.
pub(crate) const PAUSED_RETRY: Duration = Duration::from_secs(3600);

/// When to refresh a token: `expiry - max(10 % of life, 60 s, the provider's margin), at most half the life, - jitter`.
/// `None`: the provider does not say when it ends, so it is refreshed on demand. `jitter` in `[0, 1)`.
pub(crate) fn refresh_at(
    provider: &Provider,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    jitter: f64,
) -> Option<Timestamp> {
    let end = expires_at?;
    let life = until(issued_at, end);
    let margin = life
        .mul_f64(MARGIN_SHARE)
        .max(MARGIN_MIN)
        .max(provider.refresh_margin.unwrap_or_default())
        .min(life.mul_f64(MARGIN_SHARE_MAX));
    let at = before(end, margin + life.mul_f64(JITTER_SHARE * jitter));
    Some(if at > now {
        at
    } else {
        after(now, OVERDUE_JITTER.mul_f64(jitter))
    })
}

/// How long to wait after the n-th failure in a row: full jitter, no less than the provider asked for.
pub(crate) fn backoff(failures: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
    let ceiling = BACKOFF_MIN
        .saturating_mul(1 << failures.saturating_sub(1).min(16))
        .min(BACKOFF_MAX);
    let pause = ceiling.mul_f64(jitter).max(RETRY_AFTER_MIN);
    match retry_after {
        // Everybody was told the same moment: come a little after it, not all at once.
        Some(asked) => asked + RETRY_AFTER_MIN.mul_f64(jitter).max(pause.min(RETRY_AFTER_MIN)),
        None => pause,
    }
}

#[cfg(test)]
mod tests {
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
        fn a_refresh_is_never_planned_after_the_end_nor_before_four_tenths_of_the_life(
            life in 1_i64..10_000_000, jitter in 0.0_f64..1.0, margin in 0_u64..100_000_000,
        ) {
            let provider = Provider { refresh_margin: Some(Duration::from_secs(margin)), ..provider("google") };
            let planned = refresh_at(&provider, at(0), Some(at(life)), at(0), jitter).unwrap();
            prop_assert!(planned < at(life));
            prop_assert!(until(at(0), planned) >= Duration::from_secs_f64(life as f64 * 0.39));
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
}
