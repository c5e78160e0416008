//! A database in memory, with the semantics the ports promise, and faults on demand. Clones are one database: give them
//! to two systems, and they are two nodes.

mod authorizations;
mod clients;
mod connections;
mod constraints;
mod egress;
mod faults;
mod integrations;
mod line;
mod overview;
mod records;
mod refresh;
mod rejections;
mod sessions;
mod tables;
mod users;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::{faults::Faults, tables::Tables};
pub use self::{
    faults::Op,
    line::{Line, Passage},
};
use super::{clock::TestClock, gate::Gate};
use crate::{
    domain::{Timestamp, audit::AuditEntry, ids::IntegrationId, integration::StoredIntegration},
    ports::{
        clock::Clock as _,
        store::{StoreError, StoreResult},
    },
};

/// The database.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    clock: TestClock,
    tables: Arc<Mutex<Tables>>,
    faults: Arc<Mutex<Faults>>,
    /// How this clone reaches the tables; `None`: directly.
    line: Option<Arc<dyn Line>>,
}

impl MemoryStore {
    /// An empty one.
    pub fn new(clock: TestClock) -> Self {
        Self {
            clock,
            tables: Arc::default(),
            faults: Arc::default(),
            line: None,
        }
    }

    /// The same database, reached over this line: what one node sees of it.
    pub fn over(&self, line: Arc<dyn Line>) -> Self {
        Self {
            line: Some(line),
            ..self.clone()
        }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction, with whatever fault was asked for.
    async fn run<T>(
        &self,
        op: Op,
        transaction: impl FnOnce(&mut Tables, Timestamp) -> StoreResult<T> + Send,
    ) -> StoreResult<T> {
        let before = self.faults().begin(op);
        // A database is never so quick that nobody else gets a turn.
        tokio::task::yield_now().await;
        if let Some(gate) = before {
            gate.pass().await;
        }
        if self.faults().fails(op) {
            return Err(StoreError::Unavailable("a test cut it off".into()));
        }
        if let Some(line) = &self.line
            && line.request(op).await != Passage::Arrives
        {
            return Err(StoreError::Unavailable("the statement did not arrive".into()));
        }
        let result = transaction(&mut self.tables(), self.clock.now());
        if let Some(line) = &self.line {
            line.done(op);
        }
        let (after, torn) = self.faults().end(op);
        if let Some(gate) = after {
            gate.pass().await;
        }
        if torn {
            return Err(StoreError::Unavailable("cut off before the answer".into()));
        }
        if let Some(line) = &self.line {
            line.answer(op).await?;
        }
        result
    }

    /// As [`run`](Self::run), for a write that may also arrive when its sender has long been told that it failed.
    async fn write<T: Send + 'static>(
        &self,
        op: Op,
        transaction: impl FnOnce(&mut Tables, Timestamp) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let Some(line) = &self.line else {
            return self.run(op, transaction).await;
        };
        match line.request(op).await {
            Passage::Arrives => {}
            Passage::Fails => return Err(StoreError::Unavailable("the statement did not arrive".into())),
            Passage::Late(pause) => {
                let (store, line) = (self.clone(), Arc::clone(line));
                line::later(pause, move || {
                    // Nobody waits for what comes of it.
                    let _ = transaction(&mut store.tables(), store.clock.now());
                    line.done(op);
                });
                return Err(StoreError::Unavailable("no answer in time".into()));
            }
        }
        let result = transaction(&mut self.tables(), self.clock.now());
        line.done(op);
        line.answer(op).await?;
        result
    }
}

// === faults ===

impl MemoryStore {
    /// Cuts the database off, or brings it back.
    pub fn away(&self, away: bool) {
        self.faults().away = away;
    }

    /// The next `times` calls of this kind do nothing and fail.
    pub fn fail_next(&self, op: Op, times: usize) {
        self.faults().of(op).failing = times;
    }

    /// From now on this account's row takes no new tokens, whatever comes with them, as under a rule that nobody foresaw;
    /// or takes them again.
    pub fn refuse_tokens(&self, id: &IntegrationId, refuse: bool) {
        let mut tables = self.tables();
        if refuse {
            tables.refusing.insert(id.uuid);
        } else {
            tables.refusing.remove(&id.uuid);
        }
    }

    /// The next `times` calls of this kind are done and reported as failed: the answer was lost.
    pub fn tear_next(&self, op: Op, times: usize) {
        self.faults().of(op).torn = times;
    }

    /// The next call of this kind waits at the gate before it is done.
    pub fn hold_before(&self, op: Op) -> Gate {
        let gate = Gate::new();
        self.faults().of(op).before = Some(gate.clone());
        gate
    }

    /// The next call of this kind waits at the gate after it is done, its answer on the way.
    pub fn hold_after(&self, op: Op) -> Gate {
        let gate = Gate::new();
        self.faults().of(op).after = Some(gate.clone());
        gate
    }

    /// How many calls of this kind there were.
    pub fn calls(&self, op: Op) -> usize {
        self.faults().of(op).calls
    }
}

// === looking in ===

impl MemoryStore {
    /// The row as it is, past every fault.
    ///
    /// # Panics
    /// If there is none.
    pub fn row(&self, id: &IntegrationId) -> StoredIntegration {
        let now = self.clock.now();
        #[expect(clippy::expect_used, reason = "a test's own mistake")]
        self.tables()
            .integrations
            .get(&id.uuid)
            .map(|row| row.view(now))
            .expect("a row of this id")
    }

    /// Every row as it is, past every fault.
    pub fn look<T>(&self, look: impl FnOnce(&[&StoredIntegration]) -> T) -> T {
        let tables = self.tables();
        let rows: Vec<_> = tables.integrations.values().map(|row| &row.stored).collect();
        look(&rows)
    }

    /// The newest audit row.
    pub fn last_audit_row(&self) -> Option<AuditEntry> {
        self.tables().audit.last().map(|(_, _, entry)| entry.clone())
    }

    /// Changes a row behind everybody's back.
    ///
    /// # Panics
    /// If there is none.
    pub fn edit(&self, id: &IntegrationId, edit: impl FnOnce(&mut StoredIntegration)) {
        #[expect(clippy::expect_used, reason = "a test's own mistake")]
        let mut row = self
            .tables()
            .integrations
            .remove(&id.uuid)
            .expect("a row of this id");
        edit(&mut row.stored);
        if let Some(grant) = &row.stored.grant {
            row.generation = grant.generation;
        }
        self.tables().integrations.insert(id.uuid, row);
    }

    /// Every audit row, oldest first.
    pub fn audit_rows(&self) -> Vec<AuditEntry> {
        self.tables()
            .audit
            .iter()
            .map(|(_, _, entry)| entry.clone())
            .collect()
    }
}
