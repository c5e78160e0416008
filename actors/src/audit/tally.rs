//! Hand-outs counted without a message: the second and all further ones of a minute, to the same client, from the same
//! account. The first of each minute goes to the sink, which opens the tally; when it writes the rest of that minute it
//! closes the tally, and whoever comes later goes to the sink again. So each is counted exactly once.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use uuid::Uuid;

use crate::domain::scope::ScopeSet;

const CLOSED: u64 = 1 << 63;

/// Who received what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TallyKey {
    /// The service client.
    pub(crate) client: Uuid,
    /// The account.
    pub(crate) integration: Uuid,
}

/// One minute's count.
#[derive(Debug)]
pub(crate) struct Tally {
    minute: i64,
    scopes: ScopeSet,
    count: AtomicU64,
}

/// The open tallies. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tallies(Arc<RwLock<HashMap<TallyKey, Arc<Tally>>>>);

// === impl Tally ===

impl Tally {
    fn add(&self) -> bool {
        let open = |count: u64| (count & CLOSED == 0).then(|| count + 1);
        self.count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, open)
            .is_ok()
    }

    /// What was counted so far; counting goes on from nothing.
    pub(super) fn take(&self) -> u32 {
        let open = |count: u64| (count & CLOSED == 0).then_some(0);
        let taken = self.count.fetch_update(Ordering::AcqRel, Ordering::Acquire, open);
        u32::try_from(taken.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    /// Nothing is counted here any more; what was.
    pub(super) fn close(&self) -> u32 {
        let count = self.count.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED;
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

// === impl Tallies ===

impl Tallies {
    /// Counts one hand-out of these scopes in this minute. `false`: there is no tally for it; tell the sink.
    pub(crate) fn count(&self, key: &TallyKey, minute: i64, scopes: &ScopeSet) -> bool {
        let tallies = self.0.read().unwrap_or_else(PoisonError::into_inner);
        tallies
            .get(key)
            .is_some_and(|tally| tally.minute == minute && tally.scopes == *scopes && tally.add())
    }

    /// Opens a tally in place of any that is there, which its owner closes.
    pub(super) fn open(&self, key: TallyKey, minute: i64, scopes: ScopeSet) -> Arc<Tally> {
        let tally = Arc::new(Tally {
            minute,
            scopes,
            count: AtomicU64::new(0),
        });
        self.write().insert(key, Arc::clone(&tally));
        tally
    }

    /// Forgets a tally that was closed, unless another has taken its place.
    pub(super) fn forget(&self, key: &TallyKey, tally: &Arc<Tally>) {
        let mut tallies = self.write();
        if tallies
            .get(key)
            .is_some_and(|present| Arc::ptr_eq(present, tally))
        {
            tallies.remove(key);
        }
    }

    /// Closes and forgets all: whoever kept them is gone.
    pub(super) fn close_all(&self) {
        for (_, tally) in self.write().drain() {
            tally.close();
        }
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<TallyKey, Arc<Tally>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: TallyKey = TallyKey {
        client: Uuid::nil(),
        integration: Uuid::max(),
    };

    #[test]
    fn what_is_counted_is_what_closing_tells_and_nothing_is_counted_afterwards() {
        let (tallies, read) = (Tallies::default(), ScopeSet::from_iter(["read"]));
        assert!(!tallies.count(&KEY, 7, &read), "nobody keeps one yet");
        let tally = tallies.open(KEY, 7, read.clone());
        assert!(tallies.count(&KEY, 7, &read) && tallies.count(&KEY, 7, &read));
        assert!(!tallies.count(&KEY, 8, &read), "another minute");
        assert!(
            !tallies.count(&KEY, 7, &ScopeSet::from_iter(["read", "write"])),
            "other scopes"
        );
        assert_eq!(tally.take(), 2);
        assert!(tallies.count(&KEY, 7, &read), "counting goes on");
        assert!(tallies.count(&KEY, 7, &read));
        assert_eq!(tally.close(), 2);
        assert_eq!(tally.take(), 0, "what is closed is its closer's");
        assert!(!tallies.count(&KEY, 7, &read));
        assert_eq!(tally.close(), 2, "closing twice tells the same");
    }

    #[test]
    fn callers_at_once_are_all_counted_or_sent_to_the_sink() {
        let tallies = Tallies::default();
        let tally = tallies.open(KEY, 0, ScopeSet::default());
        let counted: u32 = std::thread::scope(|scope| {
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        (0..10_000)
                            .map(|_| u32::from(tallies.count(&KEY, 0, &ScopeSet::default())))
                            .sum::<u32>()
                    })
                })
                .collect();
            let closed = tally.close();
            let counted: u32 = callers.into_iter().map(|caller| caller.join().unwrap()).sum();
            assert_eq!(closed, counted);
            counted
        });
        assert!(counted <= 40_000);
    }
}
