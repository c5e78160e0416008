//! Documents fetched once and shared: key sets, and the discovery documents that name them.
//!
//! One caller fetches. A document that has grown old is fetched again; if that fails the old one stands, because metadata
//! being down must not stop what does not need it. Nothing waits for a fetch that has what it needs, and a document that
//! is of no use replaces none that is.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use jiff::{SignedDuration, Timestamp};
use url::Url;

/// How one kind of document is kept.
pub(crate) struct Rules<T> {
    /// Older than this it is fetched again.
    pub(crate) max_age: SignedDuration,
    /// How long after a fetch out of turn, or one that failed, the next may come: a stream of tokens with invented key ids
    /// does not become a stream of requests.
    pub(crate) again_after: SignedDuration,
    /// Whether it is of use. What is of none replaces only what is of none.
    pub(crate) is_of_use: fn(&T) -> bool,
}

impl<T> Clone for Rules<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Rules<T> {}

/// One document.
pub(crate) struct Cached<T> {
    rules: Rules<T>,
    kept: RwLock<Option<Kept<T>>>,
    /// Held while fetching.
    attempts: tokio::sync::Mutex<Attempts>,
}

struct Kept<T> {
    document: Arc<T>,
    fetched_at: Timestamp,
}

#[derive(Default)]
struct Attempts {
    failed_at: Option<Timestamp>,
    out_of_turn_at: Option<Timestamp>,
}

impl<T> Cached<T> {
    pub(crate) fn new(rules: Rules<T>) -> Self {
        Self {
            rules,
            kept: RwLock::new(None),
            attempts: tokio::sync::Mutex::default(),
        }
    }

    /// The document, from memory or fetched.
    pub(crate) async fn get<E, F>(&self, now: Timestamp, fetch: F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let old = match self.kept(now) {
            Some((document, age)) if age < self.rules.max_age => return Ok(document),
            kept => kept.map(|(document, _)| document),
        };
        let mut attempts = match &old {
            None => self.attempts.lock().await,
            Some(old) => match self.attempts.try_lock() {
                Ok(attempts) => attempts,
                // Somebody is fetching it.
                Err(_) => return Ok(old.clone()),
            },
        };
        match (self.kept(now), old) {
            // Whoever was before us has brought it.
            (Some((document, age)), _) if age < self.rules.max_age => return Ok(document),
            (_, Some(old)) if self.is_too_soon(attempts.failed_at, now) => return Ok(old),
            _ => {}
        }
        match fetch.await {
            Ok(document) => Ok(self.keep(document, now)),
            Err(error) => {
                attempts.failed_at = Some(now);
                self.kept(now).map(|(document, _)| document).ok_or(error)
            }
        }
    }

    /// The document fetched out of turn, because `seen` did not suffice; `None`: too soon after the last time.
    pub(crate) async fn again<E, F>(
        &self,
        seen: &Arc<T>,
        now: Timestamp,
        fetch: F,
    ) -> Option<Result<Arc<T>, E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut attempts = self.attempts.lock().await;
        if let Some((document, _)) = self.kept(now)
            && !Arc::ptr_eq(&document, seen)
        {
            return Some(Ok(document));
        }
        if self.is_too_soon(attempts.out_of_turn_at, now) {
            return None;
        }
        attempts.out_of_turn_at = Some(now);
        Some(fetch.await.map(|document| self.keep(document, now)))
    }

    /// How long ago it was fetched.
    pub(crate) fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.kept(now).map(|(_, age)| age)
    }

    fn kept(&self, now: Timestamp) -> Option<(Arc<T>, SignedDuration)> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref()?;
        Some((kept.document.clone(), now.duration_since(kept.fetched_at)))
    }

    fn is_too_soon(&self, last: Option<Timestamp>, now: Timestamp) -> bool {
        last.is_some_and(|last| now.duration_since(last) < self.rules.again_after)
    }

    /// The document that stands from now on.
    fn keep(&self, document: T, now: Timestamp) -> Arc<T> {
        let is_of_use = self.rules.is_of_use;
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        match kept.as_ref() {
            Some(old) if is_of_use(&old.document) && !is_of_use(&document) => old.document.clone(),
            _ => {
                let document = Arc::new(document);
                *kept = Some(Kept {
                    document: document.clone(),
                    fetched_at: now,
                });
                document
            }
        }
    }
}

/// Documents of one kind, by address. The addresses come from configuration and discovery only, so their number is bounded.
pub(crate) struct CachedByUrl<T> {
    rules: Rules<T>,
    slots: Mutex<HashMap<Url, Arc<Cached<T>>>>,
}

impl<T> CachedByUrl<T> {
    pub(crate) fn new(rules: Rules<T>) -> Self {
        Self {
            rules,
            slots: Mutex::default(),
        }
    }

    /// What is kept of this address.
    pub(crate) fn at(&self, url: &Url) -> Arc<Cached<T>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots
            .entry(url.clone())
            .or_insert_with(|| Arc::new(Cached::new(self.rules)));
        slot.clone()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio_util::task::TaskTracker;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn cached() -> Cached<u32> {
        Cached::new(Rules {
            max_age: SignedDuration::from_secs(60),
            again_after: SignedDuration::from_secs(30),
            is_of_use: |value| *value > 0,
        })
    }

    async fn good(value: u32) -> Result<u32, ()> {
        Ok(value)
    }

    async fn bad() -> Result<u32, ()> {
        Err(())
    }

    async fn not_asked() -> Result<u32, ()> {
        panic!("must not be fetched")
    }

    #[tokio::test]
    async fn an_old_document_stands_while_a_new_one_cannot_be_had() {
        let cache = cached();
        assert!(cache.get(at(0), bad()).await.is_err());
        assert_eq!(*cache.get(at(0), good(1)).await.unwrap(), 1);
        assert_eq!(*cache.get(at(59), not_asked()).await.unwrap(), 1);
        assert_eq!(*cache.get(at(60), bad()).await.unwrap(), 1);
        assert_eq!(*cache.get(at(89), not_asked()).await.unwrap(), 1);
        assert_eq!(*cache.get(at(90), good(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_fetch_out_of_turn_is_rate_limited() {
        let cache = cached();
        let seen = cache.get(at(0), good(1)).await.unwrap();
        let seen = cache.again(&seen, at(0), good(2)).await.unwrap().unwrap();
        assert_eq!(*seen, 2);
        assert!(cache.again(&seen, at(29), not_asked()).await.is_none());
        assert_eq!(*cache.again(&seen, at(30), good(3)).await.unwrap().unwrap(), 3);
        assert_eq!(*cache.get(at(31), not_asked()).await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_document_of_no_use_replaces_none_that_is() {
        let cache = cached();
        let seen = cache.get(at(0), good(0)).await.unwrap();
        assert_eq!(*seen, 0, "it is all there is");
        let seen = cache.again(&seen, at(1), good(1)).await.unwrap().unwrap();
        assert_eq!(*cache.again(&seen, at(40), good(0)).await.unwrap().unwrap(), 1);
        assert_eq!(*cache.get(at(120), good(0)).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn what_is_known_is_not_waited_for_while_something_is_looked_up() {
        let cache = Arc::new(cached());
        let seen = cache.get(at(0), good(1)).await.unwrap();
        let (arrive, arrives) = oneshot::channel();
        let (shared, looked_at) = (cache.clone(), seen.clone());
        let look_up = TaskTracker::new().spawn(async move {
            let fetch = async { arrives.await.map_err(|_| ()) };
            shared.again(&looked_at, at(1), fetch).await
        });
        while cache.attempts.try_lock().is_ok() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*cache.get(at(2), not_asked()).await.unwrap(), 1);
        assert_eq!(
            *cache.get(at(100), not_asked()).await.unwrap(),
            1,
            "also when it has grown old"
        );
        arrive.send(2).unwrap();
        assert_eq!(*look_up.await.unwrap().unwrap().unwrap(), 2);
        let found = cache.again(&seen, at(3), not_asked()).await.unwrap().unwrap();
        assert_eq!(*found, 2, "whoever waited takes what was brought");
    }
}
