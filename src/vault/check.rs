//! Key check values: a constant sealed by each master key and kept in the database, so that a wrong key under a known id
//! is told at start, before any user's row is touched.

use ring::rand::SystemRandom;

use super::{
    aad,
    envelope::{self, Envelope, Header},
    keyring::Keyring,
};

/// What is sealed. Known to all: it proves a key and protects nothing.
const CONSTANT: &[u8] = b"oauth-manager key check 1";

/// A key that does not prove itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyCheckError {
    /// No such key is configured, though something was sealed with one.
    #[error("encryption key {0} is not configured, but it is in use")]
    Unknown(String),
    /// A key of this id is configured, but it is another key.
    #[error("encryption key {0} is not the key that was used under this id before")]
    WrongKey(String),
    /// The check value could not be made.
    #[error("a check value for encryption key {0} could not be made")]
    NotMade(String),
}

/// Makes the check value of a configured key.
///
/// # Errors
/// The key is not configured.
pub fn make(keyring: &Keyring, key_id: &str) -> Result<Vec<u8>, KeyCheckError> {
    let key = keyring
        .find(key_id)
        .ok_or_else(|| KeyCheckError::Unknown(key_id.to_owned()))?;
    let header = Header::new(key_id);
    envelope::seal(
        &key.cipher,
        &SystemRandom::new(),
        &header,
        &aad::key_check(&header),
        CONSTANT,
    )
    .map_err(|_| KeyCheckError::NotMade(key_id.to_owned()))
}

/// Proves a configured key by the check value made when it was first used.
///
/// # Errors
/// The key is not configured, or it is another key than then.
pub fn verify(keyring: &Keyring, key_id: &str, check_value: &[u8]) -> Result<(), KeyCheckError> {
    let key = keyring
        .find(key_id)
        .ok_or_else(|| KeyCheckError::Unknown(key_id.to_owned()))?;
    let wrong = || KeyCheckError::WrongKey(key_id.to_owned());
    let envelope = Envelope::parse(check_value).map_err(|_| wrong())?;
    // The place is that of the asked-for id, not of the header's: a check value of another key proves nothing.
    let aad = aad::key_check(&Header::new(key_id));
    let plain = envelope.open(&key.cipher, &aad).map_err(|_| wrong())?;
    if plain.as_slice() == CONSTANT {
        Ok(())
    } else {
        Err(wrong())
    }
}
