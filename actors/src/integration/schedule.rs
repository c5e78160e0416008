//! When to refresh, and when to try again: the arithmetic of time, pure.

use std::time::Duration;

use crate::{
    domain::{Timestamp, provider::Provider, token::TokenAnswer},
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
/// Refreshes of tokens issued together are spread over this share of their life: those of an hour over twelve minutes.
const JITTER_SHARE: f64 = 0.20;
/// Jitter of a refresh that is already due: a restart with many due is not a stampede.
const OVERDUE_JITTER: Duration = Duration::from_secs(2);
/// First pause after a failure; doubled with each further one.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// Longest pause.
const BACKOFF_MAX: Duration = Duration::from_secs(900);
/// Pause before a paused account (an administrator's fault) is tried again by itself.
pub(crate) const PAUSED_RETRY: Duration = Duration::from_secs(3600);

/// Whoever asked within this time is taken to ask again: the token is refreshed before it ends.
const IN_USE_FOR: Duration = Duration::from_secs(24 * 3600);
/// An account that is only kept alive is refreshed up to this share of the pause early, so that accounts connected
/// together do not stay together.
const KEEP_ALIVE_SPREAD: f64 = 0.2;
/// The user is told this long before a refresh token ends…
const WARNING_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// …or this share of its life before, whichever is less.
const WARNING_SHARE: f64 = 0.2;
/// And the look that decides it comes within this share of that time.
const WARNING_SPREAD: f64 = 0.1;
/// An end that was put off by less than this was not put off: providers count in seconds, and from their own clocks.
const SAME_END: Duration = Duration::from_secs(60);

/// The lives of one account's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lives {
    /// When the access token was obtained.
    pub(crate) issued_at: Timestamp,
    /// When it ends; `None`: the provider does not say.
    pub(crate) expires_at: Option<Timestamp>,
    /// The refresh token's, if anybody knows.
    pub(crate) refresh_token: Option<Life>,
}

/// From when until when something lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    /// Since when its end is known.
    pub(crate) since: Timestamp,
    /// Its end.
    pub(crate) until: Timestamp,
}

impl Lives {
    /// Of the tokens that a consent brought. The refresh token ends when the provider says, or as its operator knows.
    pub(crate) fn of_consent(provider: &Provider, answer: &TokenAnswer, now: Timestamp) -> Self {
        let known = || provider.refresh_token_lifetime.map(|life| after(now, life));
        let end = answer.refresh_token_expires_at.or_else(known);
        Self {
            issued_at: now,
            expires_at: answer.expires_at,
            refresh_token: refresh_token_life(None, end, now),
        }
    }
}

/// When work falls due next: a refresh ahead of the token's end for accounts in use, and for the others no more than what
/// keeps their refresh token alive. `None`: never by itself. `jitter` in `[0, 1)`.
///
/// A refresh token whose end has passed is no reason to do anything: its provider's verdict decides, not our reckoning.
pub(crate) fn next_work(
    provider: &Provider,
    lives: &Lives,
    last_used_at: Timestamp,
    now: Timestamp,
    jitter: f64,
) -> Option<Timestamp> {
    let ahead = refresh_at(provider, lives.issued_at, lives.expires_at, now, jitter);
    let look = lives
        .refresh_token
        .map(|life| look_at(life, jitter))
        .filter(|at| *at > now);
    let in_use = until(last_used_at, now) < IN_USE_FOR;
    let kept_alive = provider
        .keep_alive
        .map(|pause| after(now, pause.mul_f64(1.0 - KEEP_ALIVE_SPREAD * jitter)));
    let at = match (ahead, in_use) {
        (Some(ahead), true) => Some(ahead),
        // Never more often than an account in use.
        (Some(ahead), false) => match earlier(kept_alive, look) {
            Some(at) => return Some(at.max(ahead)),
            None => Some(ahead),
        },
        (None, _) => kept_alive,
    };
    earlier(at, look)
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// From when on the user must be asked, unless refreshing puts the end off.
fn warn_at(life: Life) -> Timestamp {
    before(life.until, warning(life))
}

fn warning(life: Life) -> Duration {
    until(life.since, life.until)
        .mul_f64(WARNING_SHARE)
        .min(WARNING_MAX)
}

/// When to find out whether refreshing puts the end off: early enough to ask the user if it does not.
fn look_at(life: Life, jitter: f64) -> Timestamp {
    after(warn_at(life), warning(life).mul_f64(WARNING_SPREAD * jitter))
}

/// The refresh token's life after an answer that said `end`: a new life if the end was put off, the present one if not.
pub(crate) fn refresh_token_life(
    present: Option<Life>,
    end: Option<Timestamp>,
    now: Timestamp,
) -> Option<Life> {
    match (present, end) {
        (Some(present), Some(end)) if end <= after(present.until, SAME_END) => Some(Life {
            until: end,
            ..present
        }),
        (_, Some(end)) => Some(Life {
            since: now,
            until: end,
        }),
        (present, None) => present,
    }
}

/// Whether a refresh token ends so soon that its user must be asked, now that refreshing has not put the end off.
pub(crate) fn is_ending(life: Option<Life>, now: Timestamp) -> bool {
    life.is_some_and(|life| warn_at(life) <= now)
}

/// How long before its end a token that lives this long is refreshed.
pub(crate) fn margin(life: Duration, own: Option<Duration>) -> Duration {
    life.mul_f64(MARGIN_SHARE)
        .max(MARGIN_MIN)
        .max(own.unwrap_or_default())
        .min(life.mul_f64(MARGIN_SHARE_MAX))
}

/// Whether a token lives so short that half its life is all the margin there is.
pub(crate) fn is_shorter_than_margin(life: Duration, own: Option<Duration>) -> bool {
    margin(life, own) >= life.mul_f64(MARGIN_SHARE_MAX)
}

/// When to refresh a token: `expiry - max(10 % of life, 60 s, the provider's margin), at most half the life, - jitter`.
/// `None`: the provider does not say when it ends, so it is refreshed on demand. `jitter` in `[0, 1)`.
fn refresh_at(
    provider: &Provider,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    now: Timestamp,
    jitter: f64,
) -> Option<Timestamp> {
    let end = expires_at?;
    let life = until(issued_at, end);
    let margin = margin(life, provider.refresh_margin);
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
#[path = "schedule_tests.rs"]
mod tests;
