//! The scheduler: wakes accounts that are asleep when their work falls due. The due times are in the database, so nothing
//! is forgotten over a restart, and a million sleeping accounts cost nothing here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    address::Address,
    domain::ids::ProviderKey,
    ports::store::{Due, StoreResult},
    provider::message::ProviderMsg,
    registry::RegistryMsg,
    shared::{Look, Shared, after},
    timer::Timer,
};

/// Accounts woken by one look. A full batch is followed by another look at once.
const BATCH_MAX: u32 = 1_000;
/// Pause between two full batches: the accounts just woken claim their rows in it and drop out of the next batch.
const BATCH_PAUSE: Duration = Duration::from_millis(200);
/// Longest a look may take before it is taken for lost.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);
/// How often the leftovers of connect flows are cleared away.
const PURGE_INTERVAL: Duration = Duration::from_secs(60);

/// Messages of the scheduler.
#[derive(Debug)]
pub(crate) enum SchedulerMsg {
    /// From its own timer: look for work.
    Look,
    /// From its own effect: what is due.
    Found(StoreResult<Vec<Due>>),
}

/// The actor.
pub(crate) struct Scheduler {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registry: Address<RegistryMsg>,
}

pub(crate) struct SchedulerState {
    timer: Timer,
    purged_at: Option<Instant>,
    /// Whether the last look failed: an outage is told once, and so is its end.
    blind: bool,
}

// === impl Actor for Scheduler ===

impl Actor for Scheduler {
    type Msg = SchedulerMsg;
    type State = SchedulerState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<SchedulerMsg>,
        (): (),
    ) -> Result<SchedulerState, ActorProcessingErr> {
        let mut state = SchedulerState {
            timer: Timer::default(),
            purged_at: None,
            blind: false,
        };
        // Nodes started together do not look together, and the database may still be being prepared.
        let first = self
            .shared
            .settings
            .poll_interval
            .mul_f64(1.0 + self.shared.ports.rng.unit());
        state.timer.arm(&myself, first, || SchedulerMsg::Look);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SchedulerMsg>,
        message: SchedulerMsg,
        state: &mut SchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SchedulerMsg::Look => self.look(&myself, state),
            SchedulerMsg::Found(result) => self.found(&myself, state, result),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<SchedulerMsg>,
        _: SupervisionEvent,
        _: &mut SchedulerState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // It has no children.
    }
}

// === impl Scheduler ===

impl Scheduler {
    fn look(&self, myself: &ActorRef<SchedulerMsg>, state: &mut SchedulerState) {
        if self.shared.effects.stopping() {
            return;
        }
        // Should this look never report, there is another one.
        let backstop = self.shared.settings.poll_interval + LOOK_PATIENCE;
        state.timer.arm(myself, backstop, || SchedulerMsg::Look);
        let now = Instant::now();
        let purge = state
            .purged_at
            .is_none_or(|at| now.duration_since(at) >= PURGE_INTERVAL);
        if purge {
            state.purged_at = Some(now);
        }
        let (shared, myself) = (Arc::clone(&self.shared), myself.clone());
        self.shared.effects.spawn(async move {
            if purge && let Err(error) = shared.ports.authorizations.purge().await {
                tracing::debug!(error = %error, "the leftovers of connect flows are not cleared away yet");
            }
            // A little ahead: waking takes a moment, and the timer of an awake account is exact.
            let before = after(shared.now(), shared.settings.poll_interval);
            let due = shared.ports.integrations.due(before, BATCH_MAX).await;
            let _ = myself.cast(SchedulerMsg::Found(due));
        });
    }

    fn found(
        &self,
        myself: &ActorRef<SchedulerMsg>,
        state: &mut SchedulerState,
        result: StoreResult<Vec<Due>>,
    ) {
        self.shared.sight.looked(Look {
            at: self.shared.now(),
            found: result.as_ref().ok().map(Vec::len),
        });
        let mut pause = self.shared.settings.poll_interval;
        match result {
            Ok(due) => {
                if std::mem::take(&mut state.blind) {
                    tracing::info!("due work is looked for again");
                }
                if due.len() >= BATCH_MAX as usize {
                    pause = BATCH_PAUSE;
                }
                let mut by_provider: HashMap<ProviderKey, Vec<Uuid>> = HashMap::new();
                for Due { id, .. } in due {
                    by_provider.entry(id.provider).or_default().push(id.uuid);
                }
                for (provider, integrations) in by_provider {
                    // If the registry is being restarted they are found again at the next look.
                    let _ = self
                        .registry
                        .cast(RegistryMsg::Route(provider, ProviderMsg::Due(integrations)));
                }
            }
            Err(error) if !state.blind => {
                state.blind = true;
                tracing::warn!(error = %error, "due work cannot be looked for; valid tokens are served meanwhile");
            }
            Err(_) => {}
        }
        state.timer.arm(myself, pause, || SchedulerMsg::Look);
    }
}
