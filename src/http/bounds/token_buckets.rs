//! Token buckets, one for each key: so many a minute, all of them at once if need be. What a key has left is forgotten
//! once many others have come since; it then has all again.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Half of the keys that are remembered: a few megabytes, and more than an attacker can fill without being told so often
/// that the rest does not matter.
const GENERATION_KEYS: usize = 32 * 1024;

/// The buckets.
pub(super) struct TokenBuckets<K> {
    /// How many a full one holds, and how many come in a minute.
    per_minute: f64,
    buckets: Mutex<Generations<K>>,
}

/// Whoever is asked for stays young; who is not, ages with all others and goes.
struct Generations<K> {
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
}

#[derive(Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
    /// It was said that this one is empty.
    is_told: bool,
}

/// There is nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Empty {
    /// When there is something again.
    pub(super) retry_after: Duration,
    /// Nobody was told yet.
    pub(super) is_new: bool,
}

impl<K: Hash + Eq + Clone> TokenBuckets<K> {
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            per_minute: f64::from(per_minute),
            buckets: Mutex::new(Generations {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// Takes one.
    pub(super) fn take(&self, key: &K, now: Instant) -> Result<(), Empty> {
        self.with(key, now, |bucket| {
            if bucket.left < 1.0 {
                return Err(self.empty(bucket));
            }
            bucket.left -= 1.0;
            Ok(())
        })
    }

    /// Whether there is one, without taking it; if not, when there is.
    pub(super) fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket| {
            if bucket.left < 1.0 {
                return Err(self.retry_after(bucket));
            }
            Ok(())
        })
    }

    fn empty(&self, bucket: &mut Bucket) -> Empty {
        Empty {
            retry_after: self.retry_after(bucket),
            is_new: !std::mem::replace(&mut bucket.is_told, true),
        }
    }

    fn retry_after(&self, bucket: &Bucket) -> Duration {
        Duration::from_secs_f64((1.0 - bucket.left) * 60.0 / self.per_minute)
    }

    fn with<R>(&self, key: &K, now: Instant, change: impl FnOnce(&mut Bucket) -> R) -> R {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.of(key).unwrap_or(Bucket {
            left: self.per_minute,
            at: now,
            is_told: false,
        });
        let mut bucket = self.refilled(bucket, now);
        let changed = change(&mut bucket);
        buckets.young.insert(key.clone(), bucket);
        changed
    }

    fn refilled(&self, bucket: Bucket, now: Instant) -> Bucket {
        let came = now.saturating_duration_since(bucket.at).as_secs_f64() / 60.0 * self.per_minute;
        let left = (bucket.left + came).min(self.per_minute);
        Bucket {
            left,
            at: now,
            // Half full again, the next time is another.
            is_told: bucket.is_told && left < self.per_minute / 2.0,
        }
    }
}

impl<K: Hash + Eq + Clone> Generations<K> {
    fn of(&mut self, key: &K) -> Option<Bucket> {
        if let Some(bucket) = self.young.get(key) {
            return Some(*bucket);
        }
        if self.young.len() >= GENERATION_KEYS {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_key_takes_what_there_is_at_once_and_then_as_it_comes() {
        let buckets = TokenBuckets::new(60);
        let now = Instant::now();
        for _ in 0..60 {
            buckets.take(&"a", now).unwrap();
        }
        let empty = buckets.take(&"a", now).unwrap_err();
        assert_eq!((empty.retry_after, empty.is_new), (SECOND, true));
        assert!(!buckets.take(&"a", now).unwrap_err().is_new, "it is said once");
        buckets.take(&"b", now).expect("another has its own");
        assert!(buckets.look(&"a", now + SECOND / 2).is_err());
        buckets.look(&"a", now + SECOND).expect("looking takes nothing");
        buckets.take(&"a", now + SECOND).unwrap();
        assert!(buckets.take(&"a", now + SECOND).is_err());
    }

    #[test]
    fn who_was_quiet_for_a_while_is_told_anew() {
        let buckets = TokenBuckets::new(2);
        let now = Instant::now();
        while buckets.take(&1, now).is_ok() {}
        let later = now + SECOND * 60;
        buckets.take(&1, later).unwrap();
        buckets.take(&1, later).unwrap();
        assert!(buckets.take(&1, later).unwrap_err().is_new);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_who_comes_back_is_not_forgotten() {
        let buckets = TokenBuckets::new(1);
        let now = Instant::now();
        for key in 0..GENERATION_KEYS * 5 {
            let _ = buckets.take(&key, now);
            let _ = buckets.take(&usize::MAX, now);
        }
        assert!(buckets.take(&usize::MAX, now).is_err());
        let kept = buckets.buckets.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= 2 * GENERATION_KEYS + 2);
    }
}
