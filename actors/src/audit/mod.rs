//! The audit sink: hand-outs and refusals, counted per client, account and minute, written in batches.
//!
//! Changes carry their audit row in their own transaction and do not come here. What comes here is frequent and changes
//! nothing: who received a token, who was refused. It is bounded (a permit travels inside each message; without one the
//! hand-out is refused rather than unrecorded) and written before a graceful stop ends.

mod pending;
mod strays;
mod tally;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::{
    address::Address,
    audit::{
        pending::{Pending, Take, minute_of},
        strays::Strays,
        tally::{Tallies, TallyKey},
    },
    domain::{Timestamp, audit::AuditEntry, error::ServiceError, scope::ScopeSet},
    effects::Effects,
    ports::{clock::Clock, rng::Rng, store::RecordStore},
    timer::Timer,
};

/// Records on their way to the sink at once. More than 64 connections can have in flight; few enough to bound memory.
const RECORDS_IN_FLIGHT_MAX: usize = 16_384;
/// Distinct (client, account, minute) rows held in memory before hand-outs are refused: the database is away for long.
const PENDING_ROWS_MAX: usize = 100_000;
/// Rows written in one statement.
const BATCH_ROWS_MAX: usize = 1_000;
/// Pause before a failed write is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Services in this process, where others are counted by their row's id.
pub(crate) const IN_PROCESS: Uuid = Uuid::nil();

/// Where hand-outs are recorded. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AuditHandle {
    sink: Address<AuditMsg>,
    permits: Arc<Semaphore>,
    /// Rows the sink holds, as it last said.
    pending: Arc<AtomicUsize>,
    tallies: Tallies,
    strays: Strays,
}

/// How much waits to be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct AuditQueue {
    /// Records on their way to the sink.
    pub in_flight: usize,
    /// How many may be.
    pub in_flight_max: usize,
    /// Rows held by the sink, written or not, of this minute.
    pub pending_rows: usize,
    /// How many it may hold before hand-outs are refused.
    pub pending_rows_max: usize,
}

/// Leave to record one thing: taken before a token is handed out, so that none goes unrecorded.
#[derive(Debug)]
pub struct RecordPermit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl AuditHandle {
    /// A handle whose sink Root starts.
    pub fn new() -> Self {
        Self {
            sink: Address::new(),
            permits: Arc::new(Semaphore::new(RECORDS_IN_FLIGHT_MAX)),
            pending: Arc::default(),
            tallies: Tallies::default(),
            strays: Strays::default(),
        }
    }

    /// The address Root points at the sink.
    pub fn address(&self) -> &Address<AuditMsg> {
        &self.sink
    }

    /// How much waits to be recorded.
    pub fn queue(&self) -> AuditQueue {
        AuditQueue {
            in_flight: RECORDS_IN_FLIGHT_MAX.saturating_sub(self.permits.available_permits()),
            in_flight_max: RECORDS_IN_FLIGHT_MAX,
            pending_rows: self.pending.load(Ordering::Relaxed),
            pending_rows_max: PENDING_ROWS_MAX,
        }
    }

    /// Where the sink says how many rows it holds.
    pub(crate) fn pending(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.pending)
    }

    /// Leave to record one thing.
    ///
    /// # Errors
    /// [`ServiceError::Overloaded`] when records cannot be written fast enough: nothing is handed out unrecorded.
    pub fn permit(&self) -> Result<RecordPermit, ServiceError> {
        Arc::clone(&self.permits)
            .try_acquire_owned()
            .map(RecordPermit)
            .map_err(|_| ServiceError::Overloaded {
                detail: "hand-outs cannot be recorded fast enough",
                retry_after: RETRY_PAUSE,
            })
    }

    /// From the graceful stop: waits until whoever may still record something has done so. From now on nobody else may.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(RECORDS_IN_FLIGHT_MAX).unwrap_or(u32::MAX);
        // Whoever waits is served before whoever tries; who holds a permit gives it back when the sink has the record.
        if let Ok(permits) = self.permits.acquire_many(all).await {
            permits.forget();
        }
    }

    /// Records a further hand-out of this minute to this client. `false`: it is none, or the minute's row is being
    /// written; record it by a message.
    pub(crate) fn count(&self, client: Uuid, integration: Uuid, now: Timestamp, scopes: &ScopeSet) -> bool {
        self.tallies
            .count(&TallyKey { client, integration }, minute_of(now), scopes)
    }

    /// Where further hand-outs of a minute are counted.
    pub(crate) fn tallies(&self) -> Tallies {
        self.tallies.clone()
    }

    /// Where callbacks are counted that belong to no flow that waits for one.
    pub(crate) fn strays(&self) -> &Strays {
        &self.strays
    }

    /// Records it. `false`: the sink is being restarted; the caller refuses instead.
    pub fn record(&self, entry: AuditEntry, permit: RecordPermit) -> bool {
        self.sink.cast(AuditMsg::Record(Box::new(entry), permit)).is_ok()
    }
}

impl Default for AuditHandle {
    fn default() -> Self {
        Self::new()
    }
}

/// Messages of the sink.
#[derive(Debug)]
pub enum AuditMsg {
    /// From integrations and the façade: count this. If the sink is gone the caller has refused its hand-out.
    Record(Box<AuditEntry>, RecordPermit),
    /// From its own timer: write what is pending.
    Flush,
    /// From its own write: how it ended.
    Written(Result<(), Vec<AuditEntry>>),
    /// From the graceful stop: write everything and answer.
    Drain(RpcReplyPort<()>),
}

/// The actor. Holds no durable state: what it has not written is in [`Pending`], and a graceful stop drains it.
pub(crate) struct AuditSink {
    pub(crate) records: Arc<dyn RecordStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) effects: Effects,
    pub(crate) flush_interval: Duration,
    /// Shown to operators: how many rows are held.
    pub(crate) shown: Arc<AtomicUsize>,
    pub(crate) tallies: Tallies,
    pub(crate) strays: Strays,
}

pub(crate) struct AuditState {
    pending: Pending,
    writing: bool,
    timer: Timer,
    drains: Vec<RpcReplyPort<()>>,
    /// Permits kept back while the pending rows exceed their bound.
    held: Vec<RecordPermit>,
}

// === impl Actor for AuditSink ===

impl Actor for AuditSink {
    type Msg = AuditMsg;
    type State = AuditState;
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<AuditMsg>, (): ()) -> Result<AuditState, ActorProcessingErr> {
        let mut state = AuditState {
            pending: Pending::new(self.tallies.clone()),
            writing: false,
            timer: Timer::default(),
            drains: Vec::new(),
            held: Vec::new(),
        };
        state.timer.arm(&myself, self.flush_interval, || AuditMsg::Flush);
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<AuditMsg>,
        message: AuditMsg,
        state: &mut AuditState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            AuditMsg::Record(entry, permit) => self.record(state, *entry, permit),
            AuditMsg::Flush => self.flush(&myself, state),
            AuditMsg::Written(result) => self.written(&myself, state, result),
            AuditMsg::Drain(reply) => self.drain(&myself, state, reply),
        }
        self.shown.store(state.pending.len(), Ordering::Relaxed);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<AuditMsg>,
        _: SupervisionEvent,
        _: &mut AuditState,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // It has no children.
    }
}

// === impl AuditSink ===

impl AuditSink {
    fn record(&self, state: &mut AuditState, entry: AuditEntry, permit: RecordPermit) {
        state.pending.add(entry, self.clock.now());
        if state.pending.len() >= PENDING_ROWS_MAX {
            state.held.push(permit);
        }
    }

    fn flush(&self, myself: &ActorRef<AuditMsg>, state: &mut AuditState) {
        state.timer.arm(
            myself,
            self.flush_interval.mul_f64(0.75 + self.rng.unit() / 2.0),
            || AuditMsg::Flush,
        );
        self.write(myself, state);
    }

    fn write(&self, myself: &ActorRef<AuditMsg>, state: &mut AuditState) {
        if state.writing {
            return;
        }
        let take = if state.drains.is_empty() {
            Take::Due
        } else {
            Take::All
        };
        for entry in self.strays.take(take == Take::All, self.clock.now()) {
            state.pending.add(entry, self.clock.now());
        }
        let batch = state.pending.take(take, self.clock.now(), BATCH_ROWS_MAX);
        if batch.is_empty() {
            return;
        }
        state.writing = true;
        let (records, myself) = (Arc::clone(&self.records), myself.clone());
        self.effects.spawn(async move {
            let result = match records.append(&batch).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    crate::measure::audit_not_written();
                    tracing::warn!(error = %error, rows = batch.len(), "hand-out records are not written yet; retrying");
                    Err(batch)
                }
            };
            // If the sink is gone the process is stopping hard; the rows of one flush interval are lost with it.
            let _ = myself.cast(AuditMsg::Written(result));
        });
    }

    fn written(
        &self,
        myself: &ActorRef<AuditMsg>,
        state: &mut AuditState,
        result: Result<(), Vec<AuditEntry>>,
    ) {
        state.writing = false;
        match result {
            Ok(()) => {
                if state.pending.len() < PENDING_ROWS_MAX {
                    state.held.clear();
                }
                // A drain wants all of it, batch after batch.
                if !state.drains.is_empty() {
                    self.write(myself, state);
                }
            }
            Err(batch) => {
                for entry in batch {
                    state.pending.give_back(entry, self.clock.now());
                }
                state.timer.arm(myself, RETRY_PAUSE, || AuditMsg::Flush);
            }
        }
        if state.pending.is_written() && !state.writing {
            for reply in state.drains.drain(..) {
                let _ = reply.send(());
            }
        }
    }

    fn drain(&self, myself: &ActorRef<AuditMsg>, state: &mut AuditState, reply: RpcReplyPort<()>) {
        state.drains.push(reply);
        self.write(myself, state);
        if state.pending.is_written() && !state.writing {
            for reply in state.drains.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}
