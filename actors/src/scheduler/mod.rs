//! The scheduler: wakes accounts that are asleep when their work falls due. The due times are in the database, so nothing
//! is forgotten over a restart, and a million sleeping accounts cost nothing here.
//!
//! There is no leader. Each node takes due work of each provider in batches, soonest first, in one statement that skips
//! what another node was given: a node that dies is covered when its mark runs out, one that stops gives its work back.
//! The mark fences nothing (that is the claim's part); it keeps nodes from waking the same accounts.

mod appetite;
pub(crate) mod given;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::time::Instant;
use uuid::Uuid;

use self::appetite::Appetite;
use crate::{
    address::Address,
    domain::{ids::ProviderKey, integration::StoredIntegration},
    erasure,
    integration::opened::Opened,
    measure,
    ports::store::{DispatchRequest, StoreError},
    provider::{load::Load, message::ProviderMsg},
    registry::RegistryMsg,
    shared::{Look, Shared},
    timer::Timer,
};

/// How long other nodes leave alone what this one was given. With the interval of looks, this is how late the work of a
/// node that dies begins at the most; a row that is claimed or committed meanwhile does not wait for it.
const HOLD: Duration = Duration::from_secs(10);
/// What is due for less is left to whoever has the account awake: its timer is exact.
const OVERDUE: Duration = Duration::from_millis(250);
/// Pause before another look after one that took all it wanted.
const HUNGRY_PAUSE: Duration = Duration::from_millis(100);
/// Longest a look may take before it is taken for lost.
const LOOK_PATIENCE: Duration = Duration::from_secs(60);
/// Accounts woken by one message to their supervisor: whoever asks it something meanwhile does not wait for all of them.
const WAKE_BATCH: usize = 64;
/// How long a node that stops tries to give its work back; after that its marks run out by themselves.
const HAND_BACK_PATIENCE: Duration = Duration::from_secs(5);

/// Messages of the scheduler.
#[derive(Debug)]
pub(crate) enum SchedulerMsg {
    /// From its own timer: look for work.
    Look,
    /// From its own effect: what each provider was looked for and what was found.
    Looked(Result<Vec<Had>, StoreError>),
}

/// What a look for one provider's work came to.
#[derive(Debug)]
pub(crate) struct Had {
    provider: ProviderKey,
    wanted: u32,
    got: usize,
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
    appetites: BTreeMap<ProviderKey, Appetite>,
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
        let providers = self.shared.providers.iter();
        let mut state = SchedulerState {
            timer: Timer::default(),
            purged_at: None,
            blind: false,
            appetites: providers
                .map(|provider| (provider.key.clone(), Appetite::new(provider.max_concurrency)))
                .collect(),
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
            SchedulerMsg::Looked(result) => self.looked(&myself, state, result),
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
        self.purge(state);
        let wanted: Vec<_> = state
            .appetites
            .iter_mut()
            .map(|(provider, appetite)| {
                let under_way = self.shared.load(provider).map_or(0, Load::under_way);
                let egress = self.shared.egress(provider);
                let held_off = egress.is_some_and(|egress| egress.open_reason().is_some());
                (provider.clone(), appetite.bite(under_way, held_off))
            })
            .collect();
        let (shared, registry, myself) = (Arc::clone(&self.shared), self.registry.clone(), myself.clone());
        self.shared.effects.spawn(async move {
            let _ = myself.cast(SchedulerMsg::Looked(take(&shared, &registry, wanted).await));
        });
    }

    fn purge(&self, state: &mut SchedulerState) {
        let now = Instant::now();
        let interval = self.shared.settings.housekeeping_interval;
        if state
            .purged_at
            .is_some_and(|at| now.duration_since(at) < interval)
        {
            return;
        }
        state.purged_at = Some(now);
        let (shared, registry) = (Arc::clone(&self.shared), self.registry.clone());
        self.shared.effects.spawn(async move {
            if let Err(error) = shared.ports.authorizations.purge().await {
                tracing::debug!(error = %error, "the leftovers of connect flows are not cleared away yet");
            }
            erasure::go_on(&shared, &registry).await;
        });
    }

    fn looked(
        &self,
        myself: &ActorRef<SchedulerMsg>,
        state: &mut SchedulerState,
        result: Result<Vec<Had>, StoreError>,
    ) {
        self.shared.sight.looked(Look {
            at: self.shared.now(),
            found: result
                .as_ref()
                .ok()
                .map(|looks| looks.iter().map(|had| had.got).sum()),
        });
        let mut pause = self.shared.settings.poll_interval;
        match result {
            Ok(looks) => {
                if std::mem::take(&mut state.blind) {
                    tracing::debug!("due work is looked for again");
                }
                for Had {
                    provider,
                    wanted,
                    got,
                } in looks
                {
                    let appetite = state.appetites.get_mut(&provider);
                    if appetite.is_some_and(|appetite| appetite.had(wanted, got)) {
                        pause = pause.min(HUNGRY_PAUSE);
                    }
                }
            }
            Err(error) if !state.blind => {
                state.blind = true;
                // Told as a cause of not being ready.
                tracing::debug!(error = %error, "due work cannot be looked for; valid tokens are served meanwhile");
            }
            Err(_) => {}
        }
        state.timer.arm(myself, pause, || SchedulerMsg::Look);
    }
}

/// Takes due work of each provider and wakes its accounts.
async fn take(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    wanted: Vec<(ProviderKey, u32)>,
) -> Result<Vec<Had>, StoreError> {
    let mut looks = Vec::new();
    for (provider, room) in wanted {
        let request = DispatchRequest {
            provider: provider.clone(),
            node: shared.settings.node,
            room,
            hold: HOLD,
            overdue: OVERDUE,
        };
        let got = if room == 0 {
            Vec::new()
        } else {
            let asked_at = Instant::now();
            let look = shared.ports.integrations.dispatch(&request);
            let got = shared.database.heard(look).await?;
            shared
                .given
                .add(got.iter().map(|row| row.id.uuid), asked_at, HOLD);
            got
        };
        looks.push(Had {
            provider,
            wanted: room,
            got: got.len(),
        });
        if shared.effects.stopping() {
            // Asked for before the stop, given after it.
            hand_back(shared).await;
        } else {
            wake(shared, registry, &request.provider, got);
        }
    }
    Ok(looks)
}

fn wake(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    provider: &ProviderKey,
    rows: Vec<StoredIntegration>,
) {
    let mut opened = rows.into_iter().filter_map(|row| {
        let id = row.id.clone();
        Opened::open(&*shared.ports.vault, row)
            .map_err(|error| {
                measure::row_unopenable(&id.provider);
                tracing::error!(integration.id = %id, error = %error, "a row does not open: check the configured encryption keys");
            })
            .ok()
    });
    loop {
        let batch: Vec<_> = opened.by_ref().take(WAKE_BATCH).collect();
        if batch.is_empty() {
            return;
        }
        // If the registry is being restarted they are found again when their marks have run out.
        let _ = registry.cast(RegistryMsg::Route(provider.clone(), ProviderMsg::Due(batch)));
    }
}

/// This node stops: others may take at once what it was given and has not begun.
pub(crate) async fn hand_back(shared: &Shared) {
    let given: Vec<Uuid> = shared.given.take();
    if given.is_empty() {
        return;
    }
    let node = shared.settings.node;
    let handed = shared.ports.integrations.hand_back(node, &given);
    match tokio::time::timeout(HAND_BACK_PATIENCE, handed).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %error, "due work is not handed back; others take it in a moment");
        }
        Err(tokio::time::error::Elapsed { .. }) => {
            tracing::warn!("due work is not handed back in time; others take it in a moment");
        }
    }
}
