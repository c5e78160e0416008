//! The secrets this node has lately put into links and states, so that whoever brings one is told from whoever makes one
//! up without asking the database. Nothing depends on it but how soon a stray is refused.
//!
//! Only hashes are kept, under a key of this process: whoever could read them would learn nothing they could use.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    sync::{Mutex, PoisonError},
};

/// Half of what is kept: more than all flows a node begins in the time they have.
const GENERATION_MAX: usize = 64 * 1024;

/// The hashes. What is new stays for at least one generation.
#[derive(Debug, Default)]
pub(crate) struct Made {
    key: RandomState,
    hashes: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Made {
    /// Keeps this one.
    pub(crate) fn hold(&self, secret: &str) {
        let hash = self.key.hash_one(secret);
        let mut hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        if hashes.young.len() >= GENERATION_MAX {
            hashes.old = std::mem::take(&mut hashes.young);
        }
        hashes.young.insert(hash);
    }

    /// Whether it is kept.
    pub(crate) fn holds(&self, secret: &str) -> bool {
        let hash = self.key.hash_one(secret);
        let hashes = self.hashes.lock().unwrap_or_else(PoisonError::into_inner);
        hashes.young.contains(&hash) || hashes.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_known_and_no_more_than_so_many_are_kept() {
        let made = Made::default();
        for number in 0..GENERATION_MAX * 3 {
            made.hold(&number.to_string());
        }
        let last = GENERATION_MAX * 3 - 1;
        assert!((last - GENERATION_MAX / 2..=last).all(|number| made.holds(&number.to_string())));
        assert!(!made.holds("0") && !made.holds("made up"));
        let kept = made.hashes.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION_MAX);
    }
}
