//! Confirming: the application says, with the owner's own credential, that it was they who finished. Only then is the
//! code exchanged.

use crate::{
    address::Address,
    authorization::connect,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{AuthorizationStatus, StoredAuthorization},
        caller::RequestContext,
        error::ServiceError,
        ids::{AuthorizationId, Subject},
        integration::{IntegrationView, StoredIntegration},
        reason::ReasonCode,
        sealed::{DigestPurpose, SealContext, SealedColumn},
        secret::{AuthorizationCode, Confirmation},
    },
    ports::store::ConfirmationOutcome,
    records::store_error,
    registry::RegistryMsg,
    shared::Shared,
};

pub(crate) async fn confirm(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    caller: Subject,
    id: AuthorizationId,
    confirmation: Confirmation,
    context: RequestContext,
) -> ServiceResult<IntegrationView> {
    let digest = shared
        .ports
        .vault
        .digest(DigestPurpose::Confirmation, confirmation.expose());
    let mut refusal = AuditEntry::new(AuditAction::Callback, AuditOutcome::Denied, context.clone())
        .with_error(ReasonCode::new("binding_mismatch"));
    refusal.authorization_id = Some(id);
    let outcome = shared
        .ports
        .authorizations
        .confirm(&caller, id, &digest, &refusal)
        .await;
    match outcome.map_err(|error| store_error(&error))? {
        ConfirmationOutcome::Taken(flow) => {
            let code = open_code(shared, &flow)?;
            let connected = connect::connect(shared, registry, *flow, code, context).await;
            connected
                .map(|stored| view(shared, &stored))
                .map_err(|failed| failed.error)
        }
        ConfirmationOutcome::NotWaiting(flow) => settled(shared, &caller, &flow).await,
        ConfirmationOutcome::OtherUser => {
            tracing::warn!(authorization.id = %id, "another user than the one who began tried to confirm: the code is dropped");
            Err(ServiceError::BindingMismatch)
        }
        ConfirmationOutcome::Wrong => Err(ServiceError::invalid(
            "confirmation is not the one of this authorization",
        )),
        ConfirmationOutcome::Expired => Err(ServiceError::Expired {
            what: "this authorization",
        }),
        ConfirmationOutcome::Unknown => Err(ServiceError::not_found("authorization")),
    }
}

/// The flow does not wait (any more). Confirming twice is no error if the first time connected it: an application that
/// lost our answer asks again.
pub(super) async fn settled(
    shared: &Shared,
    caller: &Subject,
    flow: &StoredAuthorization,
) -> ServiceResult<IntegrationView> {
    match (flow.status, &flow.integration_id) {
        (AuthorizationStatus::Connected, Some(id)) => {
            let found = shared
                .ports
                .integrations
                .find(caller, id)
                .await
                .map_err(|error| store_error(&error))?;
            found
                .map(|stored| view(shared, &stored))
                .ok_or(ServiceError::not_found("integration"))
        }
        // Whatever it came to, its confirmation is dropped.
        (AuthorizationStatus::Expired | AuthorizationStatus::Denied | AuthorizationStatus::Failed, _) => {
            Err(ServiceError::Expired {
                what: "this authorization",
            })
        }
        (
            AuthorizationStatus::Created | AuthorizationStatus::Redirected | AuthorizationStatus::Returned,
            _,
        ) => Err(ServiceError::invalid(
            "this authorization does not wait for a confirmation yet",
        )),
        (AuthorizationStatus::AccountMismatch, _) => Err(ServiceError::AccountMismatch),
        (AuthorizationStatus::Exchanged, _) => {
            Err(ServiceError::invalid("this authorization is being confirmed"))
        }
        (AuthorizationStatus::Connected | AuthorizationStatus::AwaitingConfirmation, _) => {
            Err(ServiceError::invalid("this authorization has ended; begin again"))
        }
    }
}

fn open_code(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<AuthorizationCode> {
    let (Some(data_key), Some(sealed)) = (&flow.data_key, &flow.code) else {
        return Err(ServiceError::Internal);
    };
    let place = SealContext {
        key: flow.key_context(),
        column: SealedColumn::AuthorizationCode,
        generation: 0,
    };
    connect::open_text(shared, data_key, &place, sealed).map(AuthorizationCode::new)
}

pub(super) fn view(shared: &Shared, stored: &StoredIntegration) -> IntegrationView {
    IntegrationView::of(
        stored,
        shared.provider(&stored.id.provider).map(AsRef::as_ref),
        shared.now(),
    )
}
