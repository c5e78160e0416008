//! A row with its access token in clear: what an integration holds in memory. The refresh token stays sealed until the
//! moment it is presented.

use crate::{
    domain::{
        error::ServiceError,
        ids::{IntegrationId, Subject},
        integration::StoredIntegration,
        sealed::SealedColumn,
        secret::{AccessToken, RefreshToken},
    },
    ports::{
        store::StoreError,
        vault::{Vault, VaultError},
    },
    shared::Shared,
};

/// A row and its opened access token.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) stored: StoredIntegration,
    pub(crate) access_token: Option<AccessToken>,
}

/// Why a row could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("integration {id}: {error}")]
    Vault { id: String, error: VaultError },
}

impl Opened {
    /// Opens the access token of a row. A row that does not open is an operator's matter (a key is missing, or somebody
    /// tampered), never the user's.
    pub(crate) fn open(vault: &dyn Vault, stored: StoredIntegration) -> Result<Self, OpenError> {
        let access_token = match &stored.grant {
            None => None,
            Some(grant) => {
                let context = stored.seal_context(SealedColumn::AccessToken, grant.generation);
                let plain = vault.open(&grant.data_key, &context, &grant.access_token);
                Some(AccessToken::new(text(&stored, plain)?))
            }
        };
        Ok(Self { stored, access_token })
    }

    /// Opens the refresh token, for presenting it.
    pub(crate) fn refresh_token(&self, vault: &dyn Vault) -> Result<Option<RefreshToken>, OpenError> {
        let Some(grant) = &self.stored.grant else {
            return Ok(None);
        };
        let Some(sealed) = &grant.refresh_token else {
            return Ok(None);
        };
        let context = self
            .stored
            .seal_context(SealedColumn::RefreshToken, grant.generation);
        let plain = vault.open(&grant.data_key, &context, sealed);
        Ok(Some(RefreshToken::new(text(&self.stored, plain)?)))
    }
}

fn text(
    stored: &StoredIntegration,
    plain: Result<zeroize::Zeroizing<Vec<u8>>, VaultError>,
) -> Result<String, OpenError> {
    let failed = |error| OpenError::Vault {
        id: stored.id.to_string(),
        error,
    };
    let plain = plain.map_err(failed)?;
    String::from_utf8(plain.to_vec()).map_err(|_| failed(VaultError::Refused))
}

/// Whose log lines these are.
pub(super) fn span_of(stored: &StoredIntegration) -> tracing::Span {
    tracing::info_span!(parent: None, "integration", integration.id = %stored.id)
}

/// Whether whoever asks may; `None`: the operator.
pub(crate) fn owned(stored: &StoredIntegration, owner: Option<&Subject>) -> bool {
    owner.is_none_or(|owner| *owner == stored.owner.subject)
}

/// Reads and opens a row; `Ok(None)`: there is none.
pub(crate) async fn load(shared: &Shared, id: &IntegrationId) -> Result<Option<Box<Opened>>, ServiceError> {
    let opened = match shared.ports.integrations.load(id).await {
        Ok(None) => return Ok(None),
        Ok(Some(stored)) => Opened::open(&*shared.ports.vault, stored),
        Err(error) => Err(OpenError::Store(error)),
    };
    match opened {
        Ok(opened) => Ok(Some(Box::new(opened))),
        Err(error) => {
            if matches!(error, OpenError::Vault { .. }) {
                crate::measure::row_unopenable(&id.provider);
            }
            tracing::error!(integration.id = %id, error = %error, "a row cannot be read or opened");
            Err(super::refresh::open_error(&error))
        }
    }
}
