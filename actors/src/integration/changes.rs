//! Changes of the row that are no refresh: read again after somebody else changed it, taken back.

use std::sync::Arc;

use ractor::ActorRef;

use super::{
    Integration, IntegrationState, lifecycle,
    lifecycle::Input,
    message::{IntegrationMsg, RevokeAsk},
    opened::{Opened, load, owned},
    revocation,
    row::Row,
    schedule,
};
use crate::{
    domain::error::ServiceResult,
    domain::{error::ServiceError, integration::StoredIntegration, token::ProviderRevocation},
};

impl Integration {
    /// Its work is due by the row. That is no news, unless somebody else brought it forward (an attempt elsewhere that
    /// vanished): then its own timer waits for a time that is not the row's any more.
    pub(super) fn found(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        opened: Opened,
    ) {
        let known = &state.opened.stored;
        let brought_forward = state.lifecycle.phase == lifecycle::Phase::Active
            && state.reloads == 0
            && state
                .lifecycle
                .row
                .due_at
                .is_none_or(|due| due > self.shared.now())
            && opened.stored.updated_at >= known.updated_at;
        if brought_forward {
            Self::learn(state, opened);
            self.feed(myself, state, Input::Settled(Row::of(&state.opened.stored)));
        }
    }

    pub(super) fn reload(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState) {
        if state.reloads > 0 {
            // One reading at a time, and one more after it: however many changes are told meanwhile, it sees them all.
            state.reload_again = true;
            return;
        }
        state.reloads += 1;
        self.show_busy(state);
        let (shared, myself, id) = (
            Arc::clone(&self.shared),
            myself.clone(),
            state.opened.stored.id.clone(),
        );
        let learnt = state.learnt;
        self.shared
            .effects
            .spawn_or(Self::fails_with(&myself), async move {
                let result = load(&shared, &id).await;
                let _ = myself.cast(IntegrationMsg::Reloaded(learnt, result));
            });
    }

    pub(super) fn reloaded(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        learnt: u64,
        result: Result<Option<Box<Opened>>, ServiceError>,
    ) {
        state.reloads = state.reloads.saturating_sub(1);
        let again = std::mem::take(&mut state.reload_again);
        self.take_over(myself, state, learnt, result);
        if again {
            self.reload(myself, state);
        }
        if state.reloads == 0 {
            for message in std::mem::take(&mut state.deferred) {
                if let Err(ractor::MessagingErr::SendErr(unheard)) = myself.cast(message) {
                    unheard.refuse(ServiceError::Internal);
                }
            }
        }
        self.show_busy(state);
    }

    fn take_over(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        learnt: u64,
        result: Result<Option<Box<Opened>>, ServiceError>,
    ) {
        if learnt != state.learnt {
            return self.reload(myself, state);
        }
        match result {
            Ok(Some(opened)) => {
                let generation =
                    |opened: &Opened| opened.stored.grant.as_ref().map_or(0, |grant| grant.generation);
                let known = generation(&state.opened);
                let newer =
                    generation(&opened) > known || opened.stored.standing != state.opened.stored.standing;
                let refreshing = state.lifecycle.is_refreshing();
                Self::learn(state, *opened);
                // A refresh under way ends with its own reading of the row; until then its waiters keep waiting,
                // unless what they wait for is here already.
                if newer || !refreshing {
                    self.feed(myself, state, Input::Settled(Row::of(&state.opened.stored)));
                }
            }
            Ok(None) => {
                Self::forget_token(state);
                self.feed(myself, state, Input::Gone);
            }
            Err(error) => {
                // No reason to begin or to hold anything: what is known stays known until it can be read.
                tracing::warn!(error = %error, "a changed row could not be read yet");
                state
                    .reload_timer
                    .arm(myself, schedule::RETRY_AFTER_MIN, || IntegrationMsg::Reload);
            }
        }
    }

    pub(super) fn revoke(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Box<RevokeAsk>,
    ) {
        if !owned(&state.opened.stored, ask.owner.as_ref()) {
            let _ = ask.reply.send(Err(ServiceError::not_found("integration")));
            return;
        }
        let (shared, myself, stored) = (
            Arc::clone(&self.shared),
            myself.clone(),
            state.opened.stored.clone(),
        );
        state.changes_under_way += 1;
        self.show_busy(state);
        self.shared
            .effects
            .spawn_or(Self::fails_with(&myself), async move {
                let result = revocation::store(&shared, &stored, ask.owner.as_ref(), &ask.context).await;
                if let Err(ractor::MessagingErr::SendErr(unheard)) =
                    myself.cast(IntegrationMsg::RevocationStored(ask, result))
                {
                    // Durable; the Scheduler finds it and tells the provider.
                    unheard.refuse(ServiceError::DeadlineExceeded);
                }
            });
    }

    pub(super) fn revocation_stored(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Box<RevokeAsk>,
        result: ServiceResult<Option<Box<StoredIntegration>>>,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        match result {
            Ok(Some(stored)) => {
                Self::learn(
                    state,
                    Opened {
                        stored: *stored,
                        access_token: None,
                    },
                );
                self.feed(myself, state, Input::Settled(Row::of(&state.opened.stored)));
                self.tell_provider(myself, state, Some(ask));
            }
            Ok(None) => {
                self.show_busy(state);
                let _ = ask.reply.send(Err(ServiceError::not_found("integration")));
                self.reload(myself, state);
            }
            Err(error) => {
                self.show_busy(state);
                let _ = ask.reply.send(Err(error));
            }
        }
    }

    pub(super) fn tell_provider(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Option<Box<RevokeAsk>>,
    ) {
        let (shared, provider, myself) = (
            Arc::clone(&self.shared),
            Arc::clone(&self.provider),
            myself.clone(),
        );
        let stored = state.opened.stored.clone();
        state.changes_under_way += 1;
        self.show_busy(state);
        self.shared
            .effects
            .spawn_or(Self::fails_with(&myself), async move {
                let outcome = revocation::tell_provider(&shared, &provider, stored).await;
                if let Err(ractor::MessagingErr::SendErr(IntegrationMsg::ProviderTold(Some(ask), outcome))) =
                    myself.cast(IntegrationMsg::ProviderTold(ask, outcome))
                {
                    let _ = ask.reply.send(Ok(revocation::report(&provider, outcome)));
                }
            });
    }

    pub(super) fn provider_told(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Option<Box<RevokeAsk>>,
        outcome: ProviderRevocation,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        self.show_busy(state);
        if let Some(ask) = ask {
            let _ = ask.reply.send(Ok(revocation::report(&self.provider, outcome)));
        }
        // Either the tokens are forgotten or the next attempt is planned: the row says which.
        self.reload(myself, state);
    }
}
