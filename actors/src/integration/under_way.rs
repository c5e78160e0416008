//! A refresh as its actor sees it: begun as an effect, which tells when the database goes and comes meanwhile, and in the
//! end what came of it.

use std::sync::Arc;

use ractor::ActorRef;
use tracing::Instrument as _;

use super::{
    Integration, IntegrationState,
    lifecycle::{self, Input},
    message::IntegrationMsg,
    opened::span_of,
    refresh::{self, RefreshOutcome},
    row::Row,
};
use crate::domain::{caller::RequestContext, integration::Status};

impl Integration {
    /// A defect in an effect is its actor's: it fails too, and is started again from the row within its budget. It would wait
    /// for an outcome that never comes.
    pub(super) fn fails_with(myself: &ActorRef<IntegrationMsg>) -> impl FnOnce() + Send + 'static {
        let myself = myself.clone();
        move || drop(myself.cast(IntegrationMsg::EffectFailed))
    }

    pub(super) fn start_refresh(&self, myself: &ActorRef<IntegrationMsg>, state: &IntegrationState) {
        let Some(token) = state.lifecycle.row.token else {
            return;
        };
        let (shared, provider, myself) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.provider),
            myself.clone(),
        );
        let id = state.opened.stored.id.clone();
        let cause = state.cause.clone().unwrap_or_else(RequestContext::system);
        let wish = self.wish(state);
        let asked_at = self.activity.asked_at();
        let failed = Self::fails_with(&myself);
        let effect = async move {
            let work = refresh::refresh(&shared, &provider, id, token.generation, cause, wish, asked_at);
            let tell = |is_away| drop(myself.cast(IntegrationMsg::Stalled(is_away)));
            let outcome = shared.database.watched(work, tell).await;
            // If the actor is gone, its next incarnation reads the row.
            let _ = myself.cast(IntegrationMsg::Refreshed(Box::new(outcome)));
        };
        self.shared
            .effects
            .spawn_or(failed, effect.instrument(span_of(&state.opened.stored)));
    }

    pub(super) fn stalled(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        is_stalled: bool,
    ) {
        let input = if is_stalled {
            Input::Stalled
        } else {
            Input::Resumed
        };
        self.feed(myself, state, input);
    }

    pub(super) fn refreshed(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        outcome: RefreshOutcome,
    ) {
        let input = match outcome {
            // The row was read before it was revoked, or is connected again: only a reading begun now can tell.
            RefreshOutcome::Settled(opened)
                if state.lifecycle.phase == lifecycle::Phase::Revoked
                    && opened.stored.standing.status != Status::Revoked =>
            {
                return self.reload(myself, state);
            }
            RefreshOutcome::Settled(opened) => {
                Self::learn(state, opened);
                Input::Settled(Row::of(&state.opened.stored))
            }
            RefreshOutcome::HeldElsewhere { look_at } => Input::HeldElsewhere { look_at },
            RefreshOutcome::BreakerOpen { cause, until } => Input::BreakerOpen { cause, until },
            RefreshOutcome::DatabaseAway { until } => Input::DatabaseAway { until },
            RefreshOutcome::Gone => {
                Self::forget_token(state);
                Input::Gone
            }
        };
        self.feed(myself, state, input);
    }
}
