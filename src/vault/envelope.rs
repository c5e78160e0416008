//! The format of everything sealed, version 1:
//!
//! ```text
//! version (1) | length of key id (1) | key id | nonce (12) | ciphertext | tag (16)
//! ```
//!
//! The key id names the master key: of a wrapped data key, the one that wrapped it; of a value, the one that wrapped its
//! data key when the value was sealed (which rotation may have replaced since, so it decides nothing there). The whole
//! header is authenticated. Nonces are random: a data key seals one record's values and a master key wraps data keys, both
//! far below the 2^32 messages that NIST SP 800-38D allows.

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce},
    rand::SecureRandom,
};
use zeroize::Zeroizing;

use oauth_manager_actors::ports::vault::VaultError;

/// The only format so far.
pub(super) const VERSION: u8 = 1;

/// What stands before the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header<'a> {
    pub(super) version: u8,
    pub(super) key_id: &'a str,
}

impl<'a> Header<'a> {
    pub(super) fn new(key_id: &'a str) -> Self {
        Self {
            version: VERSION,
            key_id,
        }
    }
}

/// A sealed value, taken apart but not opened.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) header: Header<'a>,
    nonce: [u8; NONCE_LEN],
    body: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Takes it apart; anything that is not of this format is refused like any other alteration.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, VaultError> {
        let (&version, rest) = bytes.split_first().ok_or(VaultError::Refused)?;
        if version != VERSION {
            return Err(VaultError::Refused);
        }
        let (&length, rest) = rest.split_first().ok_or(VaultError::Refused)?;
        let (key_id, rest) = rest
            .split_at_checked(usize::from(length))
            .ok_or(VaultError::Refused)?;
        let key_id = std::str::from_utf8(key_id).map_err(|_| VaultError::Refused)?;
        let (nonce, body) = rest.split_first_chunk().ok_or(VaultError::Refused)?;
        Ok(Self {
            header: Header { version, key_id },
            nonce: *nonce,
            body,
        })
    }

    /// Opens it where it stands. The buffer is wiped when it is dropped, also when opening fails.
    pub(super) fn open(&self, key: &LessSafeKey, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let mut buffer = Zeroizing::new(self.body.to_vec());
        let nonce = Nonce::assume_unique_for_key(self.nonce);
        let plain_bytes = key
            .open_in_place(nonce, Aad::from(aad), &mut buffer)
            .map_err(|_| VaultError::Refused)?
            .len();
        buffer.truncate(plain_bytes);
        Ok(buffer)
    }
}

/// Seals under a fresh random nonce.
pub(super) fn seal(
    key: &LessSafeKey,
    random: &dyn SecureRandom,
    header: &Header<'_>,
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    random.fill(&mut nonce).map_err(|_| VaultError::Refused)?;
    seal_with(key, nonce, header, aad, plain)
}

/// Seals under this nonce, which must never have been used with this key.
pub(super) fn seal_with(
    key: &LessSafeKey,
    nonce: [u8; NONCE_LEN],
    header: &Header<'_>,
    aad: &[u8],
    plain: &[u8],
) -> Result<Vec<u8>, VaultError> {
    let id_length = u8::try_from(header.key_id.len()).map_err(|_| VaultError::Refused)?;
    let body_at = 2 + header.key_id.len() + NONCE_LEN;
    // Allocated once: a buffer that grew would leave a copy of the plain text behind.
    let mut out = Vec::with_capacity(body_at + plain.len() + AES_256_GCM.tag_len());
    out.extend_from_slice(&[header.version, id_length]);
    out.extend_from_slice(header.key_id.as_bytes());
    out.extend_from_slice(&nonce);
    out.extend_from_slice(plain);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut out[body_at..],
        )
        .map_err(|_| VaultError::Refused)?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}
