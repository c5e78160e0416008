//! Whether this node can work with the database, as far as it has noticed: so that whoever waits for a refresh is told at
//! once that it cannot be stored, and does not find out by waiting.

use std::{
    convert::Infallible,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use crate::{
    domain::unwritable::{Unwritable, UnwritableCause},
    ports::store::{StoreError, StoreResult},
};

/// A look for due work that hears nothing for so long means that the database is away: it waits for no row, and usually
/// takes milliseconds. The statement's own deadline comes seconds later.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// A failure that is over within this time is nobody's business: one session ended, and the next one worked.
const HICCUP_MAX: Duration = Duration::from_millis(150);

/// SQLSTATE of a full disk.
const DISK_FULL: &str = "53100";

/// What this node knows of the database: the last thing heard counts.
#[derive(Debug, Default)]
pub(crate) struct Database {
    is_away: AtomicBool,
    /// Why it takes no writes although it answers, by the last try.
    unwritable: Mutex<Option<Unwritable>>,
    /// The same, to be seen without a lock.
    takes_no_writes: AtomicBool,
    /// Whether a statement found its disk full since the last try to write: a small row may still find room.
    found_full: AtomicBool,
    /// Rung when a statement failed: perhaps it takes no writes.
    doubted: Notify,
    /// Wakes in the order in which they wait (a watch channel does not), so that a simulated world is the same each time.
    changed: Notify,
}

impl Database {
    /// Takes note of how a statement ended, and passes it on.
    pub(crate) fn told<T>(&self, result: StoreResult<T>) -> StoreResult<T> {
        if result
            .as_ref()
            .is_err_and(|error| error.sqlstate() == Some(DISK_FULL))
        {
            self.found_full.store(true, Ordering::SeqCst);
        }
        self.set(matches!(result, Err(StoreError::Unavailable(_))));
        result
    }

    /// The same for a statement that waits for nobody: not to be answered says something as well.
    pub(crate) async fn heard<T>(&self, statement: impl Future<Output = StoreResult<T>>) -> StoreResult<T> {
        let mut statement = std::pin::pin!(statement);
        let result = match timeout(SILENCE_MAX, &mut statement).await {
            Ok(result) => result,
            Err(_) => {
                self.set(true);
                statement.await
            }
        };
        self.told(result)
    }

    /// Whether room is to be looked for by the next try to write: the disk was full, or a statement found it so since.
    pub(crate) fn may_be_full(&self) -> bool {
        let was_full = self
            .unwritable()
            .is_some_and(|found| found.cause == UnwritableCause::DiskFull);
        self.found_full.swap(false, Ordering::SeqCst) || was_full
    }

    /// What the last try to write came to.
    pub(crate) fn tried(&self, unwritable: Option<Unwritable>) {
        self.takes_no_writes.store(unwritable.is_some(), Ordering::SeqCst);
        *self.unwritable.lock().unwrap_or_else(PoisonError::into_inner) = unwritable;
    }

    /// Whether it answers and takes no writes, as far as this node has noticed: what would have to be stored is not begun.
    pub(crate) fn takes_no_writes(&self) -> bool {
        self.takes_no_writes.load(Ordering::SeqCst)
    }

    pub(crate) fn unwritable(&self) -> Option<Unwritable> {
        self.unwritable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Waits until a statement fails.
    pub(crate) async fn doubted(&self) {
        self.doubted.notified().await;
    }

    fn set(&self, is_away: bool) {
        if is_away {
            self.doubted.notify_one();
        }
        if self.is_away.swap(is_away, Ordering::SeqCst) != is_away {
            self.changed.notify_waiters();
        }
    }

    /// Waits until that is so.
    async fn becomes(&self, is_away: bool) {
        loop {
            // Before the look: what changes after it is not missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.is_away.load(Ordering::SeqCst) == is_away {
                return;
            }
            changed.await;
        }
    }

    /// Runs this, and meanwhile tells each time the database has gone (`true`) and come back (`false`).
    pub(crate) async fn watched<T>(&self, work: impl Future<Output = T>, tell: impl Fn(bool)) -> T {
        tokio::select! {
            biased;
            done = work => done,
            never = self.tell_changes(tell) => match never {},
        }
    }

    async fn tell_changes(&self, tell: impl Fn(bool)) -> Infallible {
        loop {
            self.becomes(true).await;
            if timeout(HICCUP_MAX, self.becomes(false)).await.is_err() {
                tell(true);
                self.becomes(false).await;
                tell(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::time::sleep;

    use super::*;

    fn failed() -> StoreResult<()> {
        Err(StoreError::Unavailable("it is away".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn who_watches_hears_of_an_absence_that_lasts_and_of_its_end_and_of_no_hiccup() {
        let (database, told) = (Database::default(), RefCell::new(Vec::new()));
        let work = async {
            let _ = database.told(failed());
            sleep(HICCUP_MAX / 2).await;
            let _ = database.told(Ok(()));
            sleep(HICCUP_MAX * 2).await;
            assert_eq!(*told.borrow(), [true; 0]);
            let _ = database.told(failed());
            sleep(HICCUP_MAX / 2).await;
            let _ = database.told(failed());
            sleep(HICCUP_MAX).await;
            assert_eq!(*told.borrow(), [true]);
            let _ = database.told(Ok(()));
            sleep(HICCUP_MAX).await;
        };
        database
            .watched(work, |is_away| told.borrow_mut().push(is_away))
            .await;
        assert_eq!(*told.borrow(), [true, false]);
        // Whoever comes while it is away is told as well.
        let _ = database.told(failed());
        database
            .watched(sleep(HICCUP_MAX * 2), |is_away| told.borrow_mut().push(is_away))
            .await;
        assert_eq!(*told.borrow(), [true, false, true]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hears_nothing_means_that_the_database_is_away_until_something_is_heard() {
        let database = Database::default();
        let slow = async {
            sleep(SILENCE_MAX * 2).await;
            Ok(())
        };
        let looked = async {
            database.heard(slow).await.unwrap();
        };
        let between = async {
            sleep(SILENCE_MAX * 3 / 2).await;
            assert!(database.is_away.load(Ordering::SeqCst));
        };
        tokio::join!(looked, between);
        assert!(!database.is_away.load(Ordering::SeqCst));
    }
}
