//! A spool in memory that can fail. Clones are the same disk: give one to the next run of a node.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::ports::spool::{Spool, SpoolError, SpoolTicket, SpooledAnswer};

/// The spool.
#[derive(Debug, Clone, Default)]
pub struct MemorySpool(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    answers: BTreeMap<SpoolTicket, SpooledAnswer>,
    /// Those that outlive the machine.
    synced: usize,
    serial: u64,
    puts: usize,
    is_full: bool,
}

impl MemorySpool {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on (or no longer) nothing can be written.
    pub fn full(&self, is_full: bool) {
        self.disk().is_full = is_full;
    }

    /// How many answers were put in, ever.
    pub fn puts(&self) -> usize {
        self.disk().puts
    }

    /// How many of those that lie in it outlive the machine.
    pub fn synced(&self) -> usize {
        self.disk().synced
    }

    /// Alters what lies in it, so that it does not open any more.
    pub fn corrupt(&self) {
        for answer in self.disk().answers.values_mut() {
            if let Some(byte) = answer.sealed.0.first_mut() {
                *byte ^= 1;
            }
        }
    }

    fn written(disk: &Disk) -> Result<(), SpoolError> {
        if disk.is_full {
            Err(SpoolError("no space left on device".into()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Spool for MemorySpool {
    fn put(&self, answer: &SpooledAnswer) -> Result<SpoolTicket, SpoolError> {
        let mut disk = self.disk();
        Self::written(&disk)?;
        disk.serial += 1;
        disk.puts += 1;
        let ticket = SpoolTicket(disk.serial);
        disk.answers.insert(ticket, answer.clone());
        Ok(ticket)
    }

    async fn sync(&self) -> Result<(), SpoolError> {
        let mut disk = self.disk();
        Self::written(&disk)?;
        disk.synced = disk.answers.len();
        Ok(())
    }

    fn forget(&self, ticket: SpoolTicket) -> Result<(), SpoolError> {
        let mut disk = self.disk();
        disk.answers.remove(&ticket);
        disk.synced = disk.synced.min(disk.answers.len());
        Ok(())
    }

    fn left(&self) -> Vec<(SpoolTicket, SpooledAnswer)> {
        let disk = self.disk();
        disk.answers
            .iter()
            .map(|(ticket, answer)| (*ticket, answer.clone()))
            .collect()
    }

    fn depth(&self) -> usize {
        self.disk().answers.len()
    }
}
