//! Root: starts the permanent actors, restarts those that fail within their budget, and gives up when one fails on and
//! on: then the process exits and its orchestrator starts it afresh.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SpawnErr, SupervisionEvent};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    address::Address,
    audit::AuditSink,
    domain::ids::ProviderKey,
    provider::{ProviderSupervisor, message::ProviderMsg},
    registry::{Registry, RegistryMsg, Routes},
    scheduler::Scheduler,
    shared::Shared,
    supervision::{Restart, RestartBudget, RestartPolicy},
    timer::Timer,
};

/// How long one permanent actor may take to end.
const STOP_DEADLINE: Duration = Duration::from_secs(6);

/// The permanent actors.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Permanent {
    /// Starts first, stops last: nothing is handed out unrecorded.
    AuditSink,
    /// One per provider.
    Provider(ProviderKey),
    /// After the providers, whose addresses it is given.
    Registry,
    /// Last: it makes work.
    Scheduler,
}

/// Messages of Root.
#[derive(Debug)]
pub(crate) enum RootMsg {
    /// From its own timer: a pause is over.
    Restart(Permanent),
}

/// The actor.
pub(crate) struct Root {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Address<RegistryMsg>,
    /// Cancelled when a budget is exhausted.
    pub(crate) failed: CancellationToken,
}

pub(crate) struct RootState {
    /// In the order of their start.
    children: BTreeMap<ActorId, (Permanent, ActorCell)>,
    routes: Routes,
    budgets: HashMap<Permanent, RestartBudget>,
    timers: HashMap<Permanent, Timer>,
}

// === impl Actor for Root ===

impl Actor for Root {
    type Msg = RootMsg;
    type State = RootState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<RootMsg>, (): ()) -> Result<RootState, ActorProcessingErr> {
        let mut state = RootState {
            children: BTreeMap::new(),
            routes: Routes::new(),
            budgets: HashMap::new(),
            timers: HashMap::new(),
        };
        let providers = self
            .shared
            .providers
            .iter()
            .map(|provider| Permanent::Provider(provider.key.clone()));
        let order = std::iter::once(Permanent::AuditSink)
            .chain(providers)
            .chain([Permanent::Registry, Permanent::Scheduler])
            .collect::<Vec<_>>();
        for child in order {
            self.start(&myself, &mut state, child).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<RootMsg>,
        message: RootMsg,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RootMsg::Restart(child) => self.restart(&myself, state, child).await,
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<RootMsg>,
        event: SupervisionEvent,
        state: &mut RootState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            // A permanent actor ends only with Root: any other ending is a failure.
            SupervisionEvent::ActorTerminated(actor, _, reason) => {
                self.failed(
                    &myself,
                    state,
                    actor.get_id(),
                    reason.as_deref().unwrap_or("ended"),
                );
            }
            SupervisionEvent::ActorFailed(actor, error) => {
                self.failed(&myself, state, actor.get_id(), &error.to_string());
            }
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => {}
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<RootMsg>, state: &mut RootState) -> Result<(), ActorProcessingErr> {
        // In reverse order of the start; whoever is left at the deadline ends with Root.
        for rank in [3, 2, 1, 0] {
            let stopping = state.children.values().filter(|(child, _)| child.rank() == rank);
            let stops = stopping.map(|(_, actor)| actor.stop_and_wait(None, Some(STOP_DEADLINE)));
            futures_util::future::join_all(stops).await;
        }
        Ok(())
    }
}

// === impl Permanent ===

impl Permanent {
    fn name(&self) -> &'static str {
        match self {
            Self::AuditSink => "audit_sink",
            Self::Provider(_) => "provider_supervisor",
            Self::Registry => "registry",
            Self::Scheduler => "scheduler",
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::AuditSink => 0,
            Self::Provider(_) => 1,
            Self::Registry => 2,
            Self::Scheduler => 3,
        }
    }
}

// === impl Root ===

impl Root {
    async fn start(
        &self,
        myself: &ActorRef<RootMsg>,
        state: &mut RootState,
        child: Permanent,
    ) -> Result<(), SpawnErr> {
        let root = myself.get_cell();
        let cell = match &child {
            Permanent::AuditSink => {
                let sink = AuditSink {
                    records: Arc::clone(&self.shared.ports.records),
                    clock: Arc::clone(&self.shared.ports.clock),
                    rng: Arc::clone(&self.shared.ports.rng),
                    effects: self.shared.effects.clone(),
                    flush_interval: self.shared.settings.audit_flush_interval,
                    shown: self.shared.audit.pending(),
                    tallies: self.shared.audit.tallies(),
                    strays: self.shared.audit.strays().clone(),
                };
                let (actor, _) = Actor::spawn_linked(None, sink, (), root).await?;
                self.shared.audit.address().set(Some(actor.clone()));
                actor.get_cell()
            }
            Permanent::Provider(key) => {
                let Some(provider) = self.shared.provider(key) else {
                    return Ok(());
                };
                let supervisor = ProviderSupervisor {
                    shared: Arc::clone(&self.shared),
                    provider: Arc::clone(provider),
                };
                let (actor, _): (ActorRef<ProviderMsg>, _) =
                    Actor::spawn_linked(None, supervisor, (), root).await?;
                state.routes.insert(key.clone(), actor.clone());
                // At the start there is no registry yet: it is given the routes with its arguments.
                let _ = self
                    .registry
                    .cast(RegistryMsg::Serves(key.clone(), actor.clone()));
                actor.get_cell()
            }
            Permanent::Registry => {
                let (actor, _) = Actor::spawn_linked(None, Registry, state.routes.clone(), root).await?;
                self.registry.set(Some(actor.clone()));
                actor.get_cell()
            }
            Permanent::Scheduler => {
                let scheduler = Scheduler {
                    shared: Arc::clone(&self.shared),
                    registry: self.registry.clone(),
                };
                let (actor, _) = Actor::spawn_linked(None, scheduler, (), root).await?;
                actor.get_cell()
            }
        };
        state.children.insert(cell.get_id(), (child, cell));
        Ok(())
    }

    async fn restart(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, child: Permanent) {
        state.timers.remove(&child);
        match self.start(myself, state, child.clone()).await {
            Ok(()) => drop(self.shared.fitness.actors_down.fetch_sub(1, Ordering::Relaxed)),
            Err(error) => self.count_failure(myself, state, child, &error.to_string()),
        }
    }

    fn failed(&self, myself: &ActorRef<RootMsg>, state: &mut RootState, actor: ActorId, error: &str) {
        if let Some((child, _)) = state.children.remove(&actor) {
            self.shared.fitness.actors_down.fetch_add(1, Ordering::Relaxed);
            self.count_failure(myself, state, child, error);
        }
    }

    fn count_failure(
        &self,
        myself: &ActorRef<RootMsg>,
        state: &mut RootState,
        child: Permanent,
        error: &str,
    ) {
        crate::measure::permanent_actor_failed(child.name());
        let budget = state
            .budgets
            .entry(child.clone())
            .or_insert_with(|| RestartBudget::new(RestartPolicy::PERMANENT));
        match budget.failed(Instant::now(), self.shared.ports.rng.unit()) {
            Restart::After(pause) => {
                tracing::error!(actor.kind = ?child, error, "a permanent actor failed and is restarted: this is a defect, report it");
                let restart = child.clone();
                state
                    .timers
                    .entry(child)
                    .or_default()
                    .arm(myself, pause, move || RootMsg::Restart(restart.clone()));
            }
            Restart::Exhausted => {
                tracing::error!(actor.kind = ?child, error, "a permanent actor failed too often: stopping");
                self.failed.cancel();
                myself.stop(Some("restart budget exhausted".into()));
            }
        }
    }
}
