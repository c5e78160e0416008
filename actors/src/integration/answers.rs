//! Which answers of providers this node holds whose rows have not taken them yet.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use uuid::Uuid;

use crate::{measure, ports::spool::SpoolError};

/// The answers this node holds: those an attempt has in hand, and those of earlier runs that wait to be offered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    held: Mutex<HashMap<Uuid, usize>>,
    /// Whether the spool failed when it was last used: the operator is told once, not with every refresh.
    failing: AtomicBool,
}

impl Answers {
    fn held(&self) -> MutexGuard<'_, HashMap<Uuid, usize>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn hold(&self, integration: Uuid) {
        *self.held().entry(integration).or_default() += 1;
    }

    pub(super) fn let_go(&self, integration: Uuid) {
        let mut held = self.held();
        if let Some(times) = held.get_mut(&integration) {
            *times -= 1;
            if *times == 0 {
                held.remove(&integration);
            }
        }
    }

    /// Whether an answer for this account is here whose fate is not settled: presenting its refresh token again would
    /// spend what the answer replaces.
    pub(super) fn has(&self, integration: Uuid) -> bool {
        self.held().contains_key(&integration)
    }

    /// What the spool said to a write; alarms when it begins to fail.
    pub(super) fn told<T>(&self, result: Result<T, SpoolError>) -> Option<T> {
        match result {
            Ok(value) => {
                if self.failing.load(Relaxed) && self.failing.swap(false, Relaxed) {
                    tracing::info!("the spool takes answers again");
                }
                Some(value)
            }
            Err(error) => {
                measure::spool_failed();
                if !self.failing.swap(true, Relaxed) {
                    tracing::error!(
                        error = %error,
                        "answers of providers are kept in memory alone until the database has them: mend the disk of spool.directory"
                    );
                }
                None
            }
        }
    }
}
