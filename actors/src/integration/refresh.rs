//! The refresh protocol (design, section 5): permit, claim, call, salvage, commit, and only then tell the actor.
//!
//! One unit, run as an effect. A rotated refresh token is durable before anybody sees the access token that came with
//! it, and the provider is called only once the intent is durable. Whatever dies in between, the row tells what happened.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    conclude,
    opened::{OpenError, Opened},
    outcome::{self, Attempt},
};
use crate::{
    domain::{
        Timestamp,
        caller::RequestContext,
        error::ServiceError,
        ids::{AttemptId, IntegrationId},
        integration::{Claim, Status, StoredIntegration},
        provider::{Provider, RefreshClass},
        reason::ReasonCode,
        secret::RefreshToken,
        token::TokenAnswer,
    },
    measure,
    ports::{
        oauth::{FailureKind, ProviderFailure, RefreshRequest},
        store::{ClaimOutcome, ClaimRequest, StoreError},
    },
    provider::{
        backlog::Wish,
        breaker::OpenCause,
        egress::{Held, Permit},
        load::Load,
    },
    shared::{Shared, after, before, until},
};

/// How soon to look again when another node holds the claim, at the least.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(150);
/// And how much later at the most, so that many waiting nodes do not look as one.
const LOOK_AGAIN_SPREAD: Duration = Duration::from_millis(350);
/// Pause before the database is asked again, at the most.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// How long an account is left alone that a vanished attempt left behind, before its refresh token is risked: whoever holds
/// the answer tries at least every two seconds to store it, and only now is there no claim in its way.
const HANDOVER: Duration = Duration::from_secs(5);
/// A single-use refresh token of unknown fate is presented once more this long before the access token ends: not
/// earlier, because if it was spent, presenting it again may end the living access token too.
pub(crate) const PROBE_BEFORE_END: Duration = Duration::from_secs(60);

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum RefreshOutcome {
    /// The row has settled and this is how it is now: refreshed or failed, here or elsewhere.
    Settled(Opened),
    /// Another node holds the claim.
    HeldElsewhere { look_at: Timestamp },
    /// The breaker let no call out; nothing was tried.
    BreakerOpen { cause: OpenCause, until: Timestamp },
    /// The database was away before anything was tried, or the row could not be read afterwards.
    DatabaseAway { until: Timestamp },
    /// The row is gone.
    Gone,
}

/// Runs the protocol once.
pub(crate) async fn refresh(
    shared: &Shared,
    provider: &Provider,
    id: IntegrationId,
    generation: i64,
    cause: RequestContext,
    wish: Wish,
    asked_at: Option<Timestamp>,
) -> RefreshOutcome {
    let Some(egress) = shared.egress(&provider.key) else {
        return RefreshOutcome::Gone;
    };
    let _under_way = shared.load(&provider.key).map(Load::begin);
    match egress.admit(wish).await {
        // On the heap, so that one of many thousands who wait for leave is small.
        Ok(permit) => Box::pin(attempt(shared, provider, id, generation, cause, asked_at, permit)).await,
        Err(Held { cause, retry_after }) => RefreshOutcome::BreakerOpen {
            cause,
            until: after(
                shared.now(),
                retry_after + LOOK_AGAIN_SPREAD.mul_f64(shared.ports.rng.unit()),
            ),
        },
    }
}

async fn attempt(
    shared: &Shared,
    provider: &Provider,
    id: IntegrationId,
    generation: i64,
    cause: RequestContext,
    asked_at: Option<Timestamp>,
    permit: Permit,
) -> RefreshOutcome {
    if shared.effects.stopping() || shared.database.takes_no_writes() {
        // The call has not begun: it is left to the next start, to another node, or until it can be stored.
        return database_away(shared);
    }
    if shared.answers.has(id.uuid) {
        // What its refresh token would bring is here already, on its way into the row.
        return look_again(shared);
    }
    let attempt = AttemptId(uuid::Uuid::now_v7());
    let request = ClaimRequest {
        id,
        generation,
        attempt,
        node: shared.settings.node,
        lease: lease(shared, provider),
    };
    let claimed_at = Instant::now();
    let claimed = shared.ports.integrations.claim(&request).await;
    let (integration, stale) = match shared.database.told(claimed) {
        Ok(ClaimOutcome::Claimed { integration, stale }) => (*integration, stale),
        Ok(ClaimOutcome::Held(_)) => {
            measure::claim_held_elsewhere(&provider.key);
            return look_again(shared);
        }
        Ok(ClaimOutcome::Moved(integration)) => return conclude::settled(shared, *integration),
        Ok(ClaimOutcome::Gone) => return nothing_to_refresh(shared, &request.id).await,
        Err(error) => {
            tracing::debug!(error = %error, "no refresh is begun: its intent cannot be stored");
            return database_away(shared);
        }
    };
    let (opened, refresh_token) = match open(shared, integration) {
        Ok(pair) => pair,
        Err(error) => {
            measure::row_unopenable(&provider.key);
            tracing::error!(error = %error, "a row does not open: check the configured encryption keys");
            return database_away(shared);
        }
    };
    let attempt = Attempt {
        shared,
        provider,
        attempt,
        cause,
        asked_at,
        opened: &opened,
        claimed_at,
    };

    if let Some(plan) = must_wait(&attempt, stale.as_ref(), shared.now()) {
        // Written down once. Whoever looks again before its time leaves everything as it found it.
        let is_planned = opened
            .stored
            .grant
            .as_ref()
            .and_then(|grant| grant.next_refresh_at)
            > Some(shared.now());
        if is_planned && is_known_to_be_unknown(&opened) {
            conclude::give_back(&attempt, stale).await;
            // Not read again: somebody else who looks at this moment has claimed it by then, and what is claimed is due. Two
            // who look would go on looking, as fast as the database answers.
            return RefreshOutcome::Settled(opened);
        }
        let concluded = conclude::failure(&attempt, outcome::outcome_unknown(&attempt, plan)).await;
        conclude::leave_to_the_vanished(&attempt, stale, plan).await;
        return concluded;
    }
    let Some(refresh_token) = refresh_token else {
        return conclude::failure(&attempt, outcome::not_refreshable(&attempt)).await;
    };
    if shared.effects.stopping() || !is_young(&attempt) {
        // Nobody knows how long this process stood still, or it is about to end: whoever comes next begins afresh.
        return conclude::give_back(&attempt, stale).await;
    }
    measure::begins(&opened.stored, shared.now());
    if stale.is_some() {
        measure::presented_again(&provider.key, provider.refresh_class.as_str());
    }
    let (result, took) = call(&attempt, &refresh_token, &permit).await;
    let result = report(&attempt, permit, result, took);
    // As it is understood: what sounds like one account's fault may be ours.
    measure::refreshed(&provider.key, outcome_label(&result), took);
    match result {
        Ok(answer) => conclude::answer(&attempt, &refresh_token, answer).await,
        Err(failure) => conclude::call_failure(&attempt, &refresh_token, stale.is_some(), failure).await,
    }
}

fn open(
    shared: &Shared,
    integration: StoredIntegration,
) -> Result<(Opened, Option<RefreshToken>), OpenError> {
    let opened = Opened::open(&*shared.ports.vault, integration)?;
    let refresh_token = opened.refresh_token(&*shared.ports.vault)?;
    Ok((opened, refresh_token))
}

/// Whether a vanished attempt forbids presenting the refresh token now, and when it is looked at again.
fn must_wait(attempt: &Attempt<'_>, stale: Option<&Claim>, now: Timestamp) -> Option<Timestamp> {
    let stale = stale?;
    if attempt
        .provider
        .refresh_class
        .takes_again(attempt.unsettled_for())
    {
        return None;
    }
    let opened = attempt.opened;
    let is_known = is_known_to_be_unknown(opened);
    let grant = opened.stored.grant.as_ref();
    let end = grant.and_then(|grant| grant.expires_at);
    let probe_at = end.map_or(now, |end| before(end, PROBE_BEFORE_END));
    // By the database's clock, and a little less than was planned, because clocks agree roughly; but no later than was
    // planned: planning anew at each look would never come to an end where they do not.
    let handed_over_at = if is_known && !is_unseen(stale, lease(attempt.shared, attempt.provider)) {
        let planned = grant.and_then(|grant| grant.next_refresh_at).unwrap_or(now);
        after(stale.until, HANDOVER.mul_f64(0.8)).min(planned)
    } else {
        after(now, HANDOVER)
    };
    Some(probe_at.max(handed_over_at)).filter(|at| *at > now)
}

/// Whether nobody has seen this claim since it ran out: what was planned was planned before it, and whoever made the attempt
/// may have its answer. Who sees one shortens it, or moves its end on. By the database's clock alone.
fn is_unseen(stale: &Claim, lease: Duration) -> bool {
    until(stale.since, stale.until).abs_diff(lease) < Duration::from_millis(1)
}

/// How long a claim of this provider's accounts keeps other nodes off.
fn lease(shared: &Shared, provider: &Provider) -> Duration {
    provider.refresh_class.lease(shared.settings.lease)
}

/// Whether the claim is young enough for a call to begin: a call takes less than half the lease, so that it is over before
/// anybody may take the claim for stale. Judged by this process' own monotonic clock, from before the claim was asked for:
/// a process that stood still, or a database that took its time, finds the claim old.
fn is_young(attempt: &Attempt<'_>) -> bool {
    attempt.claimed_at.elapsed() < lease(attempt.shared, attempt.provider) / 2
}

fn outcome_label(result: &Result<TokenAnswer, ProviderFailure>) -> &'static str {
    match result {
        Ok(_) => "refreshed",
        Err(failure) => failure.kind.as_str(),
    }
}

fn is_known_to_be_unknown(opened: &Opened) -> bool {
    opened
        .stored
        .standing
        .reason
        .as_ref()
        .is_some_and(|reason| reason.as_str() == outcome::OUTCOME_UNKNOWN)
}

/// Calls the provider: what it answered, and how long that took. A provider that gives a grace window is asked once more
/// within it when the answer was lost.
async fn call(
    attempt: &Attempt<'_>,
    refresh_token: &RefreshToken,
    permit: &Permit,
) -> (Result<TokenAnswer, ProviderFailure>, Duration) {
    let Attempt {
        shared,
        provider,
        opened,
        ..
    } = attempt;
    let request = || RefreshRequest {
        refresh_token: refresh_token.clone(),
        scopes: opened.stored.scopes.clone(),
        metadata: opened.stored.metadata.clone(),
        account: opened.stored.account.clone(),
    };
    let began = Instant::now();
    let first = shared.ports.oauth.refresh(&provider.key, request()).await;
    let took = began.elapsed();
    let (class @ RefreshClass::Grace { .. }, Err(failure)) = (provider.refresh_class, &first) else {
        return (first, took);
    };
    // Within the window, and early enough to be over before the claim may be taken for stale.
    let in_time = class.takes_again(attempt.unsettled_for()) && is_young(attempt);
    if failure.kind != FailureKind::OutcomeUnknown || !in_time || !permit.may_repeat() {
        return (first, took);
    }
    measure::refreshed(&provider.key, outcome_label(&first), took);
    measure::presented_again(&provider.key, provider.refresh_class.as_str());
    let began = Instant::now();
    let second = shared.ports.oauth.refresh(&provider.key, request()).await;
    let result = match second {
        // Not done this time; what became of the first is as unknown as before.
        Err(second) if second.says_nothing_of_earlier_calls() => first.map_err(|first| ProviderFailure {
            // But when it names a time to come again, it names it to everybody.
            retry_after: second.retry_after.filter(|_| second.kind == FailureKind::Passing),
            ..first
        }),
        second => second,
    };
    (result, began.elapsed())
}

/// Says how the call went, unless that says nothing about the provider.
fn report(
    attempt: &Attempt<'_>,
    permit: Permit,
    result: Result<TokenAnswer, ProviderFailure>,
    took: Duration,
) -> Result<TokenAnswer, ProviderFailure> {
    match &result {
        Err(failure) if stood_still(failure, took, lease(attempt.shared, attempt.provider)) => result,
        _ => permit.report(Some(attempt.opened.stored.id.uuid), result),
    }
}

/// Whether nothing was heard because this process stood still: a call takes less than half the lease. Believed, one node that
/// was paused in the middle of its calls would have all nodes leave the provider alone.
fn stood_still(failure: &ProviderFailure, took: Duration, lease: Duration) -> bool {
    let is_silence = matches!(failure.kind, FailureKind::Passing | FailureKind::OutcomeUnknown);
    is_silence && failure.retry_after.is_none() && took >= lease / 2
}

/// The claim found nothing to refresh. The row says why: gone, revoked, or waiting for its user with a token that lives.
async fn nothing_to_refresh(shared: &Shared, id: &IntegrationId) -> RefreshOutcome {
    match conclude::reread(shared, id).await {
        // It looks as if it could be refreshed: it has changed in between, or the store will not have it. Not at once
        // again, and what it holds is served meanwhile.
        RefreshOutcome::Settled(now)
            if now.stored.grant.is_some()
                && !matches!(
                    now.stored.standing.status,
                    Status::Revoked | Status::ReauthRequired
                ) =>
        {
            database_away(shared)
        }
        outcome => outcome,
    }
}

pub(super) fn database_away(shared: &Shared) -> RefreshOutcome {
    let pause = DATABASE_PAUSE.mul_f64(0.5 + shared.ports.rng.unit() / 2.0);
    RefreshOutcome::DatabaseAway {
        until: after(shared.now(), pause),
    }
}

pub(super) fn look_again(shared: &Shared) -> RefreshOutcome {
    let wait = LOOK_AGAIN_MIN + LOOK_AGAIN_SPREAD.mul_f64(shared.ports.rng.unit());
    RefreshOutcome::HeldElsewhere {
        look_at: after(shared.now(), wait),
    }
}

/// What a failure to read or open a row is to a caller.
pub(crate) fn open_error(error: &OpenError) -> ServiceError {
    match error {
        OpenError::Store(StoreError::Unavailable(_)) => ServiceError::Overloaded {
            detail: "the database is not available",
            retry_after: super::schedule::RETRY_AFTER_MIN,
        },
        OpenError::Store(_) | OpenError::Vault { .. } => ServiceError::Internal,
    }
}

/// Why nothing could be stored, as a reason.
pub(super) fn reason(code: &str) -> ReasonCode {
    ReasonCode::new(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_that_stood_still_did_not_hear_is_not_held_against_the_provider() {
        const LEASE: Duration = Duration::from_secs(30);
        let failure =
            |kind| ProviderFailure::new("google".parse().unwrap(), kind, ReasonCode::new("timeout"));
        for kind in [FailureKind::Passing, FailureKind::OutcomeUnknown] {
            assert!(stood_still(&failure(kind), LEASE / 2, LEASE));
            assert!(
                !stood_still(&failure(kind), LEASE / 3, LEASE),
                "the provider was silent"
            );
        }
        // An answer that waited to be read is one.
        assert!(!stood_still(&failure(FailureKind::DeadGrant), LEASE, LEASE));
        let throttled = ProviderFailure {
            retry_after: Some(LEASE),
            ..failure(FailureKind::Passing)
        };
        assert!(!stood_still(&throttled, LEASE, LEASE));
    }
}
