//! Sealing: storage never sees a secret in clear, and the vault never sees the database.

use zeroize::Zeroizing;

use crate::domain::sealed::{Digest, DigestPurpose, KeyContext, SealContext, Sealed, WrappedKey};

/// A value that cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The header names a key that is not configured.
    #[error("sealed with key {key_id}, which is not configured")]
    UnknownKey {
        /// The key's id.
        key_id: String,
    },
    /// Altered, moved, older than its row, or not ours: one error for all, on purpose.
    #[error("a sealed value does not open where it stands")]
    Refused,
}

/// The vault. AES-256-GCM; data keys wrapped by the active key; every value bound to its place.
pub trait Vault: Send + Sync {
    /// Makes a data key for this record, wrapped by the active key.
    fn new_data_key(&self, context: &KeyContext) -> Result<WrappedKey, VaultError>;

    /// Seals a value for exactly this place.
    fn seal(&self, key: &WrappedKey, context: &SealContext, plain: &[u8]) -> Result<Sealed, VaultError>;

    /// Opens a value that was sealed for exactly this place.
    fn open(
        &self,
        key: &WrappedKey,
        context: &SealContext,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError>;

    /// The ids of the configured keys, the active one first. Ids are no secret.
    fn key_ids(&self) -> Vec<String> {
        Vec::new()
    }

    /// SHA-256 of a high-entropy value with its purpose mixed in, for look-ups.
    fn digest(&self, purpose: DigestPurpose, value: &str) -> Digest;
}
