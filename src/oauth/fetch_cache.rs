//! Documents fetched once and shared: discovery documents and key sets, by address.
//!
//! One caller fetches, the others wait for it. A document that has grown old is fetched again; if that fails the old one
//! stands, because a provider's metadata being down must not stop refreshes that do not need it. The addresses come from
//! configuration and discovery only, so their number is bounded.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{SignedDuration, Timestamp};
use url::Url;

/// Documents of one kind.
pub(super) struct FetchCache<T> {
    max_age: SignedDuration,
    /// How long after a fetch out of turn the next one may come: a stream of tokens with invented key ids does not
    /// become a stream of requests.
    again_after: SignedDuration,
    slots: Mutex<HashMap<Url, Arc<tokio::sync::Mutex<Slot<T>>>>>,
}

struct Slot<T> {
    document: Option<(Arc<T>, Timestamp)>,
    forced_at: Option<Timestamp>,
}

impl<T> FetchCache<T> {
    pub(super) fn new(max_age: SignedDuration, again_after: SignedDuration) -> Self {
        Self {
            max_age,
            again_after,
            slots: Mutex::default(),
        }
    }

    /// The document, from memory or fetched.
    pub(super) async fn get<E, F>(&self, url: &Url, now: Timestamp, fetch: F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let slot = self.slot(url);
        let mut slot = slot.lock().await;
        let present = match &slot.document {
            Some((document, fetched_at)) if now.duration_since(*fetched_at) < self.max_age => {
                return Ok(document.clone());
            }
            present => present.as_ref().map(|(document, _)| document.clone()),
        };
        match fetch.await {
            Ok(document) => Ok(slot.keep(document, now)),
            Err(error) => present.ok_or(error),
        }
    }

    /// The document fetched out of turn, because what was in memory did not suffice; `None`: too soon after the last
    /// time.
    pub(super) async fn again<E, F>(&self, url: &Url, now: Timestamp, fetch: F) -> Option<Result<Arc<T>, E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let slot = self.slot(url);
        let mut slot = slot.lock().await;
        if slot
            .forced_at
            .is_some_and(|last| now.duration_since(last) < self.again_after)
        {
            return None;
        }
        slot.forced_at = Some(now);
        Some(fetch.await.map(|document| slot.keep(document, now)))
    }

    fn slot(&self, url: &Url) -> Arc<tokio::sync::Mutex<Slot<T>>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = || {
            Arc::new(tokio::sync::Mutex::new(Slot {
                document: None,
                forced_at: None,
            }))
        };
        slots.entry(url.clone()).or_insert_with(empty).clone()
    }
}

impl<T> Slot<T> {
    fn keep(&mut self, document: T, now: Timestamp) -> Arc<T> {
        let document = Arc::new(document);
        self.document = Some((document.clone(), now));
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[tokio::test]
    async fn an_old_document_stands_while_a_new_one_cannot_be_had() {
        let cache = FetchCache::new(SignedDuration::from_secs(60), SignedDuration::from_secs(30));
        let url: Url = "https://id.example.com/keys".parse().unwrap();
        let good = |value: u32| async move { Ok::<_, ()>(value) };
        let bad = || async { Err::<u32, _>(()) };

        assert!(cache.get(&url, at(0), bad()).await.is_err());
        assert_eq!(*cache.get(&url, at(0), good(1)).await.unwrap(), 1);
        assert_eq!(*cache.get(&url, at(59), good(2)).await.unwrap(), 1);
        assert_eq!(*cache.get(&url, at(60), bad()).await.unwrap(), 1);
        assert_eq!(*cache.get(&url, at(60), good(2)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_fetch_out_of_turn_is_rate_limited() {
        let cache = FetchCache::new(SignedDuration::from_secs(60), SignedDuration::from_secs(30));
        let url: Url = "https://id.example.com/keys".parse().unwrap();
        let good = |value: u32| async move { Ok::<_, ()>(value) };
        assert_eq!(*cache.again(&url, at(0), good(1)).await.unwrap().unwrap(), 1);
        assert!(cache.again(&url, at(29), good(2)).await.is_none());
        assert_eq!(*cache.again(&url, at(30), good(3)).await.unwrap().unwrap(), 3);
        assert_eq!(*cache.get(&url, at(31), good(4)).await.unwrap(), 3);
    }
}
