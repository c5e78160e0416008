//! What the lifecycle knows of the row, and the questions of time it asks of the token.

use std::time::Duration;

use super::schedule;
use crate::{
    domain::{
        Timestamp,
        integration::{Standing, StoredIntegration},
    },
    shared::until,
};

/// A token with at least this share of its life left is as fresh as the provider makes them: refreshing it again would
/// not make it live longer.
const FRESH_SHARE: f64 = 0.9;

/// What the lifecycle knows of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) standing: Standing,
    pub(crate) token: Option<Token>,
    /// When work falls due by the row.
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) failures: u32,
    /// Whether the provider gave a refresh token: without one the account lives as long as its access token.
    pub(crate) refreshable: bool,
}

/// What the lifecycle knows of the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) generation: i64,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Option<Timestamp>,
}

impl Row {
    pub(crate) fn of(stored: &StoredIntegration) -> Self {
        let grant = stored.grant.as_ref();
        Self {
            standing: stored.standing.clone(),
            token: grant.map(|grant| Token {
                generation: grant.generation,
                issued_at: grant.issued_at,
                expires_at: grant.expires_at,
            }),
            due_at: grant.and_then(|grant| grant.next_refresh_at),
            failures: grant.map_or(0, |grant| grant.failures),
            refreshable: grant.is_some_and(|grant| grant.refresh_token.is_some()),
        }
    }

    /// Whether somebody who asks for the token now is the occasion to refresh it: it is due, or it was to be left alone
    /// until after its end because nobody asked.
    pub(super) fn wants_refresh(&self, token: Token, now: Timestamp) -> bool {
        let left_alone = self.refreshable && token.expires_at.is_some_and(|end| self.due_at > Some(end));
        self.due_at.is_some_and(|due| due <= now) || (left_alone && token.is_ending(now))
    }
}

/// How long a token should be good for when the caller does not say: long enough for the call it is fetched for, and half
/// of a token's life where tokens live shorter than twice that, because more could not be had for half of the time.
pub(crate) fn usual_min_ttl(token: Option<Token>) -> Duration {
    const USUAL: Duration = Duration::from_secs(60);
    let life = token.and_then(|token| token.expires_at.map(|end| until(token.issued_at, end)));
    life.map_or(USUAL, |life| USUAL.min(life / 2))
}

impl Token {
    /// How long it still lives; `None`: the provider does not say.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<Duration> {
        self.expires_at.map(|end| until(now, end))
    }

    pub(crate) fn usable_for(&self, now: Timestamp, min_ttl: Duration) -> bool {
        // A token that ends this very instant is no token, even for a caller who asks for no time at all.
        self.remaining(now)
            .is_none_or(|left| left >= min_ttl && left > Duration::ZERO)
    }

    /// Whether it would be refreshed by now, were it in use.
    fn is_ending(&self, now: Timestamp) -> bool {
        self.expires_at
            .is_some_and(|end| until(now, end) <= schedule::margin(until(self.issued_at, end), None))
    }

    /// Whether a refresh could not make it live longer.
    pub(super) fn is_fresh(&self, now: Timestamp) -> bool {
        let Some(end) = self.expires_at else { return true };
        let life = until(self.issued_at, end);
        until(now, end) >= life.mul_f64(FRESH_SHARE)
    }
}
