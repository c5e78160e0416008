//! A provider's supervisor: slots for its accounts, waking and putting to sleep, restart budgets, quarantine.
//!
//! It routes; it never waits. Rows are read by effects that report back, actors are spawned from rows already read, and
//! whoever asks in the meantime waits in the slot. It alone decides who sleeps, by `drain`, so that no message is lost.

pub mod breaker;
mod directory;
pub(crate) mod egress;
pub(crate) mod message;
mod slot;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    directory::{Directory, Lookup, Question},
    message::{Observation, ProviderMsg},
    slot::{Delivery, Occupancy, Slot},
};
use crate::{
    domain::{
        error::ServiceError,
        ids::{IntegrationId, Subject},
        provider::Provider,
    },
    handle::ServiceResult,
    integration::{
        Integration, load,
        message::{IntegrationMsg, TokenAsk},
        opened::Opened,
    },
    ports::store::DirectoryEntry,
    shared::Shared,
    supervision::Restart,
    timer::Timer,
};

/// A quarantined account is tried again this often.
const QUARANTINE: Duration = Duration::from_secs(900);
/// Slots put to sleep in one sweep: ending many at once would keep requests waiting behind their endings.
const SLEEPS_PER_SWEEP_MAX: usize = 500;
/// Sweeps are no closer together than this…
const SWEEP_MIN: Duration = Duration::from_millis(500);
/// …and no further apart than this.
const SWEEP_MAX: Duration = Duration::from_secs(60);
/// How long the accounts may take to handle what they have when the supervisor ends.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The actor.
pub(crate) struct ProviderSupervisor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) provider: Arc<Provider>,
}

/// Its state: derived, all of it. Restarted, it begins empty and accounts are woken as they are needed.
pub(crate) struct ProviderState {
    slots: HashMap<Uuid, Slot>,
    by_actor: HashMap<ActorId, Uuid>,
    directory: Directory,
    sweep: Timer,
    restarts: u64,
    restart_timers: HashMap<Uuid, Timer>,
}

// === impl Actor for ProviderSupervisor ===

impl Actor for ProviderSupervisor {
    type Msg = ProviderMsg;
    type State = ProviderState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<ProviderMsg>,
        (): (),
    ) -> Result<ProviderState, ActorProcessingErr> {
        let mut state = ProviderState {
            slots: HashMap::new(),
            by_actor: HashMap::new(),
            directory: Directory::default(),
            sweep: Timer::default(),
            restarts: 0,
            restart_timers: HashMap::new(),
        };
        state
            .sweep
            .arm(&myself, self.sweep_interval(), || ProviderMsg::Sweep);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<ProviderMsg>,
        message: ProviderMsg,
        state: &mut ProviderState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ProviderMsg::To { integration, message } => self.deliver(&myself, state, integration, message),
            ProviderMsg::ToUser {
                subject,
                account,
                ask,
            } => {
                self.to_user(&myself, state, &subject, account, ask);
            }
            ProviderMsg::Due(integrations) => self.due(&myself, state, integrations),
            ProviderMsg::Changed { integration, subject } => {
                Self::changed(state, integration, subject.as_ref());
            }
            ProviderMsg::Hydrated(integration, result) => {
                self.hydrated(&myself, state, integration, result).await;
            }
            ProviderMsg::DirectoryRead(subject, result) => {
                self.directory_read(&myself, state, &subject, result);
            }
            ProviderMsg::Restart(integration) => self.restart(&myself, state, integration),
            ProviderMsg::Sweep => self.sweep(&myself, state),
            ProviderMsg::Observe(reply) => drop(reply.send(self.observe(state))),
            #[cfg(any(test, feature = "testing"))]
            #[expect(clippy::panic, reason = "this is the defect a test asks for")]
            ProviderMsg::Panic => panic!("a test asked for this"),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<ProviderMsg>,
        event: SupervisionEvent,
        state: &mut ProviderState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, _, reason) => match reason.as_deref() {
                // A kill is reported as a termination with this reason; a drained actor has none.
                Some("killed") => self.failed(&myself, state, actor.get_id(), "killed"),
                _ => self.ended(&myself, state, actor.get_id()),
            },
            SupervisionEvent::ActorFailed(actor, error) => {
                self.failed(&myself, state, actor.get_id(), &error.to_string());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        myself: ActorRef<ProviderMsg>,
        _: &mut ProviderState,
    ) -> Result<(), ActorProcessingErr> {
        // Otherwise ractor kills them with us, and what they have queued is lost without an answer.
        let _ = tokio::time::timeout(
            DRAIN_DEADLINE,
            myself.drain_children_and_wait(Some(DRAIN_DEADLINE)),
        )
        .await;
        Ok(())
    }
}

// === impl ProviderSupervisor ===

impl ProviderSupervisor {
    fn id(&self, integration: Uuid) -> IntegrationId {
        IntegrationId::new(self.provider.key.clone(), integration)
    }

    fn deliver(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        integration: Uuid,
        message: IntegrationMsg,
    ) {
        let now = Instant::now();
        if let Some(slot) = state.slots.get_mut(&integration) {
            slot.last_used = now;
            if let Delivery::Waiting = slot.deliver(message, now) {
                // Its ending is on its way to us; the message goes to its successor.
                slot.occupancy = Occupancy::FallingAsleep;
            }
            return;
        }
        let mut slot = Slot::waking(now);
        slot.deliver(message, now);
        state.slots.insert(integration, slot);
        self.hydrate(myself, integration);
    }

    fn hydrate(&self, myself: &ActorRef<ProviderMsg>, integration: Uuid) {
        let (shared, myself, id) = (Arc::clone(&self.shared), myself.clone(), self.id(integration));
        self.shared.effects.spawn(async move {
            let result = load(&shared, &id).await;
            // If the supervisor is gone, whoever waited in its slots was told by their dropped ports.
            let _ = myself.cast(ProviderMsg::Hydrated(integration, result));
        });
    }

    async fn hydrated(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        integration: Uuid,
        result: Result<Option<Box<Opened>>, ServiceError>,
    ) {
        let Some(slot) = state.slots.get_mut(&integration) else {
            return;
        };
        let opened = match result {
            Ok(Some(opened)) if opened.stored.id.provider == self.provider.key => opened,
            Ok(_) => return Self::vacate(state, integration, &ServiceError::not_found("integration")),
            Err(error) => return Self::vacate(state, integration, &error),
        };
        let busy = Arc::new(AtomicBool::new(false));
        let actor = Integration {
            shared: Arc::clone(&self.shared),
            provider: Arc::clone(&self.provider),
            supervisor: myself.clone(),
            busy: Arc::clone(&busy),
        };
        // Its pre_start does no I/O: waiting for it costs a task switch.
        match Actor::spawn_linked(None, actor, *opened, myself.get_cell()).await {
            Ok((actor, _)) => {
                state.by_actor.insert(actor.get_id(), integration);
                slot.occupancy = Occupancy::Awake { actor, busy };
                let now = Instant::now();
                for message in slot.take_backlog() {
                    slot.deliver(message, now);
                }
            }
            // A failed start is no event: it counts as a failure here.
            Err(error) => self.count_failure(myself, state, integration, &error.to_string()),
        }
    }

    /// There is no actor and will be none for what waits.
    fn vacate(state: &mut ProviderState, integration: Uuid, error: &ServiceError) {
        if let Some(mut slot) = state.slots.remove(&integration) {
            for message in slot.take_backlog() {
                message.refuse(error.clone());
            }
        }
    }

    fn to_user(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        subject: &Subject,
        account: Option<String>,
        ask: Box<TokenAsk>,
    ) {
        match state
            .directory
            .look_up(subject, Question { account, ask }, Instant::now())
        {
            Lookup::Found {
                entries,
                question,
                read,
            } => {
                if read {
                    self.read_directory(myself, subject);
                }
                self.route(myself, state, &entries, question);
            }
            Lookup::Waits { read: true } => self.read_directory(myself, subject),
            Lookup::Waits { read: false } => {}
        }
    }

    fn read_directory(&self, myself: &ActorRef<ProviderMsg>, subject: &Subject) {
        let (shared, myself, subject) = (Arc::clone(&self.shared), myself.clone(), subject.clone());
        let provider = self.provider.key.clone();
        self.shared.effects.spawn(async move {
            let result = shared.ports.integrations.directory(&subject, &provider).await;
            let result = result.map_err(|error| crate::records::store_error(&error));
            let _ = myself.cast(ProviderMsg::DirectoryRead(subject, result));
        });
    }

    fn directory_read(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        subject: &Subject,
        result: ServiceResult<Vec<DirectoryEntry>>,
    ) {
        match result {
            Ok(entries) => match state.directory.filled(subject, entries.clone(), Instant::now()) {
                None => self.read_directory(myself, subject),
                Some(questions) => {
                    for question in questions {
                        self.route(myself, state, &entries, question);
                    }
                }
            },
            Err(error) => {
                for question in state.directory.failed(subject) {
                    IntegrationMsg::Ask(question.ask).refuse(error.clone());
                }
            }
        }
    }

    /// Asks the first account; it passes the question on to the next if it refuses.
    fn route(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        entries: &[DirectoryEntry],
        mut question: Question,
    ) {
        let candidates = directory::select(entries, question.account.as_deref());
        // Oldest first: which account a service gets does not change because the user connects another one.
        let Some((first, others)) = candidates.split_first() else {
            IntegrationMsg::Ask(question.ask).refuse(ServiceError::NotConnected);
            return;
        };
        question.ask.others = others.iter().rev().map(|entry| entry.id.uuid).collect();
        self.deliver(myself, state, first.id.uuid, IntegrationMsg::Ask(question.ask));
    }

    fn due(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState, integrations: Vec<Uuid>) {
        let now = Instant::now();
        for integration in integrations {
            match state.slots.get_mut(&integration) {
                // Whoever is awake has a timer of its own; a quarantined one waits for its probe.
                Some(Slot {
                    occupancy: Occupancy::Awake { .. },
                    ..
                }) => {}
                Some(slot) => {
                    if !matches!(slot.occupancy, Occupancy::Quarantined { until } if until > now)
                        && !slot.has_backlog()
                    {
                        slot.deliver(IntegrationMsg::Due, now);
                    }
                }
                None => self.deliver(myself, state, integration, IntegrationMsg::Due),
            }
        }
    }

    fn changed(state: &mut ProviderState, integration: Uuid, subject: Option<&Subject>) {
        if let Some(subject) = subject {
            state.directory.forget(subject);
        }
        // One that sleeps reads its row when it wakes.
        if let Some(slot) = state.slots.get_mut(&integration) {
            slot.deliver(IntegrationMsg::Reload, Instant::now());
        }
    }

    /// An account ended as it was told to: it sleeps, unless somebody asked for it meanwhile.
    fn ended(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState, actor: ActorId) {
        let Some(integration) = state.by_actor.remove(&actor) else {
            return;
        };
        let Some(slot) = state.slots.get_mut(&integration) else {
            return;
        };
        if slot.has_backlog() {
            slot.occupancy = Occupancy::Waking;
            self.hydrate(myself, integration);
        } else {
            state.slots.remove(&integration);
        }
    }

    /// An account failed: a defect, because everything foreseen is an outcome and no failure.
    fn failed(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState, actor: ActorId, error: &str) {
        let Some(integration) = state.by_actor.remove(&actor) else {
            return;
        };
        self.count_failure(myself, state, integration, error);
    }

    fn count_failure(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        integration: Uuid,
        error: &str,
    ) {
        let Some(slot) = state.slots.get_mut(&integration) else {
            return;
        };
        let id = self.id(integration);
        let now = Instant::now();
        state.restarts += 1;
        let pause = match slot.budget.failed(now, self.shared.ports.rng.unit()) {
            Restart::After(pause) => {
                tracing::warn!(integration.id = %id, error, "an integration failed and is restarted from its row");
                slot.occupancy = Occupancy::Restarting;
                pause
            }
            Restart::Exhausted => {
                tracing::error!(
                    integration.id = %id, error,
                    "an integration failed too often and is in quarantine; its siblings are not touched. This is a defect: report it"
                );
                let until = now + QUARANTINE;
                slot.occupancy = Occupancy::Quarantined { until };
                for message in slot.take_backlog() {
                    slot.deliver(message, now);
                }
                QUARANTINE
            }
        };
        let timer = state.restart_timers.entry(integration).or_default();
        timer.arm(myself, pause, move || ProviderMsg::Restart(integration));
    }

    fn restart(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState, integration: Uuid) {
        state.restart_timers.remove(&integration);
        if let Some(slot) = state.slots.get_mut(&integration)
            && matches!(
                slot.occupancy,
                Occupancy::Restarting | Occupancy::Quarantined { .. }
            )
        {
            slot.occupancy = Occupancy::Waking;
            self.hydrate(myself, integration);
        }
    }

    fn sweep_interval(&self) -> Duration {
        self.shared
            .settings
            .idle_after
            .map_or(SWEEP_MAX, |idle| (idle / 4).clamp(SWEEP_MIN, SWEEP_MAX))
    }

    fn sweep(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState) {
        state
            .sweep
            .arm(myself, self.sweep_interval(), || ProviderMsg::Sweep);
        let now = Instant::now();
        state.directory.sweep(now);
        let Some(deadline) = self
            .shared
            .settings
            .idle_after
            .and_then(|idle| now.checked_sub(idle))
        else {
            return;
        };
        let sleepy = state
            .slots
            .values_mut()
            .filter(|slot| slot.may_sleep(deadline))
            .take(SLEEPS_PER_SWEEP_MAX);
        for slot in sleepy {
            if let Occupancy::Awake { actor, .. } = &slot.occupancy
                && actor.drain().is_ok()
            {
                slot.occupancy = Occupancy::FallingAsleep;
            }
        }
    }

    fn observe(&self, state: &ProviderState) -> Observation {
        let count = |wanted: fn(&Occupancy) -> bool| {
            state
                .slots
                .values()
                .filter(|slot| wanted(&slot.occupancy))
                .count()
        };
        Observation {
            awake: count(|occupancy| matches!(occupancy, Occupancy::Awake { .. })),
            quarantined: count(|occupancy| matches!(occupancy, Occupancy::Quarantined { .. })),
            in_transit: count(|occupancy| {
                matches!(
                    occupancy,
                    Occupancy::Waking | Occupancy::FallingAsleep | Occupancy::Restarting
                )
            }),
            restarts: state.restarts,
            breaker: self
                .shared
                .egress(&self.provider.key)
                .and_then(|egress| egress.open_reason()),
        }
    }
}
