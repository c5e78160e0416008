//! Who waits for a call to a provider, most urgent first. Pure, bounded, and cheap per entry: a backlog of tens of
//! thousands of overdue accounts is this map and nothing else.
//!
//! People and services that wait go first, in the order they came; behind them refreshes that nobody waits for, the token
//! that ends soonest first. Nobody starves: every [`BACKGROUND_SHARE`]th call is for the background, and there a later
//! end never overtakes an earlier one.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::Timestamp;

/// Entries that may wait. Each keeps its account awake (some 10 KB), so this is 160 MB at the most; whoever is sent away
/// comes again by its own timer.
pub(super) const BACKLOG_MAX: usize = 16_384;
/// One call in so many is for the background while others wait too.
const BACKGROUND_SHARE: u32 = 10;

/// What is to be called for, and how urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Which account, where there is one.
    pub(crate) account: Option<Uuid>,
    /// Until when somebody waits for it; `None`: nobody does.
    pub(crate) waited_for_until: Option<Instant>,
    /// When the token at hand ends.
    pub(crate) ends_at: Timestamp,
    /// Whether it failed before and is tried again by itself: such calls have a budget of their own.
    pub(crate) is_retry: bool,
}

impl Wish {
    /// Somebody waits for it.
    pub(crate) fn waited_for(account: Option<Uuid>, until: Instant) -> Self {
        Self {
            account,
            waited_for_until: Some(until),
            ends_at: Timestamp::MIN,
            is_retry: false,
        }
    }
}

/// Those who wait.
#[derive(Debug)]
pub(super) struct Backlog<T> {
    waited_for: BTreeMap<u64, Entry<T>>,
    background: BTreeMap<(Timestamp, u64), Entry<T>>,
    /// Where an account of the background is, to hurry it.
    places: HashMap<Uuid, (Timestamp, u64)>,
    arrivals: u64,
    /// Calls in a row that were waited for while the background had some too.
    streak: u32,
    max: usize,
}

#[derive(Debug)]
struct Entry<T> {
    wish: Wish,
    who: T,
}

// === impl Backlog ===

impl<T> Backlog<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            waited_for: BTreeMap::new(),
            background: BTreeMap::new(),
            places: HashMap::new(),
            arrivals: 0,
            streak: 0,
            max,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waited_for.len() + self.background.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waited_for.is_empty() && self.background.is_empty()
    }

    /// How many are waited for by somebody.
    pub(super) fn waited_for(&self) -> usize {
        self.waited_for.len()
    }

    /// Adds one. If there is no room, whoever is the least urgent is given back.
    pub(super) fn push(&mut self, wish: Wish, who: T) -> Option<T> {
        self.arrivals += 1;
        let entry = Entry { wish, who };
        if wish.waited_for_until.is_some() {
            self.waited_for.insert(self.arrivals, entry);
        } else {
            self.keep_in_background(entry, self.arrivals);
        }
        if self.len() <= self.max {
            return None;
        }
        if let Some((_, last)) = self.background.pop_last() {
            self.forget_place(&last.wish);
            return Some(last.who);
        }
        self.waited_for.pop_last().map(|(_, last)| last.who)
    }

    fn keep_in_background(&mut self, entry: Entry<T>, arrival: u64) {
        let place = (entry.wish.ends_at, arrival);
        if let Some(account) = entry.wish.account {
            self.places.insert(account, place);
        }
        self.background.insert(place, entry);
    }

    fn forget_place(&mut self, wish: &Wish) {
        if let Some(account) = wish.account {
            self.places.remove(&account);
        }
    }

    /// Somebody waits for this account now.
    pub(super) fn hurry(&mut self, account: Uuid, until: Instant) {
        let Some(place) = self.places.remove(&account) else {
            return;
        };
        if let Some(mut entry) = self.background.remove(&place) {
            entry.wish.waited_for_until = Some(until);
            entry.wish.is_retry = false;
            self.arrivals += 1;
            self.waited_for.insert(self.arrivals, entry);
        }
    }

    /// Takes the most urgent one. One that nobody waits for any more goes back among the others first.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Wish, T)> {
        let is_background_due = self.streak + 1 >= BACKGROUND_SHARE && !self.background.is_empty();
        if !is_background_due {
            while let Some((arrival, mut entry)) = self.waited_for.pop_first() {
                if entry.wish.waited_for_until.is_some_and(|until| until > now) {
                    self.streak = if self.background.is_empty() {
                        0
                    } else {
                        self.streak + 1
                    };
                    return Some((entry.wish, entry.who));
                }
                entry.wish.waited_for_until = None;
                self.keep_in_background(entry, arrival);
            }
        }
        self.streak = 0;
        let (_, entry) = self.background.pop_first()?;
        self.forget_place(&entry.wish);
        Some((entry.wish, entry.who))
    }

    /// Takes everybody, most urgent first.
    pub(super) fn take_all(&mut self) -> Vec<T> {
        let waited_for = std::mem::take(&mut self.waited_for).into_values();
        waited_for
            .map(|entry| entry.who)
            .chain(self.take_background())
            .collect()
    }

    /// Takes those nobody waits for.
    pub(super) fn take_background(&mut self) -> Vec<T> {
        self.places.clear();
        let background = std::mem::take(&mut self.background).into_values();
        background.map(|entry| entry.who).collect()
    }
}

#[cfg(test)]
#[path = "backlog_tests.rs"]
mod tests;
