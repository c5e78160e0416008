//! Secrets as they are stored: opaque bytes, bound to the place they were made for.

use std::fmt;

use uuid::Uuid;

use super::ids::{ProviderKey, UserId};

/// A secret sealed by the vault: header (format version, key id), nonce, ciphertext and tag.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(pub Vec<u8>);

/// A data key, wrapped by one of the keyring's keys. One per integration and per authorization.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey(pub Vec<u8>);

/// SHA-256 of a high-entropy value, with its purpose mixed in: what look-ups compare.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.0.len())
    }
}

impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrappedKey({} bytes)", self.0.len())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest([redacted])")
    }
}

/// What a digest is of. Mixed into the hash, so that a value for one purpose never matches another's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestPurpose {
    /// The `state` parameter of a flow.
    State,
    /// The handle of a connect link.
    ConnectHandle,
    /// The cookie that binds a flow to its browser.
    BrowserBinding,
    /// The one-time confirmation.
    Confirmation,
    /// What the one-time confirmation is made of.
    ConfirmationSource,
    /// A service credential.
    ServiceCredential,
    /// A session link or cookie.
    Session,
    /// The words of a consent.
    Wording,
}

/// The column a value is sealed for: part of the additional authenticated data, so that a value copied into another
/// column does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealedColumn {
    /// `oauth_tokens.access_token`
    AccessToken,
    /// `oauth_tokens.refresh_token`
    RefreshToken,
    /// `oauth_authorizations.pkce_verifier`
    PkceVerifier,
    /// `oauth_authorizations.code`
    AuthorizationCode,
    /// `oauth_authorizations.staged`
    StagedGrant,
    /// No column: an answer in the spool, on its way into its row.
    SpooledAnswer,
}

impl SealedColumn {
    /// `table.column`, as it goes into the additional authenticated data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccessToken => "oauth_tokens.access_token",
            Self::RefreshToken => "oauth_tokens.refresh_token",
            Self::PkceVerifier => "oauth_authorizations.pkce_verifier",
            Self::AuthorizationCode => "oauth_authorizations.code",
            Self::StagedGrant => "oauth_authorizations.staged",
            Self::SpooledAnswer => "spool.answer",
        }
    }
}

/// Whose data key: the part of the context that never changes during a row's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyContext {
    /// The row: an integration or an authorization.
    pub record: Uuid,
    /// Its owner.
    pub user: UserId,
    /// Its provider.
    pub provider: ProviderKey,
}

/// Where a sealed value belongs. A value opens only with exactly the context it was sealed with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealContext {
    /// Whose data key it is sealed with.
    pub key: KeyContext,
    /// The column.
    pub column: SealedColumn,
    /// The generation of the grant (0 for an authorization): an older value put back does not open.
    pub generation: i64,
}
