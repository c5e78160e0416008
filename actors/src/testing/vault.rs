//! A vault that hides nothing and checks everything: what was sealed for one place opens nowhere else.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::atomic::{AtomicBool, Ordering},
};

use zeroize::Zeroizing;

use crate::{
    domain::sealed::{Digest, DigestPurpose, KeyContext, SealContext, Sealed, WrappedKey},
    ports::vault::{Vault, VaultError},
};

/// The vault. A "sealed" value is its context, spelled out, and the plain value.
#[derive(Debug, Default)]
pub struct TransparentVault {
    key_lost: AtomicBool,
}

impl TransparentVault {
    /// From now on (or no longer) nothing opens: the key is not configured.
    pub fn lose_key(&self, lost: bool) {
        self.key_lost.store(lost, Ordering::Relaxed);
    }

    fn key(context: &KeyContext) -> String {
        format!("{}|{}|{}|", context.record, context.user, context.provider)
    }

    fn place(context: &SealContext) -> String {
        format!(
            "{}{}|{}|",
            Self::key(&context.key),
            context.column.as_str(),
            context.generation
        )
    }

    fn check_key(&self, key: &WrappedKey, context: &KeyContext) -> Result<(), VaultError> {
        if self.key_lost.load(Ordering::Relaxed) {
            return Err(VaultError::UnknownKey {
                key_id: "lost".into(),
            });
        }
        if key.0 == Self::key(context).as_bytes() {
            Ok(())
        } else {
            Err(VaultError::Refused)
        }
    }
}

impl Vault for TransparentVault {
    fn new_data_key(&self, context: &KeyContext) -> Result<WrappedKey, VaultError> {
        Ok(WrappedKey(Self::key(context).into_bytes()))
    }

    fn seal(&self, key: &WrappedKey, context: &SealContext, plain: &[u8]) -> Result<Sealed, VaultError> {
        self.check_key(key, &context.key)?;
        Ok(Sealed([Self::place(context).as_bytes(), plain].concat()))
    }

    fn open(
        &self,
        key: &WrappedKey,
        context: &SealContext,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        self.check_key(key, &context.key)?;
        let plain = sealed
            .0
            .strip_prefix(Self::place(context).as_bytes())
            .ok_or(VaultError::Refused)?;
        Ok(Zeroizing::new(plain.to_vec()))
    }

    fn digest(&self, purpose: DigestPurpose, value: &str) -> Digest {
        let mut digest = [0; 32];
        for (part, bytes) in digest.chunks_mut(8).enumerate() {
            let mut hasher = DefaultHasher::new();
            (part, format!("{purpose:?}"), value).hash(&mut hasher);
            bytes.copy_from_slice(&hasher.finish().to_le_bytes());
        }
        Digest(digest)
    }
}
