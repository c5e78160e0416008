//! Callbacks that belong to no flow that waits for one. Anybody can send them, as many as they like: they are answered
//! without a redirect, and recorded by number.

use crate::{
    authorization::callback::Visit,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{CallbackOutcome, CallbackResult, StoredAuthorization},
        error::ServiceResult,
        reason::ReasonCode,
    },
    records::store_error,
    shared::Shared,
};

pub(super) async fn stray(
    shared: &Shared,
    visit: &Visit,
    flow: Option<&StoredAuthorization>,
    reason: &str,
) -> ServiceResult<CallbackOutcome> {
    let reason = ReasonCode::new(reason);
    let mut audit = AuditEntry::new(AuditAction::Callback, AuditOutcome::Denied, visit.context.clone())
        .with_error(reason.clone());
    audit.provider = shared
        .provider(&visit.provider)
        .map(|provider| provider.key.clone());
    if let Some(flow) = flow {
        audit = audit.with_authorization(flow.id, &flow.provider, &flow.owner.subject);
    }
    record(shared, audit).await?;
    tracing::debug!(provider.id = %visit.provider, oauth.error = %reason, "a callback belongs to no waiting flow");
    Ok(CallbackOutcome {
        authorization_id: None,
        return_to: None,
        result: CallbackResult::Failed(reason),
    })
}

/// The first of a minute from an address is written at once, the others as one when the minute is over.
pub(super) async fn record(shared: &Shared, audit: AuditEntry) -> ServiceResult<()> {
    if let Some(first) = shared.audit.strays().count(audit, shared.now()) {
        let recorded = shared.ports.records.append(&[first]).await;
        recorded.map_err(|error| store_error(&error))?;
    }
    Ok(())
}
