//! A provider's supervisor: slots for its accounts, waking and putting to sleep, restart budgets, quarantine.
//!
//! It routes; it never waits. Rows are read by effects that report back, actors are spawned from rows already read, and
//! whoever asks in the meantime waits in the slot. It alone decides who sleeps, by `drain`, so that no message is lost.

pub(crate) mod backlog;
pub mod breaker;
mod children;
mod directory;
pub(crate) mod egress;
pub mod egress_view;
mod limits;
pub(crate) mod load;
pub(crate) mod message;
mod pump;
mod sharing;
mod slot;
mod suspicion;
mod users;

use std::{collections::HashMap, sync::Arc, time::Duration};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use uuid::Uuid;

use self::{
    directory::Directory,
    message::ProviderMsg,
    slot::{Delivery, Occupancy, Slot},
};
use crate::{
    domain::{
        error::ServiceError,
        ids::{IntegrationId, Subject},
        provider::Provider,
    },
    integration::{
        Integration,
        message::IntegrationMsg,
        opened::{Opened, load},
    },
    shared::Shared,
    shelf::Activity,
    timer::Timer,
};

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
            ProviderMsg::Due(integrations) => self.due(&myself, state, integrations).await,
            ProviderMsg::Changed { integration, subject } => {
                self.changed(state, integration, subject.as_ref());
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
            slot.last_used = Some(now);
            if let Delivery::Waiting = slot.deliver(message, now) {
                // Its ending is on its way to us; the message goes to its successor.
                slot.occupancy = Occupancy::FallingAsleep;
            }
            return;
        }
        let mut slot = Slot::waking(Some(now));
        slot.deliver(message, now);
        state.slots.insert(integration, slot);
        self.hydrate(myself, integration);
    }

    fn hydrate(&self, myself: &ActorRef<ProviderMsg>, integration: Uuid) {
        let (shared, myself, id) = (Arc::clone(&self.shared), myself.clone(), self.id(integration));
        let supervisor = myself.clone();
        let failed = move || {
            let failed = ProviderMsg::Hydrated(integration, Err(ServiceError::Internal));
            drop(supervisor.cast(failed));
        };
        self.shared.effects.spawn_or(failed, async move {
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
        let activity = Arc::new(Activity::default());
        let actor = Integration {
            shared: Arc::clone(&self.shared),
            provider: Arc::clone(&self.provider),
            supervisor: myself.clone(),
            activity: Arc::clone(&activity),
        };
        // Its pre_start does no I/O: waiting for it costs a task switch.
        match Actor::spawn_linked(None, actor, *opened, myself.get_cell()).await {
            Ok((actor, _)) => {
                state.by_actor.insert(actor.get_id(), integration);
                slot.occupancy = Occupancy::Awake { actor, activity };
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

    /// Wakes the accounts whose work is due with their rows as they were just read. Nobody asked for them: they may sleep
    /// again as soon as it is done.
    async fn due(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        integrations: Vec<Opened>,
    ) {
        let now = Instant::now();
        for opened in integrations {
            let integration = opened.stored.id.uuid;
            match state.slots.get_mut(&integration) {
                // Whoever is awake has a timer of its own, unless somebody else brought its work forward.
                Some(slot) if matches!(slot.occupancy, Occupancy::Awake { .. }) => {
                    slot.deliver(IntegrationMsg::Found(Box::new(opened)), now);
                }
                Some(slot) => {
                    // A quarantined one waits for its probe; whoever wakes reads its row.
                    let waits = matches!(slot.occupancy, Occupancy::Quarantined { until } if until > now);
                    if !waits && !slot.has_backlog() {
                        slot.deliver(IntegrationMsg::Due, now);
                    }
                }
                None => {
                    state.slots.insert(integration, Slot::waking(None));
                    self.hydrated(myself, state, integration, Ok(Some(Box::new(opened))))
                        .await;
                }
            }
        }
    }

    fn changed(&self, state: &mut ProviderState, integration: Uuid, subject: Option<&Subject>) {
        if let Some(subject) = subject {
            state.directory.forget(subject);
            if let Some(shelf) = self.shared.shelf(&self.provider.key) {
                shelf.forget_first(subject);
            }
        }
        // One that sleeps reads its row when it wakes.
        if let Some(slot) = state.slots.get_mut(&integration) {
            slot.deliver(IntegrationMsg::Reload, Instant::now());
        }
    }
}
