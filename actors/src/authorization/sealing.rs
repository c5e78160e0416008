//! Sealing the tokens of a connection: for the place reserved for it, with the integration's own data key.

use crate::{
    domain::{
        authorization::StoredAuthorization,
        integration::Status,
        sealed::{KeyContext, SealContext, Sealed, SealedColumn, WrappedKey},
        secret::RefreshToken,
    },
    integration::opened::Opened,
    ports::store::Reservation,
    shared::Shared,
};

/// A key is missing, or somebody tampered; it is in the log.
#[derive(Debug)]
pub(super) struct SealFailed;

/// Where the tokens of a flow go.
pub(super) struct Sealing<'a> {
    pub(super) shared: &'a Shared,
    pub(super) flow: &'a StoredAuthorization,
    pub(super) reservation: &'a Reservation,
}

impl Sealing<'_> {
    fn key_context(&self) -> KeyContext {
        KeyContext {
            record: self.reservation.id.uuid,
            user: self.flow.owner.user_id,
            provider: self.flow.provider.clone(),
        }
    }

    pub(super) fn data_key(&self) -> Result<WrappedKey, SealFailed> {
        let present = self
            .reservation
            .present
            .as_ref()
            .and_then(|present| present.grant.as_ref());
        match present {
            Some(grant) => Ok(grant.data_key.clone()),
            None => self
                .shared
                .ports
                .vault
                .new_data_key(&self.key_context())
                .map_err(|error| seal_error(&error)),
        }
    }

    pub(super) fn seal(
        &self,
        key: &WrappedKey,
        column: SealedColumn,
        value: &str,
    ) -> Result<Sealed, SealFailed> {
        let place = SealContext {
            key: self.key_context(),
            column,
            generation: self.reservation.generation + 1,
        };
        self.shared
            .ports
            .vault
            .seal(key, &place, value.as_bytes())
            .map_err(|error| seal_error(&error))
    }

    pub(super) fn present_refresh_token(&self) -> Result<Option<RefreshToken>, SealFailed> {
        let Some(present) = &self.reservation.present else {
            return Ok(None);
        };
        if present.standing.status == Status::Revoked {
            return Ok(None);
        }
        let opened = Opened {
            stored: (**present).clone(),
            access_token: None,
        };
        opened.refresh_token(&*self.shared.ports.vault).map_err(|error| {
            tracing::error!(error = %error, "the present refresh token does not open");
            SealFailed
        })
    }
}

fn seal_error(error: &crate::ports::vault::VaultError) -> SealFailed {
    tracing::error!(error = %error, "new tokens cannot be sealed");
    SealFailed
}
