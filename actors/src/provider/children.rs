//! The accounts as a supervisor's children: how they end, fail, are restarted, put to sleep and looked at.

use std::time::Duration;

use ractor::{ActorId, ActorRef};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    ProviderState, ProviderSupervisor,
    message::{Observation, ProviderMsg, Quarantined},
    slot::Occupancy,
};
use crate::{shared::after, supervision::Restart};

/// A quarantined account is tried again this often.
const QUARANTINE: Duration = Duration::from_secs(900);
/// Quarantined accounts shown by name: more of them are one defect, not many.
const QUARANTINE_SHOWN_MAX: usize = 100;
/// Slots put to sleep in one sweep: ending many at once would keep requests waiting behind their endings.
const SLEEPS_PER_SWEEP_MAX: usize = 500;
/// Sweeps are no closer together than this…
const SWEEP_MIN: Duration = Duration::from_millis(500);
/// …and no further apart than this.
const SWEEP_MAX: Duration = Duration::from_secs(60);

impl ProviderSupervisor {
    /// An account ended as it was told to: it sleeps, unless somebody asked for it meanwhile.
    pub(super) fn ended(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState, actor: ActorId) {
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
    pub(super) fn failed(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        actor: ActorId,
        error: &str,
    ) {
        let Some(integration) = state.by_actor.remove(&actor) else {
            return;
        };
        self.count_failure(myself, state, integration, error);
    }

    pub(super) fn count_failure(
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
        crate::measure::actor_failed(&self.provider.key);
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

    pub(super) fn restart(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        integration: Uuid,
    ) {
        state.restart_timers.remove(&integration);
        if let Some(slot) = state.slots.get_mut(&integration)
            && matches!(
                slot.occupancy,
                Occupancy::Restarting | Occupancy::Quarantined { .. }
            )
        {
            if matches!(slot.occupancy, Occupancy::Quarantined { .. }) {
                slot.budget.put_on_probation(Instant::now());
            }
            slot.occupancy = Occupancy::Waking;
            self.hydrate(myself, integration);
        }
    }

    pub(super) fn sweep_interval(&self) -> Duration {
        self.shared
            .settings
            .idle_after
            .map_or(SWEEP_MAX, |idle| (idle / 4).clamp(SWEEP_MIN, SWEEP_MAX))
    }

    pub(super) fn sweep(&self, myself: &ActorRef<ProviderMsg>, state: &mut ProviderState) {
        let now = Instant::now();
        state.directory.sweep(now);
        if let Some(shelf) = self.shared.shelf(&self.provider.key) {
            shelf.sweep(now);
        }
        let asleep = self.put_to_sleep(state, now);
        // A full sweep is followed by another at once: as many may be woken in a minute as a minute's due work.
        let pause = if asleep < SLEEPS_PER_SWEEP_MAX {
            self.sweep_interval()
        } else {
            SWEEP_MIN
        };
        state.sweep.arm(myself, pause, || ProviderMsg::Sweep);
    }

    fn put_to_sleep(&self, state: &mut ProviderState, now: Instant) -> usize {
        let Some(deadline) = self
            .shared
            .settings
            .idle_after
            .and_then(|idle| now.checked_sub(idle))
        else {
            return 0;
        };
        let mut sleepy = Vec::new();
        for (integration, slot) in &mut state.slots {
            // Every one is looked at, whether or not its turn comes: the look also notes who was asked.
            if slot.may_sleep(deadline, now) && sleepy.len() < SLEEPS_PER_SWEEP_MAX {
                sleepy.push((*integration, slot));
            }
        }
        // By age, so that a simulation can be replayed.
        sleepy.sort_by_key(|(integration, _)| *integration);
        let mut asleep = 0;
        for (_, slot) in sleepy {
            if let Occupancy::Awake { actor, .. } = &slot.occupancy
                && actor.drain().is_ok()
            {
                slot.occupancy = Occupancy::FallingAsleep;
                asleep += 1;
            }
        }
        asleep
    }

    pub(super) fn observe(&self, state: &ProviderState) -> Observation {
        let count = |wanted: fn(&Occupancy) -> bool| {
            state
                .slots
                .values()
                .filter(|slot| wanted(&slot.occupancy))
                .count()
        };
        let egress = self.shared.egress(&self.provider.key);
        Observation {
            awake: count(|occupancy| matches!(occupancy, Occupancy::Awake { .. })),
            quarantined: count(|occupancy| matches!(occupancy, Occupancy::Quarantined { .. })),
            in_transit: count(|occupancy| {
                matches!(
                    occupancy,
                    Occupancy::Waking | Occupancy::FallingAsleep | Occupancy::Restarting
                )
            }),
            quarantine: state
                .slots
                .iter()
                .filter_map(|(uuid, slot)| match slot.occupancy {
                    Occupancy::Quarantined { until } => Some(Quarantined {
                        id: self.id(*uuid),
                        until: after(self.shared.now(), until.saturating_duration_since(Instant::now())),
                    }),
                    Occupancy::Waking
                    | Occupancy::Awake { .. }
                    | Occupancy::FallingAsleep
                    | Occupancy::Restarting => None,
                })
                .take(QUARANTINE_SHOWN_MAX)
                .collect(),
            users: state.directory.len(),
            restarts: state.restarts,
            breaker: egress.and_then(|egress| egress.open_reason()),
            egress: egress.map(|egress| egress.view(self.shared.now())),
            client_secret: self.shared.ports.oauth.client_secret_in_use(&self.provider.key),
        }
    }
}
