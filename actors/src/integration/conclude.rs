//! The end of the refresh protocol: from the provider's answer (or its failing to come) into the row, and only then to the
//! actor.
//!
//! A new refresh token exists nowhere but in its answer. Such an answer is written into the spool *before* its commit is
//! tried, which costs microseconds and outlives the process; every answer whose commit does not succeed at once is, and is
//! made to outlive the machine while the commit is tried on and on. Nobody sees an access token before the refresh token
//! that came with it is in the database.

use std::time::Duration;

use super::{
    opened::Opened,
    outcome::{self, Attempt},
    refresh::{RefreshOutcome, database_away, look_again},
    replay::{self, Offered},
    spooled::InHand,
    transition, unstorable,
};
use crate::{
    domain::{
        Timestamp,
        ids::IntegrationId,
        integration::{Claim, Status, StoredIntegration},
        provider::RefreshClass,
        secret::RefreshToken,
        token::TokenAnswer,
    },
    measure,
    ports::{
        oauth::{FailureKind, ProviderFailure},
        store::{ClaimReturn, Commit, Concluded, FailureCommit, RefreshCommit, StoreError, StoreResult},
    },
    provider::breaker::OpenCause,
    shared::Shared,
};

/// First pause between tries to commit an answer in hand; doubled up to [`COMMIT_PAUSE_MAX`].
const COMMIT_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between tries to commit.
const COMMIT_PAUSE_MAX: Duration = Duration::from_secs(2);

/// New tokens: seal, commit, and only then tell.
pub(super) async fn answer(
    attempt: &Attempt<'_>,
    presented: &RefreshToken,
    answer: TokenAnswer,
) -> RefreshOutcome {
    let precious = is_precious(attempt, presented, answer.refresh_token.as_ref());
    match outcome::commit_of(attempt, presented, answer) {
        Ok(commit) => store(attempt, commit, precious).await,
        Err(error) => {
            tracing::error!(error = %error, "new tokens cannot be sealed");
            database_away(attempt.shared)
        }
    }
}

/// Whether losing this answer could lose the grant: its refresh token is a new one, or the presented one is spent.
fn is_precious(attempt: &Attempt<'_>, presented: &RefreshToken, given: Option<&RefreshToken>) -> bool {
    attempt.provider.refresh_class != RefreshClass::Safe
        || given.is_some_and(|given| given.expose() != presented.expose())
}

/// The call failed, or its answer cannot be used.
pub(super) async fn call_failure(
    attempt: &Attempt<'_>,
    presented: &RefreshToken,
    after_stale: bool,
    mut failure: ProviderFailure,
) -> RefreshOutcome {
    if let Some(salvaged) = failure.salvaged.take() {
        return match outcome::commit_of_salvage(attempt, &failure, &salvaged) {
            Ok(commit) => store(attempt, commit, is_precious(attempt, presented, Some(&salvaged))).await,
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
    let concluded = self::failure(attempt, commit).await;
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

/// Stores new tokens, for as long as it takes: they exist nowhere else.
async fn store(attempt: &Attempt<'_>, commit: RefreshCommit, precious: bool) -> RefreshOutcome {
    let shared = attempt.shared;
    let mut in_hand = InHand::take(shared, &attempt.opened.stored, &commit);
    if precious {
        in_hand.write();
    }
    let mut pause = COMMIT_PAUSE_MIN;
    let mut reduced = None;
    loop {
        let tried = reduced.as_ref().unwrap_or(&commit);
        let committed = shared.ports.integrations.commit_refresh(tried).await;
        match shared.database.told(committed) {
            Ok(Concluded::Stored(row)) => {
                transition::tell(&attempt.opened.stored.standing, &row);
                in_hand.settle();
                return settled(shared, *row);
            }
            Ok(Concluded::Fenced) => return late(attempt, &commit, in_hand).await,
            Err(error @ StoreError::Refused { .. }) => {
                if reduced.is_some() {
                    set_aside(in_hand, &error).await;
                    return failure(attempt, unstorable::failure(attempt)).await;
                }
                unstorable::say_reduced(&commit.id, &error);
                reduced = Some(unstorable::reduced(&commit, &attempt.opened.stored));
                continue;
            }
            Err(error) => {
                tracing::warn!(error = %error, "an answer is not stored yet; retrying");
                measure::commit_retried(&attempt.provider.key);
            }
        }
        in_hand.write();
        in_hand.harden().await;
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(COMMIT_PAUSE_MAX),
            () = shared.effects.hard_stop().cancelled() => {
                tracing::error!("stopped before an answer could be stored; the next start finds it in the spool");
                return database_away(shared);
            }
        }
    }
}

/// Nobody can store it as things are. It stays in the spool, and is offered again by the next start: the operator may have
/// mended what was in its way.
async fn set_aside(mut in_hand: InHand<'_>, error: &StoreError) {
    in_hand.write();
    in_hand.harden().await;
    in_hand.set_aside(error);
}

/// The claim is lost. Perhaps the row has moved on (by this very commit, whose confirmation got lost, or by somebody
/// else's); perhaps it only says that nobody knows what became of the attempt that has its answer here.
async fn late(attempt: &Attempt<'_>, commit: &RefreshCommit, in_hand: InHand<'_>) -> RefreshOutcome {
    let shared = attempt.shared;
    match replay::offer(shared, &attempt.opened.stored, commit).await {
        Offered::Stored(row) => {
            transition::tell(&attempt.opened.stored.standing, &row);
            tracing::info!(integration.id = %commit.id, "an answer that came late is stored");
            in_hand.settle();
            settled(shared, row)
        }
        Offered::Refused => {
            tracing::warn!(integration.id = %commit.id, "a late answer is refused by its row: somebody else moved on");
            measure::commit_fenced(&attempt.provider.key);
            in_hand.settle();
            reread(shared, &commit.id).await
        }
        Offered::Unstorable(error) => {
            set_aside(in_hand, &error).await;
            reread(shared, &commit.id).await
        }
        Offered::GivenUp => database_away(shared),
    }
}

/// Stores a failure; a claim that cannot be given back runs out by itself.
pub(super) async fn failure(attempt: &Attempt<'_>, commit: FailureCommit) -> RefreshOutcome {
    let shared = attempt.shared;
    let mut pause = COMMIT_PAUSE_MIN;
    let mut reduced = None;
    loop {
        let tried = reduced.as_ref().unwrap_or(&commit);
        let committed = shared.ports.integrations.commit_failure(tried).await;
        match shared.database.told(committed) {
            Ok(Concluded::Stored(row)) => {
                transition::tell(&attempt.opened.stored.standing, &row);
                return settled(shared, *row);
            }
            Ok(Concluded::Fenced) => return reread(shared, &commit.id).await,
            Err(StoreError::Refused { .. }) if reduced.is_none() => {
                reduced = Some(unstorable::reduced_failure(&commit));
                continue;
            }
            Err(error @ StoreError::Refused { .. }) => {
                tracing::error!(integration.id = %commit.id, error = %error, "an attempt's outcome cannot be stored; its claim tells");
                return database_away(shared);
            }
            Err(error) => {
                tracing::warn!(error = %error, "an attempt's outcome is not stored yet; retrying");
                measure::commit_retried(&attempt.provider.key);
            }
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(COMMIT_PAUSE_MAX),
            () = shared.effects.hard_stop().cancelled() => {
                tracing::error!("stopped before an attempt's outcome could be stored; its claim tells");
                return database_away(shared);
            }
        }
    }
}

/// Gives a claim back whose call was not begun, so that others need not wait for it to run out. Tried once: running out
/// is no harm.
pub(super) async fn give_back(attempt: &Attempt<'_>, stale: Option<Claim>) -> RefreshOutcome {
    let planned_at = attempt
        .opened
        .stored
        .grant
        .as_ref()
        .and_then(|grant| grant.next_refresh_at);
    match return_claim(attempt, stale, planned_at).await {
        Ok(_) => look_again(attempt.shared),
        Err(error) => {
            tracing::warn!(error = %error, "a claim is not given back; it runs out");
            database_away(attempt.shared)
        }
    }
}

/// Nothing was presented under this claim, which stays in the row as a memory: it makes room for the vanished attempt's,
/// whose answer may yet come and is then stored like any other. Tried once: left as it is, a late answer is merely in doubt.
pub(super) async fn leave_to_the_vanished(
    attempt: &Attempt<'_>,
    vanished: Option<Claim>,
    planned_at: Timestamp,
) {
    let own = attempt.opened.stored.grant.as_ref();
    let Some((vanished, own)) = vanished.zip(own.and_then(|grant| grant.claim.as_ref())) else {
        return;
    };
    let claim = Claim {
        // Since then it is known to have run out: whoever has its answer is given time from here.
        until: own.since,
        ..vanished
    };
    if let Err(error) = return_claim(attempt, Some(claim), Some(planned_at)).await {
        tracing::debug!(error = %error, "the vanished attempt's claim is not back in its row");
    }
}

async fn return_claim(
    attempt: &Attempt<'_>,
    stale: Option<Claim>,
    planned_at: Option<Timestamp>,
) -> StoreResult<Commit> {
    let claim = ClaimReturn {
        id: attempt.opened.stored.id.clone(),
        attempt: attempt.attempt,
        stale,
        planned_at,
    };
    attempt.shared.ports.integrations.return_claim(&claim).await
}

/// Reads the row as it is now.
pub(super) async fn reread(shared: &Shared, id: &IntegrationId) -> RefreshOutcome {
    match shared.ports.integrations.load(id).await {
        Ok(Some(stored)) => settled(shared, stored),
        Ok(None) => RefreshOutcome::Gone,
        Err(_) => database_away(shared),
    }
}

/// The row as it is now, opened.
pub(super) fn settled(shared: &Shared, stored: StoredIntegration) -> RefreshOutcome {
    if stored.standing.status == Status::Revoked && stored.grant.is_none() {
        return RefreshOutcome::Gone;
    }
    let provider = stored.id.provider.clone();
    match Opened::open(&*shared.ports.vault, stored) {
        Ok(opened) => RefreshOutcome::Settled(opened),
        Err(error) => {
            measure::row_unopenable(&provider);
            tracing::error!(error = %error, "a row does not open: check the configured encryption keys");
            database_away(shared)
        }
    }
}
