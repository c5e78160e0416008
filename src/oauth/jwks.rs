//! Key sets (RFC 7517) as far as they serve to verify ID tokens: public keys of known kinds, strong enough, by key id.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse},
};
use serde_json::Value;

use super::declaration::Object;

/// Most keys looked at; a set with more is a mistake or worse.
const KEYS_MAX: usize = 64;
/// RFC 7518 3.3: 2048 bits.
const RSA_MODULUS_MIN_BYTES: usize = 256;

/// A key set.
pub(super) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    /// What the set says it is for, if it does.
    algorithm: Option<KeyAlgorithm>,
    /// What it can be used for.
    usable_for: &'static [Algorithm],
    key: DecodingKey,
}

/// Why there is no one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// None fits: the set may be out of date.
    Unknown,
    /// The token names none, and several fit.
    Ambiguous,
}

impl KeySet {
    /// Reads a set, leaving out what is of no use here: encryption keys, shared secrets, unknown curves, weak keys.
    pub(super) fn read(document: &Object) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?;
        Some(Self(keys.iter().take(KEYS_MAX).filter_map(Key::read).collect()))
    }

    /// The key for a token with this header. The id is only ever compared: whatever it holds reaches nothing else.
    pub(super) fn select(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&DecodingKey, NoKey> {
        let mut fitting = self.0.iter().filter(|key| {
            key.usable_for.contains(&algorithm)
                && key
                    .algorithm
                    .is_none_or(|declared| declared == KeyAlgorithm::from(algorithm))
                && (id.is_none() || key.id.as_deref() == id)
        });
        match (fitting.next(), fitting.next()) {
            (None, _) => Err(NoKey::Unknown),
            (Some(key), None) => Ok(&key.key),
            (Some(_), Some(_)) => Err(NoKey::Ambiguous),
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if matches!(
            jwk.common.public_key_use,
            Some(PublicKeyUse::Encryption | PublicKeyUse::Other(_))
        ) {
            return None;
        }
        let usable_for: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                &[Algorithm::ES256]
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let strong = match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, .. } => {
                n.iter().skip_while(|&&byte| byte == 0).count() >= RSA_MODULUS_MIN_BYTES
            }
            DecodingKeyKind::SecretOrDer(_) => key.family() != AlgorithmFamily::Hmac,
        };
        strong.then_some(Self {
            id: jwk.common.key_id,
            algorithm: jwk.common.key_algorithm,
            usable_for,
            key,
        })
    }
}
