//! The application's published keys (RFC 7517): fetched when needed, kept, fetched again when a token names a key that is
//! not among them, but never more often than forged key ids could make us.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use oauth_manager_actors::domain::Timestamp;
use tokio::sync::Mutex;

use crate::http::Now;

/// A key that was withdrawn is believed at most this much longer.
const AGE_SECS_MAX: i64 = 10 * 60;
/// Between two fetches that an unknown key id asked for.
const REFETCH_SECS_MIN: i64 = 30;
/// Between two fetches while there is no key at all: users wait for it.
const FIRST_FETCH_SECS_MIN: i64 = 2;
/// A fetch that takes longer is given up.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Shortest RSA modulus accepted, in bytes (2048 bit; RFC 7518 3.3).
const RSA_MODULUS_BYTES_MIN: usize = 256;
/// More keys than anybody publishes.
const KEYS_MAX: usize = 64;

/// Fetches the key set. Implemented where there is an HTTP client: bounded, without redirects.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The key set as published (RFC 7517 5).
    async fn fetch(&self) -> Result<serde_json::Value, KeySourceError>;
}

/// The key set could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key set could not be fetched: {0}")]
pub struct KeySourceError(pub String);

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyFault {
    /// It is not among the published ones.
    Unknown,
    /// The published ones are not known.
    Unavailable {
        /// When it is tried again.
        retry_after: Duration,
    },
}

struct PublishedKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

struct KeySet {
    keys: Vec<PublishedKey>,
    fetched_at: Timestamp,
}

/// The keys, kept.
pub(super) struct Jwks {
    source: Option<Arc<dyn KeySource>>,
    now: Now,
    current: RwLock<Option<Arc<KeySet>>>,
    /// When it was last tried. Held while fetching: one fetch at a time, and the others take what it brings.
    last_attempt: Mutex<Option<Timestamp>>,
}

impl Jwks {
    pub(super) fn new(source: Option<Arc<dyn KeySource>>, now: Now) -> Self {
        Self {
            source,
            now,
            current: RwLock::new(None),
            last_attempt: Mutex::new(None),
        }
    }

    /// The key of this id for this algorithm.
    pub(super) async fn key(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<DecodingKey>, KeyFault> {
        if let Some(set) = self.current()
            && self.age_secs(set.fetched_at) < AGE_SECS_MAX
            && let Some(key) = set.find(id, algorithm)
        {
            return Ok(key);
        }
        self.refetch().await;
        match self.current() {
            // An old set is better than none while the application cannot be reached.
            Some(set) => set.find(id, algorithm).ok_or(KeyFault::Unknown),
            None => Err(KeyFault::Unavailable {
                retry_after: Duration::from_secs(FIRST_FETCH_SECS_MIN.unsigned_abs()),
            }),
        }
    }

    fn current(&self) -> Option<Arc<KeySet>> {
        self.current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn age_secs(&self, at: Timestamp) -> i64 {
        (self.now)().duration_since(at).as_secs()
    }

    async fn refetch(&self) {
        let Some(source) = &self.source else {
            return;
        };
        let mut last_attempt = self.last_attempt.lock().await;
        let wait = if self.current().is_some() {
            REFETCH_SECS_MIN
        } else {
            FIRST_FETCH_SECS_MIN
        };
        if last_attempt.is_some_and(|at| self.age_secs(at) < wait) {
            return;
        }
        *last_attempt = Some((self.now)());
        match tokio::time::timeout(FETCH_TIMEOUT, source.fetch()).await {
            Ok(Ok(document)) => {
                let set = KeySet {
                    keys: read(&document),
                    fetched_at: (self.now)(),
                };
                tracing::debug!(keys = set.keys.len(), "fetched the application's key set");
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
            }
            Ok(Err(error)) => tracing::warn!(%error, "users' tokens may not be checked"),
            Err(_elapsed) => tracing::warn!("fetching the application's key set took too long"),
        }
    }
}

impl KeySet {
    /// By id; a token without one is checked only where there is no choice.
    fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
        let mut fitting = self
            .keys
            .iter()
            .filter(|key| key.algorithm == algorithm && (id.is_none() || key.id.as_deref() == id));
        let first = fitting.next()?;
        fitting.next().is_none().then(|| Arc::clone(&first.key))
    }
}

/// The keys we can use; one that is not understood does not spoil the others.
fn read(document: &serde_json::Value) -> Vec<PublishedKey> {
    let keys = document.get("keys").and_then(|keys| keys.as_array());
    keys.into_iter()
        .flatten()
        .take(KEYS_MAX)
        .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
        .filter_map(usable)
        .collect()
}

/// A key's type decides its one algorithm. Symmetric keys are never published, and so never taken.
fn usable(jwk: Jwk) -> Option<PublishedKey> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if rsa.n.len() * 3 / 4 >= RSA_MODULUS_BYTES_MIN => {
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let for_signatures = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    let for_this = jwk
        .common
        .key_algorithm
        .is_none_or(|algorithm| algorithm == named);
    if !for_signatures || !for_this {
        return None;
    }
    let key = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
    Some(PublishedKey {
        id: jwk.common.key_id,
        algorithm,
        key,
    })
}
