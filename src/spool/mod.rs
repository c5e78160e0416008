//! The spool on this node's disk: an append-only journal of sealed answers that their rows have not taken yet.
//!
//! One directory serves any number of processes: each takes a *slot* of it, held by a lock that goes with the process, and
//! takes over what slots hold that nobody uses any more. What is appended outlives the process at once and the machine
//! after [`Spool::sync`]. A record that was cut off or altered is passed over, and said so; what is around it is read.
//! Everything in it is sealed: the adapter sees bytes and the name of their row.

mod frame;
mod journal;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use oauth_manager_actors::ports::spool::{Spool, SpoolError, SpoolTicket, SpooledAnswer};

use journal::Journal;
use slot::Slot;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be used: {source}", path.display())]
pub struct SpoolOpenError {
    path: PathBuf,
    source: std::io::Error,
}

/// The spool. Its slot is free again when it is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub struct FileSpool {
    journal: Mutex<Journal>,
    left: Mutex<Vec<(SpoolTicket, SpooledAnswer)>>,
    /// Up to which write everything outlives the machine. Held while that is made true: whoever waits for it finds its
    /// own write done, too.
    synced: Arc<tokio::sync::Mutex<u64>>,
    _slot: Slot,
}

impl FileSpool {
    /// Takes a slot of this directory, making it if need be, and reads what earlier runs left in it and in slots that
    /// nobody uses.
    ///
    /// # Errors
    /// It cannot be made, read or written.
    pub fn open(directory: &Path) -> Result<Self, SpoolOpenError> {
        Self::try_open(directory).map_err(|source| SpoolOpenError {
            path: directory.to_owned(),
            source,
        })
    }

    fn try_open(directory: &Path) -> std::io::Result<Self> {
        let slot = Slot::take(directory)?;
        let abandoned = Slot::abandoned(directory);
        let (earlier, mut answers) = journal::read(slot.path())?;
        let mut adopted = Vec::new();
        for other in &abandoned {
            // Somebody else's, perhaps of another account of the machine: what cannot be read is left where it is.
            match journal::read(other.path()) {
                Ok((files, found)) => {
                    adopted.extend(files);
                    answers.extend(found);
                }
                Err(error) => {
                    tracing::warn!(slot = %other.path().display(), %error, "a spool nobody uses cannot be read");
                }
            }
        }
        let (journal, left) = Journal::begin(slot.path(), journal::next_number(&earlier), answers)?;
        // They are in the new journal now, on the disk.
        journal::remove(&earlier);
        journal::remove(&adopted);
        Ok(Self {
            journal: Mutex::new(journal),
            left: Mutex::new(left),
            synced: Arc::default(),
            _slot: slot,
        })
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(error: std::io::Error) -> SpoolError {
    SpoolError(error.to_string())
}

// === impl Spool ===

#[async_trait]
impl Spool for FileSpool {
    fn put(&self, answer: &SpooledAnswer) -> Result<SpoolTicket, SpoolError> {
        self.journal().put(answer).map_err(failed)
    }

    async fn sync(&self) -> Result<(), SpoolError> {
        let wanted = self.journal().writes();
        let mut synced = Arc::clone(&self.synced).lock_owned().await;
        if *synced >= wanted {
            return Ok(());
        }
        let (writes, files) = self.journal().unsynced();
        // On a thread of its own: a disk may take its time, and a token must be served meanwhile.
        let done = tokio::task::spawn_blocking(move || {
            files.iter().try_for_each(|file| file.sync_all())?;
            *synced = writes;
            Ok(())
        });
        match done.await {
            Ok(result) => result.map_err(failed),
            Err(error) => Err(SpoolError(error.to_string())),
        }
    }

    fn forget(&self, ticket: SpoolTicket) -> Result<(), SpoolError> {
        self.journal().forget(ticket).map_err(failed)
    }

    fn left(&self) -> Vec<(SpoolTicket, SpooledAnswer)> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn depth(&self) -> usize {
        self.journal().depth()
    }
}
