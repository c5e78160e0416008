//! The application's published keys: fetched when needed, kept, fetched again when a token names a key that is not among
//! them, but never more often than forged key ids could make us.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Algorithm;
use zeroize::Zeroizing;

use super::{Cached, Compact, KeySet, Rules, Signature};

/// A key that was withdrawn is believed at most this much longer.
const MAX_AGE: SignedDuration = SignedDuration::from_mins(10);
/// Between two fetches that an unknown key id asked for.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// Between two fetches while there is no key at all: users wait for it.
const FIRST_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// A fetch that takes longer is given up.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches the document: bounded, without redirects. The error says why there is none, in a word.
pub type Fetch = Box<dyn Fn() -> BoxFuture<'static, Result<Zeroizing<Vec<u8>>, String>> + Send + Sync>;

/// The keys, kept.
pub struct PublishedKeys {
    fetch: Fetch,
    kept: Cached<KeySet>,
    /// When it was last tried with nothing at hand.
    first_tried: Mutex<Option<Timestamp>>,
}

/// Why a token's signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeyFault {
    /// The key it names did not make it.
    Signature,
    /// No published key made it.
    Unknown,
    /// The published ones are not known.
    Unavailable {
        /// When it is tried again.
        retry_after: Duration,
    },
}

impl std::fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishedKeys").finish_non_exhaustive()
    }
}

impl PublishedKeys {
    /// Keys that this fetches.
    pub fn new(fetch: Fetch) -> Self {
        Self {
            fetch,
            kept: Cached::new(Rules {
                max_age: MAX_AGE,
                again_after: AGAIN_AFTER,
                is_of_use: KeySet::is_usable,
            }),
            first_tried: Mutex::new(None),
        }
    }

    /// Whether one of them signed this token.
    pub(crate) async fn check(
        &self,
        token: &Compact<'_>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(), KeyFault> {
        let unavailable = KeyFault::Unavailable {
            retry_after: FIRST_AGAIN_AFTER,
        };
        let set = self
            .kept
            .get(now, self.fetch(now))
            .await
            .map_err(|()| unavailable)?;
        let verdict = match set.check(token, algorithm) {
            Signature::KeyUnknown if !self.is_fresh(now) => {
                match self.kept.again(&set, now, self.fetch(now)).await {
                    Some(Ok(newer)) => newer.check(token, algorithm),
                    Some(Err(())) | None => Signature::KeyUnknown,
                }
            }
            verdict => verdict,
        };
        match verdict {
            Signature::Holds => Ok(()),
            Signature::DoesNotHold => Err(KeyFault::Signature),
            Signature::KeyUnknown => Err(KeyFault::Unknown),
        }
    }

    fn is_fresh(&self, now: Timestamp) -> bool {
        self.kept.age(now).is_some_and(|age| age < AGAIN_AFTER)
    }

    async fn fetch(&self, now: Timestamp) -> Result<KeySet, ()> {
        if self.kept.age(now).is_none() && !self.may_try_first(now) {
            return Err(());
        }
        let document = match tokio::time::timeout(FETCH_TIMEOUT, (self.fetch)()).await {
            Ok(Ok(document)) => document,
            Ok(Err(reason)) => {
                tracing::warn!(
                    reason,
                    "the application's key set could not be fetched; users' tokens may not be checked"
                );
                return Err(());
            }
            Err(_elapsed) => {
                tracing::warn!("fetching the application's key set took too long");
                return Err(());
            }
        };
        let Some(set) = KeySet::read(&document).filter(KeySet::is_usable) else {
            tracing::warn!(
                "what auth.jwks_url answers holds no usable key; the keys known before stay in use"
            );
            return Err(());
        };
        tracing::debug!("fetched the application's key set");
        Ok(set)
    }

    fn may_try_first(&self, now: Timestamp) -> bool {
        let mut last = self.first_tried.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = FIRST_AGAIN_AFTER.as_secs_f64();
        let may = last.is_none_or(|last| now.duration_since(last).as_secs_f64() >= pause);
        if may {
            *last = Some(now);
        }
        may
    }
}
