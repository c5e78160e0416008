//! Key sets (RFC 7517) as far as they serve to check signatures: public keys of known kinds, strong enough.

use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

use super::compact::{Compact, algorithm_named};

/// Most keys looked at; a set with more is a mistake or worse.
const KEYS_MAX: usize = 64;
/// RFC 7518 3.3.
const RSA_MODULUS_BITS_MIN: usize = 2048;

/// The usable keys of a set; there may be none.
pub(crate) struct KeySet {
    keys: Vec<Key>,
    /// How many there were, of use or not.
    published: usize,
}

struct Key {
    id: Option<String>,
    /// What the set says it is for, if it does.
    declared: Option<String>,
    /// What it can be used for.
    usable_for: &'static [Algorithm],
    key: DecodingKey,
}

/// What a set says about a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signature {
    Holds,
    /// The key that the token names says no.
    DoesNotHold,
    /// No key of this set made it: the set may be out of date.
    KeyUnknown,
}

impl KeySet {
    /// Reads a set, leaving out what is of no use here: encryption keys, shared secrets, unknown curves, weak keys. One that
    /// is not understood does not spoil the others. `None`: this is no key set.
    pub(crate) fn read(document: &[u8]) -> Option<Self> {
        // A byte order mark is nobody's data.
        let document = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
        let document: Value = serde_json::from_slice(document).ok()?;
        let keys = document.get("keys")?.as_array()?;
        Some(Self {
            published: keys.len(),
            keys: keys.iter().take(KEYS_MAX).filter_map(Key::read).collect(),
        })
    }

    /// Whether there is a key in it.
    pub(crate) fn is_usable(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whether there are keys in it, and none that could check anything here.
    pub(crate) fn holds_only_unusable_keys(&self) -> bool {
        self.keys.is_empty() && self.published > 0
    }

    /// Tries every key that may have signed this token: those of the id it names; where no key has that id, those that have
    /// none; where it names none, all that fit its algorithm. The id is only ever compared.
    pub(crate) fn check(&self, token: &Compact<'_>, algorithm: Algorithm) -> Signature {
        let fitting = || self.keys.iter().filter(|key| key.fits(algorithm));
        let id = token.header.kid.as_deref();
        let named = id.filter(|id| fitting().any(|key| key.id.as_deref() == Some(*id)));
        let made_it = |key: &Key| token.is_signed_by(&key.key, algorithm);
        let mut candidates = fitting().filter(|key| match (named, id) {
            (Some(id), _) => key.id.as_deref() == Some(id),
            (None, Some(_)) => key.id.is_none(),
            (None, None) => true,
        });
        if candidates.any(made_it) {
            Signature::Holds
        } else if named.is_some() {
            Signature::DoesNotHold
        } else {
            Signature::KeyUnknown
        }
    }
}

impl Key {
    fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        let usable_for: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ],
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                &[Algorithm::ES256]
            }
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => {
                &[Algorithm::ES384]
            }
            AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
                &[Algorithm::EdDSA]
            }
            _ => return None,
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        is_strong(&key).then_some(Self {
            id: jwk.common.key_id,
            declared: value.get("alg").and_then(Value::as_str).map(str::to_owned),
            usable_for,
            key,
        })
    }

    fn fits(&self, algorithm: Algorithm) -> bool {
        let declared = self.declared.as_deref();
        self.usable_for.contains(&algorithm)
            && declared.is_none_or(|declared| algorithm_named(declared) == Some(algorithm))
    }
}

/// Counted in bits that carry something: zeros before a number do not make it longer. With an exponent of one everybody
/// signs.
fn is_strong(key: &DecodingKey) -> bool {
    let DecodingKeyKind::RsaModulusExponent { n, e } = key.kind() else {
        return true;
    };
    let bits = |number: &[u8]| {
        let significant = number.iter().skip_while(|&&byte| byte == 0);
        let first = significant.clone().next().map_or(0, |byte| byte.leading_zeros());
        significant.count() * 8 - first as usize
    };
    bits(n) >= RSA_MODULUS_BITS_MIN && bits(e) >= 2
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn usable(key: &Value) -> bool {
        KeySet::read(json!({ "keys": [key] }).to_string().as_bytes())
            .unwrap()
            .is_usable()
    }

    #[test]
    fn an_rsa_key_is_as_long_as_its_number_however_many_zeros_stand_before_it() {
        let rsa = |zeros: usize, length: usize, first: u8| {
            let mut n = vec![0; zeros];
            n.push(first);
            n.resize(zeros + length, 0xff);
            json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode(n), "e": "AQAB"})
        };
        assert!(usable(&rsa(0, 256, 0x80)));
        assert!(usable(&rsa(1, 256, 0x80)), "one zero is how some write it");
        assert!(!usable(&rsa(192, 64, 0xff)), "512 bits in 256 bytes");
        assert!(!usable(&rsa(0, 256, 0x7f)), "2047 bits");
        assert!(!usable(&rsa(0, 128, 0xff)));
        assert!(!usable(&rsa(300, 0, 0)));
        let mut everybody = rsa(0, 256, 0x80);
        everybody["e"] = json!("AQ");
        assert!(!usable(&everybody), "an exponent of one");
    }

    #[test]
    fn what_is_no_key_set_is_told_from_one_without_keys() {
        for text in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            "\u{feff}",
        ] {
            assert!(KeySet::read(text.as_bytes()).is_none(), "{text}");
        }
        let marked = "\u{feff}{\"keys\":[]}";
        assert!(!KeySet::read(marked.as_bytes()).unwrap().is_usable());
    }
}
