//! The lifecycle of one connected account, as a pure function: `step(state, input, now) -> effects`.
//!
//! No clock, no chance, no I/O: the shell in `mod.rs` runs the effects and feeds their outcomes back. Everything that
//! decides whether a token is handed out, a refresh begun or a user asked to act is here, and can be tested as a table.

use std::time::Duration;

use super::row::{Row, Token};
use crate::{
    domain::{Timestamp, integration::Status, reason::ReasonCode},
    provider::breaker::OpenCause,
};

/// Callers that may wait for one refresh. 64 connections of 32 services fit; more is a defect somewhere.
pub(crate) const WAITERS_MAX: usize = 10_000;

/// Where the account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The token is good; the timer waits for its refresh.
    Active,
    /// A refresh is under way here.
    Refreshing,
    /// The same, and the database that is to take its outcome is away: nobody waits for that.
    Stalled,
    /// Another node refreshes; look again then.
    RefreshedElsewhere { look_at: Timestamp },
    /// Not now; again then.
    BackedOff { until: Timestamp, hold: Hold },
    /// Only the user can go on.
    ReauthRequired,
    /// Taken back.
    Revoked,
}

/// Why not now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hold {
    /// This account's last attempt failed; its standing says why.
    Failing,
    /// The provider's breaker is open.
    Breaker(OpenCause),
    /// The database cannot store an attempt, so none is begun.
    Database,
}

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct WaiterId(pub(crate) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Waiter {
    id: WaiterId,
    want: Wanted,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A token that lives at least this long.
    Token { min_ttl: Duration },
    /// A refresh, whatever the present token is like.
    Refresh,
}

/// What happens to an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Somebody asks.
    Asked(WaiterId, Wanted),
    /// The timer fired, or the Scheduler says work is due.
    Due,
    /// The attempt ended and the row is as it is now: refreshed or failed, here or on another node.
    Settled(Row),
    /// Another node holds the claim.
    HeldElsewhere { look_at: Timestamp },
    /// The breaker let no call out.
    BreakerOpen { cause: OpenCause, until: Timestamp },
    /// The database could not be asked or written.
    DatabaseAway { until: Timestamp },
    /// The database is away while an attempt is under way, which goes on.
    Stalled,
    /// It is back.
    Resumed,
    /// The token of this generation was rejected by the provider's interface; `is_first`: nobody refreshes it yet.
    Rejected { generation: i64, is_first: bool },
    /// The row is gone.
    Gone,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Begin the refresh protocol.
    StartRefresh,
    /// Tell the provider about the revocation.
    TellProvider,
    /// Feed [`Input::Due`] then.
    ArmTimer(Timestamp),
    /// Answer with the present token (or view).
    Grant(WaiterId),
    /// Answer with a refusal.
    Refuse(WaiterId, Refusal),
}

/// Why somebody gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such connection (any more).
    NotConnected,
    /// The user must reconnect.
    Reauth(ReasonCode),
    /// An administrator must act.
    Admin(ReasonCode),
    /// The operator must act.
    Operator {
        reason: ReasonCode,
        retry_after: Duration,
    },
    /// Wait.
    Unavailable {
        reason: ReasonCode,
        retry_after: Duration,
    },
    /// The database is away and the token at hand does not do.
    Database { retry_after: Duration },
    /// The provider gives no token that lives this long.
    TooShortLived { longest: Duration },
    /// Too many wait already.
    Crowded,
}

/// The state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) row: Row,
    waiters: Vec<Waiter>,
    /// The generation whose token was rejected: it is not handed out while there may be another.
    rejected: Option<i64>,
}

/// A row was read: the state it means, and what to do first.
pub(crate) fn awaken(row: Row, now: Timestamp) -> (State, Vec<Effect>) {
    let mut state = State {
        phase: Phase::Active,
        row,
        waiters: Vec::new(),
        rejected: None,
    };
    let mut effects = Vec::new();
    state.settle(now, &mut effects);
    (state, effects)
}

/// One step.
pub(crate) fn step(state: &mut State, input: Input, now: Timestamp) -> Vec<Effect> {
    let mut effects = Vec::new();
    match input {
        Input::Asked(waiter, want) => state.asked(Waiter { id: waiter, want }, now, &mut effects),
        Input::Due => state.due(now, &mut effects),
        Input::Settled(row) => {
            state.row = row;
            state.settle(now, &mut effects);
            state.release_waiters(now, &mut effects);
        }
        // Only an attempt under way has an outcome. One whose row settled meanwhile (revoked, reconnected, refreshed
        // elsewhere) comes too late: the row knows better, and whatever the attempt reports resurrects nothing.
        Input::HeldElsewhere { .. } | Input::BreakerOpen { .. } | Input::DatabaseAway { .. }
            if !state.is_refreshing() => {}
        Input::Stalled if state.phase == Phase::Refreshing => {
            state.phase = Phase::Stalled;
            state.release_waiters(now, &mut effects);
        }
        Input::Resumed if state.phase == Phase::Stalled => state.phase = Phase::Refreshing,
        Input::Stalled | Input::Resumed => {}
        Input::HeldElsewhere { look_at } => {
            state.phase = Phase::RefreshedElsewhere { look_at };
            effects.push(Effect::ArmTimer(look_at));
        }
        Input::BreakerOpen { cause, until } => state.back_off(until, Hold::Breaker(cause), now, &mut effects),
        Input::DatabaseAway { until } => state.back_off(until, Hold::Database, now, &mut effects),
        Input::Rejected { generation, is_first } => state.rejected(generation, is_first, &mut effects),
        Input::Gone => {
            state.phase = Phase::Revoked;
            state.row.token = None;
            state.release_waiters(now, &mut effects);
        }
    }
    effects
}

// === impl State ===

impl State {
    /// Whether an attempt is under way here.
    pub(crate) fn is_refreshing(&self) -> bool {
        matches!(self.phase, Phase::Refreshing | Phase::Stalled)
    }

    /// Whether it may be put to sleep: nothing is under way and nobody waits.
    pub(crate) fn is_idle(&self) -> bool {
        let is_elsewhere = matches!(self.phase, Phase::RefreshedElsewhere { .. });
        self.waiters.is_empty() && !self.is_refreshing() && !is_elsewhere
    }

    /// Whether this token was rejected where it is for, and another one could be had.
    pub(crate) fn is_rejected(&self, token: Token) -> bool {
        self.rejected == Some(token.generation) && self.row.refreshable
    }

    fn usable(&self, token: Token, now: Timestamp, min_ttl: Duration) -> bool {
        token.usable_for(now, min_ttl) && !self.is_rejected(token)
    }

    /// One refresh for whoever reports it first; our own back-off does not stand in its way, the provider's breaker and a
    /// database that is away do.
    fn rejected(&mut self, generation: i64, is_first: bool, effects: &mut Vec<Effect>) {
        if self.row.token.is_none_or(|token| token.generation != generation) {
            return;
        }
        self.rejected = Some(generation);
        let may_begin = match &self.phase {
            Phase::Active => true,
            Phase::BackedOff { hold, .. } => *hold == Hold::Failing,
            Phase::Refreshing
            | Phase::Stalled
            | Phase::RefreshedElsewhere { .. }
            | Phase::ReauthRequired
            | Phase::Revoked => false,
        };
        if is_first && may_begin && self.row.refreshable {
            self.begin(effects);
        }
    }

    /// Derives phase and timer from the row.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.phase = match (self.row.standing.status, self.row.due_at) {
            (Status::Revoked, _) => Phase::Revoked,
            (Status::ReauthRequired, _) => Phase::ReauthRequired,
            // Nothing to hand out and nothing to refresh with: only a new connection helps.
            (_, _) if self.row.token.is_none() => Phase::ReauthRequired,
            // Without a due time it is refreshed on demand, failing or not: a pause without an end would be for ever.
            (Status::Active | Status::Pending, _) | (Status::Degraded, None) => Phase::Active,
            (Status::Degraded | Status::Paused, due_at) => Phase::BackedOff {
                until: due_at.unwrap_or(Timestamp::MAX),
                hold: Hold::Failing,
            },
        };
        self.due(now, effects);
    }

    /// Looks at the clock: begins what is due, or arms the timer for it.
    fn due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let at = match &self.phase {
            Phase::Refreshing | Phase::Stalled | Phase::ReauthRequired => None,
            Phase::Active => self.row.due_at,
            Phase::RefreshedElsewhere { look_at } => Some(*look_at),
            Phase::BackedOff { until, .. } => Some(*until).filter(|until| *until != Timestamp::MAX),
            Phase::Revoked => self.row.token.and(self.row.due_at),
        };
        match at {
            None => {}
            Some(at) if at > now => effects.push(Effect::ArmTimer(at)),
            Some(_) if self.phase == Phase::Revoked => effects.push(Effect::TellProvider),
            Some(_) => self.begin(effects),
        }
    }

    fn begin(&mut self, effects: &mut Vec<Effect>) {
        self.phase = Phase::Refreshing;
        effects.push(Effect::StartRefresh);
    }

    fn asked(&mut self, waiter: Waiter, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Wanted::Token { min_ttl } = waiter.want
            && self.phase != Phase::Revoked
            && let Some(token) = self.row.token
        {
            if self.usable(token, now, min_ttl) {
                effects.push(Effect::Grant(waiter.id));
                if self.phase == Phase::Active && self.row.wants_refresh(token, now) {
                    self.begin(effects);
                }
                return;
            }
            if token.is_fresh(now) && !self.is_rejected(token) && self.phase != Phase::ReauthRequired {
                let longest = token.remaining(now).unwrap_or_default();
                effects.push(Effect::Refuse(waiter.id, Refusal::TooShortLived { longest }));
                return;
            }
        }
        let may_refresh = !matches!(self.phase, Phase::Revoked | Phase::ReauthRequired);
        if waiter.want == Wanted::Refresh && may_refresh && !self.row.refreshable {
            // Nothing to present: whoever wants it to outlive its token must have the user reconnect it.
            let refusal = Refusal::Reauth(ReasonCode::new("no_refresh_token"));
            effects.push(Effect::Refuse(waiter.id, refusal));
            return;
        }
        match &self.phase {
            Phase::Active => {
                self.join(waiter, effects);
                self.begin(effects);
            }
            Phase::Refreshing | Phase::RefreshedElsewhere { .. } => self.join(waiter, effects),
            Phase::BackedOff { until, hold } => {
                // A user or service that insists is let through our own back-off, once per call, but never through the
                // breaker: the egress asks it again.
                let insists = waiter.want == Wanted::Refresh && *hold == Hold::Failing;
                if *until <= now || insists {
                    self.join(waiter, effects);
                    self.begin(effects);
                } else {
                    let refusal = self.refusal(now);
                    effects.push(Effect::Refuse(waiter.id, refusal));
                }
            }
            Phase::Stalled | Phase::ReauthRequired | Phase::Revoked => {
                let refusal = self.refusal(now);
                effects.push(Effect::Refuse(waiter.id, refusal));
            }
        }
    }

    fn join(&mut self, waiter: Waiter, effects: &mut Vec<Effect>) {
        if self.waiters.len() >= WAITERS_MAX {
            effects.push(Effect::Refuse(waiter.id, Refusal::Crowded));
        } else {
            self.waiters.push(waiter);
        }
    }

    fn back_off(&mut self, until: Timestamp, hold: Hold, now: Timestamp, effects: &mut Vec<Effect>) {
        self.phase = Phase::BackedOff { until, hold };
        effects.push(Effect::ArmTimer(until));
        self.release_waiters(now, effects);
    }

    /// Everybody who waited for this attempt is answered, one way or the other: nobody waits for a second one.
    fn release_waiters(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for waiter in std::mem::take(&mut self.waiters) {
            let verdict = match (waiter.want, &self.phase, self.row.token) {
                (Wanted::Token { min_ttl }, phase, Some(token))
                    if *phase != Phase::Revoked && self.usable(token, now, min_ttl) =>
                {
                    Effect::Grant(waiter.id)
                }
                (Wanted::Token { .. }, Phase::Active | Phase::Refreshing, Some(token))
                    if self.usable(token, now, Duration::ZERO) =>
                {
                    let longest = token.remaining(now).unwrap_or_default();
                    Effect::Refuse(waiter.id, Refusal::TooShortLived { longest })
                }
                (Wanted::Refresh, Phase::Active | Phase::Refreshing, Some(_)) => Effect::Grant(waiter.id),
                (Wanted::Token { .. } | Wanted::Refresh, _, _) => {
                    Effect::Refuse(waiter.id, self.refusal(now))
                }
            };
            effects.push(verdict);
        }
    }
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
