//! Answers that come late are offered to their rows: those earlier runs left in the spool, and those whose attempt lost its
//! claim while the answer was on its way.
//!
//! An ordinary commit demands that its own claim is still in the row. A late one cannot: meanwhile its claim ran out, and
//! whoever found it wrote down that the outcome is unknown. So it is stored under other conditions:
//!
//! 1. **The row stands at the generation that was presented.** Whoever stored tokens since (a refresh elsewhere, the user
//!    connecting again) or forgot them (the provider's verdict, a revocation) has made it another one: refused, harmlessly.
//!    An answer that is stored already is refused by the same rule, so offering one twice is harmless too.
//! 2. **The row is not revoked.** Nothing resurrects it.
//! 3. **No other attempt is under way.** A live claim means that somebody may be presenting the same refresh token now; its
//!    answer is as good as ours or better, and it ends within its lease: wait, look again. Its commit makes rule 1 refuse
//!    ours; its giving the claim back, or its vanishing, makes room for ours.
//!
//! Then it wins, whatever the row says about it, `outcome_unknown` above all: this answer *is* the outcome. That holds even if
//! an attempt after ours vanished after presenting the token again, because nothing better is known of this generation.
//! But a strict provider has ended the grant for that, new tokens and all: so an answer that finds another attempt's claim
//! is stored as one in doubt (degraded, [`ANSWER_LATE`](crate::domain::reason::ANSWER_LATE)) and refreshed at once, which
//! proves it or tells the user soon, and says that it was lost to an unknown outcome. Two answers for one generation (a
//! provider that allows a repeat) are decided by whichever comes first: both are good.
//!
//! **After the provider's verdict it is too late** (rule 1). If the one probe was refused while somebody held the true answer,
//! the tokens are forgotten and the user has been asked to connect again; a strict provider ended the grant with that
//! probe. A lenient one did not, and there the answer is lost for good: that is the price of not waiting for ever.
//!
//! **Refused data is not an absent database.** What the database refuses for good is offered once more without what came
//! with the tokens; what it refuses even so is set aside: it stays in the spool, sealed, for a start when that is mended.
//! Each answer is offered by itself, and none waits for another.
//!
//! While a node holds an answer it presents that account's refresh token to nobody ([`Answers`](super::answers::Answers));
//! and a node that finds a claim run out leaves the account alone for a while before it risks the one probe a single-use
//! token has (`HANDOVER` in `refresh.rs`), so that whoever holds the answer can store it first.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{spooled, unstorable};
use crate::{
    domain::{
        ids::IntegrationId,
        integration::{Status, StoredIntegration},
    },
    measure,
    ports::{
        spool::{SpoolTicket, SpooledAnswer},
        store::{RefreshCommit, Replayed, StoreError, StoreResult},
    },
    shared::Shared,
};

/// How soon a row under somebody else's claim is looked at again, at the least; and how much later at the most.
const LOOK_AGAIN_MIN: Duration = Duration::from_millis(150);
const LOOK_AGAIN_SPREAD: Duration = Duration::from_millis(350);
/// First pause while the database is away; doubled up to [`AWAY_PAUSE_MAX`].
const AWAY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause while the database is away: how late a returned one gets what is owed to it.
const AWAY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// How an offer ended.
pub(super) enum Offered {
    /// It is in the row, which is this now.
    Stored(StoredIntegration),
    /// The row has moved on.
    Refused,
    /// The database takes it in no form.
    Unstorable(StoreError),
    /// The hard stop came first.
    GivenUp,
}

/// Offers an answer in hand until the row takes or refuses it, or the hard stop.
pub(super) async fn offer(shared: &Shared, row: &StoredIntegration, commit: &RefreshCommit) -> Offered {
    let mut away = AWAY_PAUSE_MIN;
    loop {
        let replayed = replay(shared, row, commit).await;
        let pause = match shared.database.told(replayed) {
            Ok(Replayed::Stored(row)) => return Offered::Stored(*row),
            Ok(Replayed::Fenced) => return Offered::Refused,
            Ok(Replayed::Held) => look_again(shared),
            Err(error @ StoreError::Refused { .. }) => return Offered::Unstorable(error),
            Err(error) => {
                tracing::warn!(error = %error, "a late answer is not stored yet; retrying");
                measure::commit_retried(&commit.id.provider);
                next_pause(&mut away)
            }
        };
        tokio::select! {
            () = sleep(pause) => {}
            () = shared.effects.hard_stop().cancelled() => return Offered::GivenUp,
        }
    }
}

/// Offers it once; as it is, and without what cannot be stored if the database refuses that.
async fn replay(shared: &Shared, row: &StoredIntegration, commit: &RefreshCommit) -> StoreResult<Replayed> {
    let store = &shared.ports.integrations;
    match store.replay_refresh(commit).await {
        Err(error @ StoreError::Refused { .. }) => {
            unstorable::say_reduced(&commit.id, &error);
            store.replay_refresh(&unstorable::reduced(commit, row)).await
        }
        replayed => replayed,
    }
}

/// This pause; the one after it is twice as long.
fn next_pause(pause: &mut Duration) -> Duration {
    let this = *pause;
    *pause = (this * 2).min(AWAY_PAUSE_MAX);
    this
}

fn look_again(shared: &Shared) -> Duration {
    LOOK_AGAIN_MIN + LOOK_AGAIN_SPREAD.mul_f64(shared.ports.rng.unit())
}

/// What earlier runs left, held from the first moment on.
pub(crate) struct Left(Vec<(SpoolTicket, SpooledAnswer)>);

/// Takes what earlier runs left; until it is offered, no refresh of these accounts is begun here.
pub(crate) fn take(shared: &Shared) -> Left {
    let left = shared.ports.spool.left();
    for (_, answer) in &left {
        shared.answers.hold(answer.id.uuid);
    }
    measure::spool_depth(shared.ports.spool.depth());
    Left(left)
}

/// What became of one answer in one round.
enum Fate {
    Stored,
    Refused,
    /// Somebody else is at it.
    Waits,
    /// It does not open: a key is missing. It stays in the spool for a start with the right keys.
    Sealed,
}

/// Offers what earlier runs left, for as long as the database is away and others are at it. `changed` is told of every
/// account whose row took one.
pub(crate) async fn run(shared: Arc<Shared>, left: Left, changed: impl Fn(&IntegrationId)) {
    let mut left = left.0;
    if left.is_empty() {
        return;
    }
    tracing::info!(
        answers = left.len(),
        "answers of an earlier run are waiting for the database"
    );
    let mut away = AWAY_PAUSE_MIN;
    loop {
        let mut waiting = Vec::new();
        // The one whose turn it was goes to the end: should it be its own row that does not answer, others are before it.
        let mut unanswered = None;
        for (ticket, answer) in left {
            if unanswered.is_some() || shared.effects.stopping() {
                waiting.push((ticket, answer));
                continue;
            }
            match attempt(&shared, &answer).await {
                Ok(Fate::Waits) => waiting.push((ticket, answer)),
                Ok(Fate::Sealed) => shared.answers.let_go(answer.id.uuid),
                Ok(fate) => {
                    settled(&shared, ticket, &answer, &fate);
                    if matches!(fate, Fate::Stored) {
                        changed(&answer.id);
                    }
                }
                Err(StoreError::Unavailable(reason)) => {
                    tracing::debug!(reason, "answers of an earlier run wait on");
                    unanswered = Some((ticket, answer));
                }
                Err(error) => {
                    spooled::set_aside(&answer.id, &error);
                    shared.answers.let_go(answer.id.uuid);
                }
            }
        }
        let is_away = unanswered.is_some();
        waiting.extend(unanswered);
        left = waiting;
        if left.is_empty() {
            return;
        }
        let pause = if is_away {
            next_pause(&mut away)
        } else {
            look_again(&shared)
        };
        tokio::select! {
            () = sleep(pause) => {}
            // They lie in the spool, for the next start.
            () = shared.effects.soft_stopped() => return,
        }
    }
}

/// Looks at the row and offers it the answer, once.
async fn attempt(shared: &Shared, answer: &SpooledAnswer) -> StoreResult<Fate> {
    let store = &shared.ports.integrations;
    let Some(row) = store.load(&answer.id).await?.filter(|row| waits_for(row, answer)) else {
        return Ok(Fate::Refused);
    };
    let commit = match spooled::open(shared, &row, answer) {
        Ok(commit) => commit,
        Err(error) => {
            tracing::error!(
                integration.id = %answer.id, error = %error,
                "an answer in the spool does not open, and stays there: check the configured encryption keys"
            );
            return Ok(Fate::Sealed);
        }
    };
    Ok(match replay(shared, &row, &commit).await? {
        Replayed::Stored(now) => {
            super::transition::tell(&row.standing, &now);
            Fate::Stored
        }
        Replayed::Fenced => Fate::Refused,
        Replayed::Held => Fate::Waits,
    })
}

/// Whether the row still stands where the answer was asked for. The store decides; this spares it what cannot be.
fn waits_for(row: &StoredIntegration, answer: &SpooledAnswer) -> bool {
    row.standing.status != Status::Revoked
        && row
            .grant
            .as_ref()
            .is_some_and(|grant| grant.generation == answer.generation)
}

fn settled(shared: &Shared, ticket: SpoolTicket, answer: &SpooledAnswer, fate: &Fate) {
    if matches!(fate, Fate::Stored) {
        tracing::info!(integration.id = %answer.id, "an answer of an earlier run is stored");
        measure::spool_replayed("stored");
    } else {
        tracing::info!(integration.id = %answer.id, "an answer of an earlier run is refused by its row: somebody else moved on");
        measure::spool_replayed("fenced");
    }
    spooled::forget(shared, ticket);
    shared.answers.let_go(answer.id.uuid);
}
