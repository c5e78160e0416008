//! The keyring: the master keys that wrap data keys. The first is active and wraps everything new; the others only open
//! what they wrapped before, until rotation has moved it.
//!
//! Keys arrive in wiped-on-drop buffers and are turned at once into prepared cipher keys, so that no use pays for the key
//! schedule. The prepared form lives as long as the process and is not wiped by its library.

use std::{collections::BTreeSet, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

/// Bytes of a key: AES-256.
pub const KEY_BYTES: usize = 32;
/// Longest key id: it stands in the header of every sealed value.
pub const KEY_ID_BYTES_MAX: usize = 32;
/// Fewest different bytes of a key that can be believed to be random: 32 random ones have 28 or more in practice.
const DISTINCT_BYTES_MIN: usize = 16;

/// A keyring that cannot be used. The service does not start with one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// There is no key at all.
    #[error("no encryption key is configured")]
    Empty,
    /// An id that does not fit the header or could break a log line.
    #[error("encryption key id {0:?} is not of 1 to 32 letters, digits, '.', '_' and '-'")]
    InvalidId(String),
    /// Two keys of one id: which one is meant?
    #[error("encryption key id {0} is given twice")]
    DuplicateId(String),
    /// All zero, a pattern, a sample: nobody generated this.
    #[error("encryption key {0} is not random; make one with `oauth-manager keys generate`")]
    Weak(String),
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// One master key, ready for use.
pub(super) struct MasterKey {
    pub(super) id: String,
    pub(super) cipher: LessSafeKey,
}

/// The configured keys, the active one first.
pub struct Keyring {
    active: MasterKey,
    retired: Vec<MasterKey>,
}

impl Keyring {
    /// Takes the configured keys in, the active one first.
    ///
    /// # Errors
    /// There is none, an id is malformed or doubled, or a key is plainly not random.
    pub fn new(keys: Vec<(String, Zeroizing<[u8; KEY_BYTES]>)>) -> Result<Self, KeyringError> {
        let mut seen = BTreeSet::new();
        let mut prepared = Vec::with_capacity(keys.len());
        for (id, key) in keys {
            if !seen.insert(id.clone()) {
                return Err(KeyringError::DuplicateId(id));
            }
            prepared.push(prepare(id, &key)?);
        }
        let mut prepared = prepared.into_iter();
        let active = prepared.next().ok_or(KeyringError::Empty)?;
        Ok(Self {
            active,
            retired: prepared.collect(),
        })
    }

    /// The id of the key that wraps everything new.
    pub fn active_id(&self) -> &str {
        &self.active.id
    }

    /// Every configured id, the active one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.all().map(|key| key.id.as_str())
    }

    pub(super) fn active(&self) -> &MasterKey {
        &self.active
    }

    pub(super) fn find(&self, id: &str) -> Option<&MasterKey> {
        self.all().find(|key| key.id == id)
    }

    fn all(&self) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.active).chain(&self.retired)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keyring")
            .field(&self.ids().collect::<Vec<_>>())
            .finish()
    }
}

/// A new random key in base64, as configuration takes it.
///
/// # Errors
/// The operating system gave no randomness.
pub fn generate() -> Result<Zeroizing<String>, KeyringError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    SystemRandom::new()
        .fill(key.as_mut_slice())
        .map_err(|_| KeyringError::NoRandomness)?;
    Ok(Zeroizing::new(STANDARD.encode(key.as_slice())))
}

fn prepare(id: String, key: &[u8; KEY_BYTES]) -> Result<MasterKey, KeyringError> {
    let well_formed = !id.is_empty()
        && id.len() <= KEY_ID_BYTES_MAX
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if !well_formed {
        return Err(KeyringError::InvalidId(id));
    }
    if is_weak(key) {
        return Err(KeyringError::Weak(id));
    }
    let Ok(unbound) = UnboundKey::new(&AES_256_GCM, key) else {
        return Err(KeyringError::Weak(id));
    };
    Ok(MasterKey {
        id,
        cipher: LessSafeKey::new(unbound),
    })
}

/// Whether a key is a constant, a short pattern or an evenly rising sequence: samples that get copied from somewhere.
fn is_weak(key: &[u8; KEY_BYTES]) -> bool {
    let distinct: BTreeSet<u8> = key.iter().copied().collect();
    let steps: BTreeSet<u8> = key
        .iter()
        .zip(&key[1..])
        .map(|(a, b)| b.wrapping_sub(*a))
        .collect();
    distinct.len() < DISTINCT_BYTES_MIN || steps.len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, bytes: [u8; KEY_BYTES]) -> (String, Zeroizing<[u8; KEY_BYTES]>) {
        (id.to_owned(), Zeroizing::new(bytes))
    }

    fn random() -> [u8; KEY_BYTES] {
        let text = generate().unwrap();
        STANDARD.decode(text.as_bytes()).unwrap().try_into().unwrap()
    }

    #[test]
    fn weak_or_default_key_refuses_start() {
        let rising = std::array::from_fn(|i| i as u8);
        let repeated = std::array::from_fn(|i| b"0123456789"[i % 10]);
        for bytes in [[0; 32], [7; 32], rising, repeated] {
            assert_eq!(
                Keyring::new(vec![key("k1", bytes)]).unwrap_err(),
                KeyringError::Weak("k1".into())
            );
        }
    }

    #[test]
    fn a_keyring_without_keys_or_with_doubled_or_malformed_ids_is_refused() {
        assert_eq!(Keyring::new(vec![]).unwrap_err(), KeyringError::Empty);
        assert_eq!(
            Keyring::new(vec![key("a", random()), key("a", random())]).unwrap_err(),
            KeyringError::DuplicateId("a".into())
        );
        for id in ["", "a b", "a\n", &"x".repeat(33)] {
            assert_eq!(
                Keyring::new(vec![key(id, random())]).unwrap_err(),
                KeyringError::InvalidId(id.into())
            );
        }
    }

    #[test]
    fn the_first_key_is_active_and_debug_shows_ids_only() {
        let keyring = Keyring::new(vec![key("new", random()), key("old", random())]).unwrap();
        assert_eq!(keyring.active_id(), "new");
        assert_eq!(format!("{keyring:?}"), r#"Keyring(["new", "old"])"#);
    }
}
