//! The vault: seals secrets for exactly one place in the database and opens them nowhere else.
//!
//! Envelope encryption with AES-256-GCM: every integration and every authorization has a data key of its own, wrapped by
//! the active key of the [`Keyring`]; values are sealed with the data key and bound to table, column, record, user,
//! provider and generation. Whatever is altered, moved or older than its row fails with one and the same error. The vault
//! never sees the database, and nothing here is ever logged.

mod aad;
pub mod check;
mod envelope;
pub mod keyring;
#[cfg(test)]
mod tests;

use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    digest,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use oauth_manager_actors::{
    domain::sealed::{Digest, DigestPurpose, KeyContext, SealContext, Sealed, WrappedKey},
    ports::vault::{Vault, VaultError},
};

use envelope::{Envelope, Header};
pub use keyring::{Keyring, KeyringError};

/// The vault over a keyring.
#[derive(Debug)]
pub struct RingVault {
    keyring: Keyring,
    random: SystemRandom,
}

impl RingVault {
    /// A vault that wraps with the keyring's active key.
    pub fn new(keyring: Keyring) -> Self {
        Self {
            keyring,
            random: SystemRandom::new(),
        }
    }

    /// Its keys.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The id of the master key that wrapped this data key.
    ///
    /// # Errors
    /// It is not a wrapped key.
    pub fn wrapped_by<'a>(&self, key: &'a WrappedKey) -> Result<&'a str, VaultError> {
        Ok(Envelope::parse(&key.0)?.header.key_id)
    }

    /// The same data key, wrapped by the active master key; `None`: it is so already. Values sealed with it still open.
    ///
    /// # Errors
    /// As for opening.
    pub fn rewrap(&self, key: &WrappedKey, context: &KeyContext) -> Result<Option<WrappedKey>, VaultError> {
        if self.wrapped_by(key)? == self.keyring.active_id() {
            return Ok(None);
        }
        let plain = self.unwrap_key(key, context)?;
        self.wrap(&plain, context).map(Some)
    }

    fn wrap(&self, plain: &[u8], context: &KeyContext) -> Result<WrappedKey, VaultError> {
        let active = self.keyring.active();
        let header = Header::new(&active.id);
        let aad = aad::data_key(&header, context);
        envelope::seal(&active.cipher, &self.random, &header, &aad, plain).map(WrappedKey)
    }

    fn unwrap_key(&self, key: &WrappedKey, context: &KeyContext) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let envelope = Envelope::parse(&key.0)?;
        let master = self
            .keyring
            .find(envelope.header.key_id)
            .ok_or_else(|| VaultError::UnknownKey {
                // Bytes from the database: they go into logs only in a form that cannot break a line.
                key_id: envelope.header.key_id.escape_default().to_string(),
            })?;
        envelope.open(&master.cipher, &aad::data_key(&envelope.header, context))
    }

    fn data_key(&self, key: &WrappedKey, context: &KeyContext) -> Result<LessSafeKey, VaultError> {
        let plain = self.unwrap_key(key, context)?;
        let unbound = UnboundKey::new(&AES_256_GCM, &plain).map_err(|_| VaultError::Refused)?;
        Ok(LessSafeKey::new(unbound))
    }
}

// === impl Vault ===

impl Vault for RingVault {
    fn key_ids(&self) -> Vec<String> {
        self.keyring.ids().map(str::to_owned).collect()
    }

    fn new_data_key(&self, context: &KeyContext) -> Result<WrappedKey, VaultError> {
        let mut plain = Zeroizing::new([0; keyring::KEY_BYTES]);
        self.random
            .fill(plain.as_mut_slice())
            .map_err(|_| VaultError::Refused)?;
        self.wrap(plain.as_slice(), context)
    }

    fn seal(&self, key: &WrappedKey, context: &SealContext, plain: &[u8]) -> Result<Sealed, VaultError> {
        let cipher = self.data_key(key, &context.key)?;
        let header = Header::new(self.wrapped_by(key)?);
        let aad = aad::value(&header, context);
        envelope::seal(&cipher, &self.random, &header, &aad, plain).map(Sealed)
    }

    fn open(
        &self,
        key: &WrappedKey,
        context: &SealContext,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let cipher = self.data_key(key, &context.key)?;
        let envelope = Envelope::parse(&sealed.0)?;
        envelope.open(&cipher, &aad::value(&envelope.header, context))
    }

    fn digest(&self, purpose: DigestPurpose, value: &str) -> Digest {
        let purpose = purpose_name(purpose);
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(&(purpose.len() as u64).to_be_bytes());
        hash.update(purpose.as_bytes());
        hash.update(value.as_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(hash.finish().as_ref());
        Digest(out)
    }
}

/// What is mixed into a digest. Stored digests depend on these names: they never change.
fn purpose_name(purpose: DigestPurpose) -> &'static str {
    match purpose {
        DigestPurpose::State => "oauth-manager/state",
        DigestPurpose::ConnectHandle => "oauth-manager/connect-handle",
        DigestPurpose::BrowserBinding => "oauth-manager/browser-binding",
        DigestPurpose::Confirmation => "oauth-manager/confirmation",
        DigestPurpose::ConfirmationSource => "oauth-manager/confirmation-source",
        DigestPurpose::ServiceCredential => "oauth-manager/service-credential",
        DigestPurpose::Session => "oauth-manager/session",
        DigestPurpose::Wording => "oauth-manager/wording",
    }
}
