//! Tokens: what a provider answered, and what a service receives.

use std::{fmt, sync::OnceLock};

use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    Timestamp,
    ids::{IntegrationId, ProviderKey},
    reason::ReasonCode,
    scope::ScopeSet,
    secret::{AccessToken, RefreshToken},
};

/// A provider's answer to an exchange or a refresh, understood (RFC 6749 5.1).
#[derive(Debug, Clone)]
pub struct TokenAnswer {
    /// The new access token.
    pub access_token: AccessToken,
    /// `Bearer`, as the provider spells it.
    pub token_type: String,
    /// When the access token ends, counted from before the request was sent; `None`: the provider does not say.
    pub expires_at: Option<Timestamp>,
    /// The refresh token to keep from now on; `None`: keep the present one.
    pub refresh_token: Option<RefreshToken>,
    /// When the refresh token ends, where the provider says.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// The granted scopes, normalised; `None`: as requested, or unchanged.
    pub scopes: Option<ScopeSet>,
    /// What was odd about the answer, although it could be used: recorded, so that nobody has to wonder later.
    pub remark: Option<ReasonCode>,
}

/// What a service reports of a token that the provider's interface did not accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRejection {
    /// Which token: the SHA-256 digest of it; `None`: the service does not say.
    pub token_sha256: Option<[u8; 32]>,
    /// What the interface answered: 401 or 403.
    pub status: u16,
    /// A claims challenge (OpenID Connect Core 5.5) that came with it: a JSON object, bounded.
    pub claims: Option<String>,
}

/// An access token on its way to a service. Valid for at least what was asked, and for what was asked.
#[derive(Debug, Clone)]
pub struct AccessGrant {
    /// The token.
    pub access_token: AccessToken,
    /// `Bearer`.
    pub token_type: String,
    /// When it ends; `None`: the provider does not say.
    pub expires_at: Option<Timestamp>,
    /// What it carries.
    pub scopes: ScopeSet,
    /// Whose it is.
    pub integration_id: IntegrationId,
    /// What it reads like on its way out.
    pub written: Written,
}

/// An access grant as whoever sends it writes it, kept with it: one token leaves many times. Wiped when it is dropped, and
/// `Debug` shows nothing of it; a clone begins without.
#[derive(Default)]
pub struct Written(OnceLock<Zeroizing<Vec<u8>>>);

impl Written {
    /// What was written of it first. `write` always writes the same, or fails.
    ///
    /// # Errors
    /// Those of `write`.
    pub fn get_or_write<E>(&self, write: impl FnOnce() -> Result<Vec<u8>, E>) -> Result<&[u8], E> {
        if let Some(written) = self.0.get() {
            return Ok(written);
        }
        let written = Zeroizing::new(write()?);
        Ok(self.0.get_or_init(|| written))
    }
}

impl Clone for Written {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Written([redacted])")
    }
}

impl AccessGrant {
    /// The provider it is for.
    pub fn provider(&self) -> &ProviderKey {
        &self.integration_id.provider
    }
}

/// What became of a revocation at the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderRevocation {
    /// The provider confirmed it (or had forgotten the grant already).
    Confirmed,
    /// It could not be told yet; this is retried.
    Pending,
    /// The provider has no way to revoke.
    Unsupported,
    /// The provider has no way to end this connection alone: it is one grant with others that are still used. Stored and
    /// shown as unsupported.
    #[serde(rename = "unsupported")]
    Shared,
}

impl ProviderRevocation {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Pending => "pending",
            Self::Unsupported | Self::Shared => "unsupported",
        }
    }
}

/// The answer to a revocation. The account is refused here from this moment on, whatever the provider says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RevocationReport {
    /// Always `revoked`.
    pub status: &'static str,
    /// What became of it at the provider.
    pub provider_revocation: ProviderRevocation,
    /// A sentence for the user.
    pub detail: String,
}

/// What a service asks a token for: at least one of the three is given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Any token of this provider.
    pub provider: Option<ProviderKey>,
    /// A token that carries this feature.
    pub feature: Option<super::feature::FeatureKey>,
    /// A token that carries these scopes.
    pub scopes: ScopeSet,
}

/// Whose token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenTarget {
    /// Of this very integration.
    Integration(IntegrationId),
    /// Of a user's account that gives what is wanted.
    User {
        /// Whose.
        subject: super::ids::Subject,
        /// For what.
        want: Want,
        /// Which account, by integration id, account id or e-mail, where the user has several.
        account: Option<String>,
    },
}

/// A request for a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRequest {
    /// Whose.
    pub target: TokenTarget,
    /// How long it must still be good for; `None`: long enough for one call, as far as the provider's tokens live that long.
    pub min_ttl: Option<std::time::Duration>,
}
