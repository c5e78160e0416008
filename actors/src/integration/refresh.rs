//! The refresh protocol (design, section 5): permit, claim, call, salvage, commit, and only then tell the actor.
//!
//! One unit, run as an effect. A rotated refresh token is durable before anybody sees the access token that came with
//! it, and the provider is called only once the intent is durable. Whatever dies in between, the row tells what happened.

use std::time::Duration;

use tokio::time::Instant;

use super::{
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
        store::{ClaimOutcome, ClaimRequest, Commit, FailureCommit, RefreshCommit, StoreError},
    },
    provider::{breaker::OpenCause, egress::Held, load::Load},
    shared::{Shared, after, until},
};

/// How soon to look again when another node holds the claim, at the least.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(150);
/// And how much later at the most, so that many waiting nodes do not look as one.
const LOOK_AGAIN_SPREAD: Duration = Duration::from_millis(350);
/// Pause before the database is asked again, at the most.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// First pause between tries to commit an answer in hand; doubled up to [`COMMIT_PAUSE_MAX`].
const COMMIT_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between tries to commit.
const COMMIT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A single-use refresh token of unknown fate is presented once more this long before the access token ends: not
/// earlier, because if it was spent, presenting it again may end the living access token too.
pub(super) const PROBE_BEFORE_END: Duration = Duration::from_secs(60);

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
    asked_at: Option<Timestamp>,
) -> RefreshOutcome {
    let Some(egress) = shared.egress(&provider.key) else {
        return RefreshOutcome::Gone;
    };
    let _under_way = shared.load(&provider.key).map(Load::begin);
    let permit = match egress.admit().await {
        Ok(permit) => permit,
        Err(Held { cause, retry_after }) => {
            let until = after(
                shared.now(),
                retry_after + LOOK_AGAIN_SPREAD.mul_f64(shared.ports.rng.unit()),
            );
            return RefreshOutcome::BreakerOpen { cause, until };
        }
    };
    if shared.effects.stopping() {
        // The call has not begun: it is left to the next start, or to another node.
        return database_away(shared);
    }
    let attempt = AttemptId(uuid::Uuid::now_v7());
    let request = ClaimRequest {
        id,
        generation,
        attempt,
        node: shared.settings.node,
        lease: shared.settings.lease,
    };
    let claimed_at = Instant::now();
    let (integration, stale) = match shared.ports.integrations.claim(&request).await {
        Ok(ClaimOutcome::Claimed { integration, stale }) => (*integration, stale),
        Ok(ClaimOutcome::Held(_)) => {
            let wait = LOOK_AGAIN_MIN + LOOK_AGAIN_SPREAD.mul_f64(shared.ports.rng.unit());
            return RefreshOutcome::HeldElsewhere {
                look_at: after(shared.now(), wait),
            };
        }
        Ok(ClaimOutcome::Moved(integration)) => return settled(shared, *integration),
        Ok(ClaimOutcome::Gone) => return nothing_to_refresh(shared, &request.id).await,
        Err(error) => {
            tracing::warn!(error = %error, "no refresh is begun: its intent cannot be stored");
            return database_away(shared);
        }
    };
    let (opened, refresh_token) = match open(shared, integration) {
        Ok(pair) => pair,
        Err(error) => {
            tracing::error!(error = %error, "a row does not open: check the configured encryption keys");
            return database_away(shared);
        }
    };
    if let Some(due) = opened
        .stored
        .grant
        .as_ref()
        .and_then(|grant| grant.next_refresh_at)
    {
        measure::late(&provider.key, until(due, shared.now()));
    }
    let attempt = Attempt {
        shared,
        provider,
        attempt,
        cause,
        asked_at,
        opened: &opened,
    };

    if let Some(wait_until) = must_wait(provider, &opened, stale.as_ref(), shared.now()) {
        return conclude_failure(&attempt, outcome::outcome_unknown(&attempt, wait_until)).await;
    }
    let Some(refresh_token) = refresh_token else {
        return conclude_failure(&attempt, outcome::not_refreshable(&attempt)).await;
    };
    let result = call(shared, provider, &opened, &refresh_token, claimed_at).await;
    egress.report(&provider.key, &result);
    drop(permit);
    match result {
        Ok(answer) => conclude_answer(&attempt, &refresh_token, answer).await,
        Err(failure) => conclude_call_failure(&attempt, stale.is_some(), failure).await,
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

/// Whether a vanished attempt forbids presenting the refresh token now, and until when.
fn must_wait(
    provider: &Provider,
    opened: &Opened,
    stale: Option<&Claim>,
    now: Timestamp,
) -> Option<Timestamp> {
    let stale = stale?;
    match provider.refresh_class {
        RefreshClass::Safe => None,
        // The claim counts from the last attempt; one that already found the outcome unknown presented nothing, and does
        // not open the window anew.
        RefreshClass::Grace { window }
            if until(stale.since, now) < window && !is_known_to_be_unknown(opened) =>
        {
            None
        }
        RefreshClass::Grace { .. } | RefreshClass::SingleUse => {
            let end = opened.stored.grant.as_ref()?.expires_at?;
            let probe_at = crate::shared::before(end, PROBE_BEFORE_END);
            (probe_at > now).then_some(probe_at)
        }
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

/// Calls the provider. A provider that gives a grace window is asked once more within it when the answer was lost.
async fn call(
    shared: &Shared,
    provider: &Provider,
    opened: &Opened,
    refresh_token: &RefreshToken,
    claimed_at: Instant,
) -> Result<TokenAnswer, ProviderFailure> {
    let request = || RefreshRequest {
        refresh_token: refresh_token.clone(),
        scopes: opened.stored.scopes.clone(),
        metadata: opened.stored.metadata.clone(),
        account: opened.stored.account.clone(),
    };
    let first = shared.ports.oauth.refresh(&provider.key, request()).await;
    let (RefreshClass::Grace { window }, Err(failure)) = (provider.refresh_class, &first) else {
        return first;
    };
    // Within the window, and early enough to be over before the claim may be taken for stale.
    let in_time = claimed_at.elapsed() < window.min(shared.settings.lease / 2);
    if failure.kind == FailureKind::OutcomeUnknown && in_time {
        return shared.ports.oauth.refresh(&provider.key, request()).await;
    }
    first
}

/// New tokens: seal, commit, and only then tell.
async fn conclude_answer(
    attempt: &Attempt<'_>,
    presented: &RefreshToken,
    answer: TokenAnswer,
) -> RefreshOutcome {
    match outcome::commit_of(attempt, presented, answer) {
        Ok(commit) => conclude_commit(attempt, commit).await,
        Err(error) => {
            tracing::error!(error = %error, "new tokens cannot be sealed");
            database_away(attempt.shared)
        }
    }
}

async fn conclude_call_failure(
    attempt: &Attempt<'_>,
    after_stale: bool,
    mut failure: ProviderFailure,
) -> RefreshOutcome {
    if let Some(salvaged) = failure.salvaged.take() {
        return match outcome::commit_of_salvage(attempt, &failure, &salvaged) {
            Ok(commit) => conclude_commit(attempt, commit).await,
            Err(error) => {
                tracing::error!(error = %error, "a salvaged refresh token cannot be sealed");
                database_away(attempt.shared)
            }
        };
    }
    if failure.kind == FailureKind::DeadGrant {
        // Believed only after re-reading: another node may have won, and then the refusal speaks of an old token.
        if let Some(moved) = moved_since(attempt).await {
            return moved;
        }
    }
    let commit = outcome::failure_of(attempt, after_stale, &failure);
    let again = commit.next_refresh_at;
    let concluded = conclude_failure(attempt, commit).await;
    match (failure.kind, again, concluded) {
        // The row stands as it stood, and would look like a refresh that went well: whoever waits is told otherwise.
        (FailureKind::Operator, Some(until), RefreshOutcome::Settled(now))
            if now.stored.standing == attempt.opened.stored.standing
                && generation(&now.stored) == generation(&attempt.opened.stored) =>
        {
            RefreshOutcome::BreakerOpen {
                cause: OpenCause::Operator(failure.reason),
                until,
            }
        }
        (_, _, concluded) => concluded,
    }
}

fn generation(row: &StoredIntegration) -> Option<i64> {
    row.grant.as_ref().map(|grant| grant.generation)
}

async fn moved_since(attempt: &Attempt<'_>) -> Option<RefreshOutcome> {
    let before = &attempt.opened.stored;
    match attempt.shared.ports.integrations.load(&before.id).await {
        Ok(Some(now)) => (generation(&now) != generation(before)).then(|| settled(attempt.shared, now)),
        Ok(None) => Some(RefreshOutcome::Gone),
        // The commit that follows is conditional on the same generation: it decides.
        Err(_) => None,
    }
}

/// Commits new tokens, for as long as it takes: they exist nowhere else.
async fn conclude_commit(attempt: &Attempt<'_>, commit: RefreshCommit) -> RefreshOutcome {
    let store = &attempt.shared.ports.integrations;
    if let Some(Commit::Fenced) = persist(attempt.shared, || store.commit_refresh(&commit)).await {
        tracing::warn!(integration.id = %commit.id, "a late answer is refused by its row: somebody else moved on");
    }
    reread(attempt.shared, &commit.id).await
}

async fn conclude_failure(attempt: &Attempt<'_>, commit: FailureCommit) -> RefreshOutcome {
    let store = &attempt.shared.ports.integrations;
    persist(attempt.shared, || store.commit_failure(&commit)).await;
    reread(attempt.shared, &commit.id).await
}

/// Retries a commit until the database takes or refuses it, or the hard stop. `None`: given up.
async fn persist<F>(shared: &Shared, commit: impl Fn() -> F) -> Option<Commit>
where
    F: Future<Output = Result<Commit, StoreError>>,
{
    let mut pause = COMMIT_PAUSE_MIN;
    loop {
        match commit().await {
            Ok(commit) => return Some(commit),
            Err(error) => tracing::warn!(error = %error, "an attempt's outcome is not stored yet; retrying"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(COMMIT_PAUSE_MAX),
            () = shared.effects.hard_stop().cancelled() => {
                tracing::error!("stopped before an attempt's outcome could be stored; its claim tells");
                return None;
            }
        }
    }
}

/// The claim found nothing to refresh. The row says why: gone, revoked, or waiting for its user with a token that lives.
async fn nothing_to_refresh(shared: &Shared, id: &IntegrationId) -> RefreshOutcome {
    match reread(shared, id).await {
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

async fn reread(shared: &Shared, id: &IntegrationId) -> RefreshOutcome {
    match shared.ports.integrations.load(id).await {
        Ok(Some(stored)) => settled(shared, stored),
        Ok(None) => RefreshOutcome::Gone,
        Err(_) => database_away(shared),
    }
}

fn settled(shared: &Shared, stored: StoredIntegration) -> RefreshOutcome {
    if stored.standing.status == Status::Revoked && stored.grant.is_none() {
        return RefreshOutcome::Gone;
    }
    match Opened::open(&*shared.ports.vault, stored) {
        Ok(opened) => RefreshOutcome::Settled(opened),
        Err(error) => {
            tracing::error!(error = %error, "a row does not open: check the configured encryption keys");
            database_away(shared)
        }
    }
}

fn database_away(shared: &Shared) -> RefreshOutcome {
    let pause = DATABASE_PAUSE.mul_f64(0.5 + shared.ports.rng.unit() / 2.0);
    RefreshOutcome::DatabaseAway {
        until: after(shared.now(), pause),
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
