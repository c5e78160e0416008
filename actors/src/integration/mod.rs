//! One connected account: the actor that owns its token, its timer and whoever waits for them.
//!
//! A shell around the pure [`lifecycle`]: it keeps the row and the access token in clear, runs effects as tracked tasks
//! and answers. It never awaits I/O, so a token still valid is served while its refresh is under way. Everything durable
//! is in the row: killed at any moment, it is re-read and goes on.

pub(crate) mod answer;
pub(crate) mod answers;
mod changes;
mod conclude;
mod forced;
pub(crate) mod lifecycle;
pub(crate) mod message;
mod narrowing;
pub(crate) mod opened;
mod outcome;
pub(crate) mod refresh;
mod refusal;
mod rejection;
mod remark;
pub(crate) mod replay;
mod revocation;
pub(crate) mod row;
pub(crate) mod schedule;
mod spooled;
mod switching;
pub(crate) mod transition;
mod under_way;
pub(crate) mod unstorable;
mod urgency;

pub(crate) use refresh::PROBE_BEFORE_END;

use std::{collections::HashMap, sync::Arc};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use tokio::time::Instant;

use self::{
    lifecycle::{Effect, Input, State, WAITERS_MAX, WaiterId, Wanted},
    message::{IntegrationMsg, RefreshAsk, TokenAsk},
    narrowing::Narrowed,
    opened::{Opened, owned, span_of},
    row::Row,
};
use crate::{
    domain::{caller::RequestContext, error::ServiceError, integration::IntegrationView, provider::Provider},
    provider::message::ProviderMsg,
    shared::{Shared, until},
    shelf::{Activity, Place},
    timer::Timer,
};

/// The actor.
pub(crate) struct Integration {
    pub(crate) shared: Arc<Shared>,
    pub(crate) provider: Arc<Provider>,
    /// The supervisor, for questions that another account of the user may answer.
    pub(crate) supervisor: ActorRef<ProviderMsg>,
    /// Shown to the supervisor, which puts only idle ones to sleep.
    pub(crate) activity: Arc<Activity>,
}

/// Its state. Derived from the row; wiped with it.
pub(crate) struct IntegrationState {
    opened: Arc<Opened>,
    /// Where its token lies for whoever comes by.
    place: Option<Place>,
    lifecycle: State,
    timer: Timer,
    /// Reads the row again if it could not be read.
    reload_timer: Timer,
    /// Counts what was learnt of the row: a reading begun before the last of it may be older than what is known.
    learnt: u64,
    /// Revocations being stored or told: it must not fall asleep under them.
    changes_under_way: u32,
    waiters: HashMap<WaiterId, Waiting>,
    next_waiter: u64,
    /// Readings of the row under way because somebody changed it.
    reloads: usize,
    /// Whether the row changed again after the reading under way had begun.
    reload_again: bool,
    /// Whether a question is being looked at for the first time. One that waited for an attempt is answered by what came
    /// of it: deferred, it would begin another.
    is_asking: bool,
    /// Questions that what is known would refuse while the row is being read again: by now it may say otherwise.
    deferred: Vec<IntegrationMsg>,
    /// Tokens of fewer scopes, for services that may not have the account's own.
    narrowed: Narrowed,
    /// The generation whose token was last reported as rejected: told again, that is no news.
    reported: Option<i64>,
    /// When somebody last forced a refresh here.
    forced_at: Option<Instant>,
    /// Who wished the refresh that is about to begin, if somebody did.
    cause: Option<RequestContext>,
}

impl IntegrationState {
    fn may_defer(&self) -> bool {
        self.is_asking && self.reloads > 0 && self.deferred.len() < WAITERS_MAX
    }
}

enum Waiting {
    Token(Box<TokenAsk>),
    Refresh(Box<RefreshAsk>),
}

// === impl Actor for Integration ===

impl Actor for Integration {
    type Msg = IntegrationMsg;
    type State = IntegrationState;
    type Arguments = Opened;

    async fn pre_start(
        &self,
        myself: ActorRef<IntegrationMsg>,
        opened: Opened,
    ) -> Result<IntegrationState, ActorProcessingErr> {
        let (lifecycle, effects) = lifecycle::awaken(Row::of(&opened.stored), self.shared.now());
        let shelf = self.shared.shelf(&self.provider.key).cloned();
        let place = shelf.map(|shelf| Place::new(shelf, opened.stored.id.uuid, Arc::clone(&self.activity)));
        let mut state = IntegrationState {
            opened: Arc::new(opened),
            place,
            lifecycle,
            timer: Timer::default(),
            reload_timer: Timer::default(),
            learnt: 0,
            waiters: HashMap::new(),
            next_waiter: 0,
            changes_under_way: 0,
            reloads: 0,
            reload_again: false,
            is_asking: false,
            deferred: Vec::new(),
            narrowed: Narrowed::default(),
            reported: None,
            forced_at: None,
            cause: None,
        };
        self.show_token(&mut state);
        self.run(&myself, &mut state, effects);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<IntegrationMsg>,
        message: IntegrationMsg,
        state: &mut IntegrationState,
    ) -> Result<(), ActorProcessingErr> {
        // ractor keeps the sender's span: an own one says whose log lines these are. A question needs none: most are
        // answered with the token at hand, and a refresh that one causes has its own.
        let span = match &message {
            IntegrationMsg::Ask(_) => tracing::Span::none(),
            _ => span_of(&state.opened.stored),
        };
        let _entered = span.enter();
        #[cfg(any(test, feature = "testing"))]
        self.shared.trap.step_on(message.kind());
        match message {
            IntegrationMsg::Ask(ask) => self.ask(&myself, state, ask),
            IntegrationMsg::Refresh(ask) => self.refresh(&myself, state, ask),
            IntegrationMsg::Rejected(ask) => self.rejected(&myself, state, ask),
            IntegrationMsg::RejectionStored(ask, generation, result) => {
                self.rejection_stored(&myself, state, ask, generation, result);
            }
            IntegrationMsg::Revoke(ask) => self.revoke(&myself, state, ask),
            IntegrationMsg::Switch(ask) => self.switch(&myself, state, ask),
            IntegrationMsg::Switched(ask, result) => self.switched(&myself, state, *ask, result),
            IntegrationMsg::Due => self.feed(&myself, state, Input::Due),
            IntegrationMsg::Found(opened) => self.found(&myself, state, *opened),
            IntegrationMsg::Reload => self.reload(&myself, state),
            IntegrationMsg::Reloaded(learnt, result) => self.reloaded(&myself, state, learnt, result),
            IntegrationMsg::Stalled(is_stalled) => self.stalled(&myself, state, is_stalled),
            IntegrationMsg::Refreshed(outcome) => self.refreshed(&myself, state, *outcome),
            IntegrationMsg::RevocationStored(ask, result) => {
                self.revocation_stored(&myself, state, ask, result);
            }
            IntegrationMsg::ProviderTold(ask, outcome) => self.provider_told(&myself, state, ask, outcome),
            IntegrationMsg::Narrowed(generation, scopes, result) => {
                self.narrowed(&myself, state, generation, scopes, result);
            }
            IntegrationMsg::EffectFailed => return Err("an effect failed".into()),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "this is the defect a test asks for")]
            IntegrationMsg::Panic => panic!("a test asked for this"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<IntegrationMsg>,
        _: SupervisionEvent,
        _: &mut IntegrationState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // It has no children; its effects are tasks.
    }
}

// === impl Integration ===

impl Integration {
    fn feed(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, input: Input) {
        let from = state.lifecycle.phase.clone();
        let effects = lifecycle::step(&mut state.lifecycle, input, self.shared.now());
        // Before anybody is answered: whoever hears of a revocation finds nothing there any more.
        self.show_token(state);
        if from != state.lifecycle.phase {
            tracing::debug!(lifecycle.from = ?from, lifecycle.to = ?state.lifecycle.phase, "the lifecycle moved");
        }
        self.run(myself, state, effects);
    }

    fn run(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::StartRefresh => self.start_refresh(myself, state),
                Effect::TellProvider => self.tell_provider(myself, state, None),
                Effect::ArmTimer(at) => {
                    state
                        .timer
                        .arm(myself, until(self.shared.now(), at), || IntegrationMsg::Due);
                }
                Effect::Grant(waiter) => self.grant(myself, state, waiter),
                Effect::Refuse(waiter, refusal) => {
                    let error = answer::refusal(&state.opened.stored.id, refusal);
                    self.refuse(state, waiter, error);
                }
            }
        }
        self.show_busy(state);
    }

    /// Shows the supervisor whether it may be put to sleep.
    fn show_busy(&self, state: &IntegrationState) {
        let waited_for = !state.waiters.is_empty();
        self.activity.set_busy(
            !state.lifecycle.is_idle() || waited_for || state.reloads > 0 || state.changes_under_way > 0,
        );
    }

    /// Lays the token out for whoever comes by, exactly while a question would be answered with it at once.
    fn show_token(&self, state: &mut IntegrationState) {
        let token = state.lifecycle.row.token;
        let is_rejected = token.is_some_and(|token| state.lifecycle.is_rejected(token));
        let is_served = state.lifecycle.phase != lifecycle::Phase::Revoked;
        let Some(place) = &mut state.place else { return };
        match token {
            Some(token) if is_served && !is_rejected => place.lay_out(&self.provider, &state.opened, token),
            Some(_) | None => place.clear(),
        }
    }

    fn enlist(state: &mut IntegrationState, waiting: Waiting) -> WaiterId {
        let id = WaiterId(state.next_waiter);
        state.next_waiter += 1;
        state.waiters.insert(id, waiting);
        id
    }

    fn ask(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, ask: Box<TokenAsk>) {
        if ask.reply.is_closed() {
            return; // Nobody waits any more; a hand-out would be recorded that nobody received.
        }
        self.activity.ask(self.shared.now());
        state.is_asking = true;
        self.look_at(myself, state, ask);
        state.is_asking = false;
    }

    fn look_at(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, ask: Box<TokenAsk>) {
        if let Err(error) = self.suits(state, &ask) {
            self.pass_on(state, ask, error);
            return;
        }
        let present = state.lifecycle.row.token;
        let min_ttl = ask.min_ttl.unwrap_or_else(|| row::usual_min_ttl(present));
        let want = Wanted::Token { min_ttl };
        let waiter = Self::enlist(state, Waiting::Token(ask));
        self.feed(myself, state, Input::Asked(waiter, want));
        self.hurry(state);
    }

    fn refresh(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, ask: Box<RefreshAsk>) {
        if !owned(&state.opened.stored, ask.owner.as_ref()) {
            let _ = ask.reply.send(Err(ServiceError::not_found("integration")));
            return;
        }
        if state.reloads > 0 && state.deferred.len() < WAITERS_MAX {
            // A row that changed is being read: tokens that came with the change are no answer to this wish.
            state.deferred.push(IntegrationMsg::Refresh(ask));
            return;
        }
        self.activity.ask(self.shared.now());
        if let Some(answer) = self.bounded(state, &ask) {
            let _ = ask.reply.send(answer);
            return;
        }
        state.forced_at = Some(Instant::now());
        state.cause = Some(ask.context.clone());
        let waiter = Self::enlist(state, Waiting::Refresh(ask));
        self.feed(myself, state, Input::Asked(waiter, Wanted::Refresh));
        self.hurry(state);
        // Whatever is begun later is not this caller's doing.
        state.cause = None;
    }

    fn grant(&self, myself: &ActorRef<IntegrationMsg>, state: &mut IntegrationState, waiter: WaiterId) {
        match state.waiters.remove(&waiter) {
            None => {}
            Some(Waiting::Refresh(ask)) => {
                let view = IntegrationView::of(&state.opened.stored, Some(&self.provider), self.shared.now());
                let _ = ask.reply.send(Ok(view));
            }
            Some(Waiting::Token(ask)) => {
                // Scopes may have narrowed while it waited.
                match self.suits(state, &ask) {
                    Ok(None) => answer::hand_out(&self.shared, &state.opened, *ask),
                    Ok(Some(scopes)) => self.hand_out_narrower(myself, state, scopes, ask),
                    Err(error) => self.pass_on(state, ask, error),
                }
            }
        }
    }

    fn refuse(&self, state: &mut IntegrationState, waiter: WaiterId, error: ServiceError) {
        match state.waiters.remove(&waiter) {
            None => {}
            Some(Waiting::Refresh(ask)) => drop(ask.reply.send(Err(error))),
            Some(Waiting::Token(ask)) => self.pass_on(state, ask, error),
        }
    }

    /// This account refuses: perhaps another one of the user does not.
    fn pass_on(&self, state: &mut IntegrationState, mut ask: Box<TokenAsk>, error: ServiceError) {
        if state.may_defer() {
            state.deferred.push(IntegrationMsg::Ask(ask));
            return;
        }
        let first = ask.refused.take().unwrap_or(error);
        match ask.others.pop() {
            None => answer::refuse(&self.shared, &state.opened.stored, *ask, first),
            Some(next) => {
                ask.refused = Some(first);
                let message = ProviderMsg::To {
                    integration: next,
                    message: IntegrationMsg::Ask(ask),
                };
                if let Err(ractor::MessagingErr::SendErr(ProviderMsg::To { message, .. })) =
                    self.supervisor.cast(message)
                {
                    message.refuse(ServiceError::Internal);
                }
            }
        }
    }

    fn learn(state: &mut IntegrationState, opened: Opened) {
        state.opened = Arc::new(opened);
        state.learnt += 1;
    }

    fn forget_token(state: &mut IntegrationState) {
        state.opened = Arc::new(Opened {
            stored: state.opened.stored.clone(),
            access_token: None,
        });
    }
}
