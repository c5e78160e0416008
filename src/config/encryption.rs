//! `[encryption]`: the keyring that seals tokens. The first key seals, all of them open.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::error::Problems;
use super::list;
use super::secret::SecretString;
use super::server::Deployment;

/// AES-256.
pub const KEY_BYTES: usize = 32;
/// The id of a key given without one, as `OAUTH_ENCRYPTION_KEY` may be.
pub const DEFAULT_KEY_ID: &str = "default";
/// The id is stored with every sealed value.
const ID_BYTES_MAX: usize = 32;

/// With or without padding: operators paste keys from many tools.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncryptionConfig {
    /// `id:base64`, the active one first.
    #[serde(deserialize_with = "list::deserialize")]
    pub keys: Vec<EncryptionKey>,
}

/// One key.
#[derive(Clone)]
pub struct EncryptionKey {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

impl EncryptionKey {
    /// Reads `id:base64`, or plain base64 with the id [`DEFAULT_KEY_ID`].
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (id, encoded) = text
            .trim()
            .split_once(':')
            .unwrap_or((DEFAULT_KEY_ID, text.trim()));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' || byte == b'.';
        if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(plain) {
            return Err("a key id is up to 32 letters, digits, dots, dashes or underscores");
        }
        let encoded = Zeroizing::new(encoded.replace('-', "+").replace('_', "/"));
        let decoded = BASE64.decode(encoded.as_bytes()).map(Zeroizing::new);
        let decoded = decoded.map_err(|_| "expected id:base64, the base64 of 32 random bytes")?;
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        if decoded.len() != KEY_BYTES {
            return Err("a key is the base64 of exactly 32 bytes");
        }
        bytes.copy_from_slice(&decoded);
        Ok(Self {
            id: id.to_owned(),
            bytes,
        })
    }

    /// What the key is called in sealed values.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key itself.
    pub fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }

    /// Nobody draws such bytes at random: one byte or one pattern repeated, counting, or readable text.
    fn is_weak(&self) -> bool {
        let bytes = &self.bytes[..];
        let repeats = |period: usize| {
            bytes
                .iter()
                .zip(&bytes[period..])
                .all(|(left, right)| left == right)
        };
        let step = bytes[1].wrapping_sub(bytes[0]);
        let counts = bytes.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == step);
        let readable = bytes.iter().all(|byte| (0x20..0x7f).contains(byte));
        (1..=KEY_BYTES / 2).any(repeats) || counts || readable
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({}:[redacted])", self.id)
    }
}

impl<'de> Deserialize<'de> for EncryptionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = SecretString::deserialize(deserializer)?;
        Self::parse(text.expose()).map_err(serde::de::Error::custom)
    }
}

impl EncryptionConfig {
    pub(super) fn validate(&self, environment: Deployment, problems: &mut Problems) {
        const KEY: &str = "encryption.keys";
        if self.keys.is_empty() && environment == Deployment::Production {
            problems.add(
                KEY,
                "missing: make one with `oauth-manager keys generate` (or set OAUTH_ENCRYPTION_KEY)",
            );
        }
        let mut ids = BTreeSet::new();
        for key in &self.keys {
            if !ids.insert(key.id()) {
                problems.add(KEY, format!("the id `{}` is given twice", key.id()));
            }
            if key.is_weak() {
                problems.add(
                    KEY,
                    format!(
                        "the key `{}` is not random: make one with `oauth-manager keys generate`",
                        key.id()
                    ),
                );
            }
        }
    }
}
