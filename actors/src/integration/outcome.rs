//! What each ending of an attempt writes into the row: the rules of design section 5 and of the providers' error tables.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    opened::{OpenError, Opened},
    refresh::{PROBE_BEFORE_END, reason},
    remark, schedule,
};
use crate::{
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        ids::AttemptId,
        integration::{Standing, Status, StoredGrant},
        provider::{Provider, RefreshClass},
        reason::{ANSWER_LATE, REFRESH_TOKEN_ENDING, ReasonCode, WhoMustAct},
        sealed::{Sealed, SealedColumn},
        secret::RefreshToken,
        token::TokenAnswer,
    },
    ports::{
        oauth::{FailureKind, ProviderFailure},
        store::{FailureCommit, RefreshCommit},
    },
    shared::{Shared, after, before, until},
};

/// Odd refusals of one account in a row before a reconnect is suspected (facts, section 8, rule 9).
const REFUSALS_MAX: u32 = 3;

/// Nobody knows whether a refresh token was spent.
pub(super) const OUTCOME_UNKNOWN: &str = "outcome_unknown";

/// An attempt under way: a claimed row and who claimed it.
pub(super) struct Attempt<'a> {
    pub(super) shared: &'a Shared,
    pub(super) provider: &'a Provider,
    pub(super) attempt: AttemptId,
    /// Who wished it, or this service by itself.
    pub(super) cause: RequestContext,
    /// When somebody last asked this node for the token: later than the row knows.
    pub(super) asked_at: Option<Timestamp>,
    pub(super) opened: &'a Opened,
    /// Before its claim was asked for, by this process' own clock.
    pub(super) claimed_at: Instant,
}

// === impl Attempt ===

impl Attempt<'_> {
    pub(super) fn grant(&self) -> Option<&StoredGrant> {
        self.opened.stored.grant.as_ref()
    }

    fn generation(&self) -> i64 {
        self.grant().map_or(0, |grant| grant.generation)
    }

    /// For how long the refresh token may have been out: since the first attempt of this generation whose outcome is unknown,
    /// or this one's own claim. The part before this claim is by the database's clock alone, the rest by this process' own.
    pub(super) fn unsettled_for(&self) -> Duration {
        let claim = self.grant().and_then(|grant| grant.claim.as_ref());
        let before = claim.map_or(Duration::ZERO, |claim| until(claim.unsettled_since, claim.since));
        before + self.claimed_at.elapsed()
    }

    fn failures(&self) -> u32 {
        self.grant().map_or(0, |grant| grant.failures)
    }

    fn jitter(&self) -> f64 {
        self.shared.ports.rng.unit()
    }

    /// When somebody last asked for the token, as far as anybody knows.
    fn last_used_at(&self) -> Timestamp {
        let stored = self.grant().map(|grant| grant.last_used_at);
        stored.max(self.asked_at).unwrap_or(Timestamp::MIN)
    }

    /// The lives of the tokens in this answer, of this moment.
    fn lives(&self, now: Timestamp, answer: &TokenAnswer) -> schedule::Lives {
        let present = self.grant().and_then(|grant| {
            Some(schedule::Life {
                since: grant.refresh_token_since.unwrap_or(grant.issued_at),
                until: grant.refresh_token_expires_at?,
            })
        });
        schedule::Lives {
            issued_at: now,
            expires_at: answer.expires_at,
            refresh_token: schedule::refresh_token_life(present, answer.refresh_token_expires_at, now),
        }
    }

    fn audit(&self, outcome: AuditOutcome) -> AuditEntry {
        AuditEntry::new(AuditAction::Refresh, outcome, self.cause.clone())
            .with_integration(&self.opened.stored.id, &self.opened.stored.owner.subject)
    }

    /// Seals a value for the generation this attempt will make.
    fn seal(&self, column: SealedColumn, value: &str) -> Result<Sealed, OpenError> {
        let stored = &self.opened.stored;
        let failed = |error| OpenError::Vault {
            id: stored.id.to_string(),
            error,
        };
        let grant = self
            .grant()
            .ok_or_else(|| failed(crate::ports::vault::VaultError::Refused))?;
        let context = stored.seal_context(column, self.generation() + 1);
        self.shared
            .ports
            .vault
            .seal(&grant.data_key, &context, value.as_bytes())
            .map_err(failed)
    }

    pub(super) fn failure(&self, standing: Standing, error: &ReasonCode) -> FailureCommit {
        FailureCommit {
            id: self.opened.stored.id.clone(),
            generation: self.generation(),
            attempt: self.attempt,
            standing,
            failures: self.failures().saturating_add(1),
            next_refresh_at: None,
            forget_tokens: false,
            keep_claim: false,
            audit: self.audit(AuditOutcome::Failure).with_error(error.clone()),
        }
    }

    pub(super) fn back_off(&self, retry_after: Option<Duration>) -> Timestamp {
        self.later(schedule::backoff(
            self.failures().saturating_add(1),
            retry_after,
            self.jitter(),
        ))
    }

    fn later(&self, pause: Duration) -> Timestamp {
        after(self.shared.now(), pause)
    }
}

/// The provider gave new tokens.
pub(super) fn commit_of(
    attempt: &Attempt<'_>,
    presented: &RefreshToken,
    answer: TokenAnswer,
) -> Result<RefreshCommit, OpenError> {
    let stored = &attempt.opened.stored;
    let now = attempt.shared.now();
    // An absent refresh token means: keep the present one (RFC 6749 6). It is sealed anew because its generation changes.
    let keep = answer.refresh_token.as_ref().unwrap_or(presented);
    let lives = attempt.lives(now, &answer);
    let mut audit = attempt.audit(AuditOutcome::Success);
    audit.error = remark::of(attempt.provider, stored, &answer, now);
    let scopes = answer.scopes.unwrap_or_else(|| stored.scopes.clone());
    let next = schedule::next_work(
        attempt.provider,
        &lives,
        attempt.last_used_at(),
        now,
        attempt.jitter(),
    );
    Ok(RefreshCommit {
        id: stored.id.clone(),
        generation: attempt.generation(),
        attempt: attempt.attempt,
        access_token: attempt.seal(SealedColumn::AccessToken, answer.access_token.expose())?,
        refresh_token: Some(attempt.seal(SealedColumn::RefreshToken, keep.expose())?),
        token_type: answer.token_type,
        issued_at: now,
        expires_at: answer.expires_at,
        refresh_token_expires_at: answer.refresh_token_expires_at,
        next_refresh_at: next,
        scopes: scopes.clone(),
        standing: standing_of(&lives, now),
        refreshed: true,
        failures: 0,
        audit: audit.with_scopes(scopes),
    })
}

/// All is well, unless the refresh token is about to end although it was just used.
fn standing_of(lives: &schedule::Lives, now: Timestamp) -> Standing {
    if schedule::is_ending(lives.refresh_token, now) {
        return Standing::because(Status::Active, reason(REFRESH_TOKEN_ENDING), WhoMustAct::User);
    }
    Standing::active()
}

/// The answer could not be used, but it held a rotated refresh token: that one is kept, beside the old access token.
pub(super) fn commit_of_salvage(
    attempt: &Attempt<'_>,
    failure: &ProviderFailure,
    salvaged: &RefreshToken,
) -> Result<RefreshCommit, OpenError> {
    let stored = &attempt.opened.stored;
    let refused = || OpenError::Vault {
        id: stored.id.to_string(),
        error: crate::ports::vault::VaultError::Refused,
    };
    let grant = attempt.grant().ok_or_else(refused)?;
    let access_token = attempt.opened.access_token.as_ref().ok_or_else(refused)?;
    Ok(RefreshCommit {
        id: stored.id.clone(),
        generation: grant.generation,
        attempt: attempt.attempt,
        access_token: attempt.seal(SealedColumn::AccessToken, access_token.expose())?,
        refresh_token: Some(attempt.seal(SealedColumn::RefreshToken, salvaged.expose())?),
        token_type: grant.token_type.clone(),
        issued_at: grant.issued_at,
        expires_at: grant.expires_at,
        refresh_token_expires_at: None,
        next_refresh_at: Some(attempt.back_off(failure.retry_after)),
        scopes: stored.scopes.clone(),
        standing: Standing::because(
            Status::Degraded,
            reason("answer_unreadable"),
            WhoMustAct::Operator,
        ),
        refreshed: false,
        failures: grant.failures.saturating_add(1),
        audit: attempt
            .audit(AuditOutcome::Failure)
            .with_error(reason("answer_unreadable")),
    })
}

/// There is no refresh token: the account lives as long as its access token.
pub(super) fn not_refreshable(attempt: &Attempt<'_>) -> FailureCommit {
    let code = reason("no_refresh_token");
    let now = attempt.shared.now();
    match attempt.grant().and_then(|grant| grant.expires_at) {
        Some(end) if end > now => FailureCommit {
            next_refresh_at: Some(end),
            failures: attempt.failures(),
            ..attempt.failure(attempt.opened.stored.standing.clone(), &code)
        },
        // Nothing says the token is dead: it stays as it is, and is not refreshed by itself.
        None => FailureCommit {
            failures: attempt.failures(),
            ..attempt.failure(attempt.opened.stored.standing.clone(), &code)
        },
        Some(_past) => FailureCommit {
            forget_tokens: true,
            ..attempt.failure(
                Standing::because(Status::ReauthRequired, code.clone(), WhoMustAct::User),
                &code,
            )
        },
    }
}

/// An attempt before this one vanished, and presenting its refresh token again could end the grant: wait with it until
/// the living access token is about to end anyway.
pub(super) fn outcome_unknown(attempt: &Attempt<'_>, probe_at: Timestamp) -> FailureCommit {
    let code = reason(OUTCOME_UNKNOWN);
    FailureCommit {
        next_refresh_at: Some(probe_at),
        failures: attempt.failures(),
        keep_claim: true,
        ..attempt.failure(
            Standing::because(Status::Degraded, code.clone(), WhoMustAct::Nobody),
            &code,
        )
    }
}

/// The call failed: what that means for the account.
pub(super) fn failure_of(
    attempt: &Attempt<'_>,
    after_stale: bool,
    failure: &ProviderFailure,
) -> FailureCommit {
    let in_doubt = is_in_doubt(attempt);
    let commit = failure_of_call(attempt, after_stale || in_doubt, failure);
    if commit.standing.status == Status::ReauthRequired {
        return commit;
    }
    if after_stale && attempt.provider.refresh_class != RefreshClass::Safe {
        // Whatever this call came to (busy, throttled, our client refused), it says nothing of the attempt that vanished
        // before it: its memory stays, or the token would be presented as if it had never been.
        let standing = match failure.kind {
            FailureKind::Operator | FailureKind::Admin | FailureKind::Tenant => commit.standing,
            _ => Standing::because(Status::Degraded, reason(OUTCOME_UNKNOWN), failure.who_must_act()),
        };
        return FailureCommit {
            keep_claim: true,
            standing,
            ..commit
        };
    }
    if in_doubt && commit.standing.status == Status::Degraded && !commit.keep_claim {
        // Nor does it say whether the grant outlived what came before it.
        return FailureCommit {
            standing: attempt.opened.stored.standing.clone(),
            ..commit
        };
    }
    commit
}

/// Whether the tokens came late, so that an attempt that nobody heard of again may have ended the grant.
fn is_in_doubt(attempt: &Attempt<'_>) -> bool {
    let reason = attempt.opened.stored.standing.reason.as_ref();
    reason.is_some_and(|reason| reason.as_str() == ANSWER_LATE)
}

/// `is_second`: an attempt nobody heard of again may have presented this grant's refresh token before.
fn failure_of_call(attempt: &Attempt<'_>, is_second: bool, failure: &ProviderFailure) -> FailureCommit {
    let code = &failure.reason;
    let degraded =
        |code: &ReasonCode| Standing::because(Status::Degraded, code.clone(), failure.who_must_act());
    let asks_user = |code: &ReasonCode| {
        let standing = Standing::because(Status::ReauthRequired, code.clone(), WhoMustAct::User);
        attempt.failure(standing, code)
    };
    let interval = attempt.shared.settings.breaker_interval;
    match failure.kind {
        // The last two conclude nothing for the user: the operator is named, and it is tried on.
        FailureKind::Passing
        | FailureKind::AccountThrottled
        | FailureKind::BadRequest
        | FailureKind::Unclear => FailureCommit {
            next_refresh_at: Some(attempt.back_off(failure.retry_after)),
            ..attempt.failure(degraded(code), code)
        },
        FailureKind::OutcomeUnknown | FailureKind::Unreadable => {
            let again = attempt.back_off(failure.retry_after);
            let unknown = reason(OUTCOME_UNKNOWN);
            match attempt.provider.refresh_class {
                RefreshClass::Safe => FailureCommit {
                    next_refresh_at: Some(again),
                    ..attempt.failure(degraded(code), code)
                },
                class @ (RefreshClass::Grace { .. } | RefreshClass::SingleUse) => {
                    let end = attempt.grant().and_then(|grant| grant.expires_at);
                    let probe_at = end.map_or(again, |end| again.max(before(end, PROBE_BEFORE_END)));
                    let pause = until(attempt.shared.now(), again);
                    let is_taken_again = class.takes_again(attempt.unsettled_for() + pause);
                    // Of an answer that came the audit says what was wrong with it.
                    let came = failure.kind == FailureKind::Unreadable;
                    FailureCommit {
                        next_refresh_at: Some(if is_taken_again { again } else { probe_at }),
                        keep_claim: true,
                        ..attempt.failure(degraded(&unknown), if came { code } else { &unknown })
                    }
                }
            }
        }
        FailureKind::DeadGrant => {
            // After a vanished attempt the refusal proves that attempt had spent the token: say so.
            let unknown = is_second.then(|| reason(OUTCOME_UNKNOWN));
            FailureCommit {
                forget_tokens: true,
                ..asks_user(unknown.as_ref().unwrap_or(code))
            }
        }
        FailureKind::Admin | FailureKind::Tenant => FailureCommit {
            next_refresh_at: Some(
                attempt.later(schedule::PAUSED_RETRY.mul_f64(0.75 + attempt.jitter() / 2.0)),
            ),
            ..attempt.failure(
                Standing::because(Status::Paused, code.clone(), WhoMustAct::Admin),
                code,
            )
        },
        // An operator's mistake never touches a user's state: as it stood, so it stands.
        FailureKind::Operator => FailureCommit {
            failures: attempt.failures(),
            next_refresh_at: Some(attempt.later(interval.mul_f64(1.0 + attempt.jitter()))),
            ..attempt.failure(attempt.opened.stored.standing.clone(), code)
        },
        FailureKind::Refused if refusals(attempt, code) < REFUSALS_MAX => FailureCommit {
            failures: refusals(attempt, code),
            next_refresh_at: Some(attempt.back_off(failure.retry_after)),
            ..attempt.failure(degraded(code), code)
        },
        FailureKind::Interaction | FailureKind::Refused => asks_user(code),
    }
}

/// How often in a row it was refused with this code, this time included. Failures of another kind before it say nothing of
/// the account: the first odd answer after an outage is one. Where the standing says something older, all are counted.
fn refusals(attempt: &Attempt<'_>, code: &ReasonCode) -> u32 {
    let counted = [code.as_str(), OUTCOME_UNKNOWN, ANSWER_LATE];
    let last = attempt.opened.stored.standing.reason.as_ref();
    let last = last.filter(|last| counted.contains(&last.as_str()));
    last.map_or(0, |_| attempt.failures()).saturating_add(1)
}
