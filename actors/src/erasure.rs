//! Erasing a user goes in steps that any node can take: the wish is noted, every account is taken back, and when no
//! provider has to be told any more, everything is deleted at once. Whoever dies in between leaves the note.

use crate::{
    address::Address,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        erasure::ErasureStatus,
        ids::Subject,
        page::{PAGE_LIMIT_MAX, PageRequest},
        reason::ReasonCode,
    },
    ports::store::StoreResult,
    provider::message::ProviderMsg,
    registry::RegistryMsg,
    shared::Shared,
};

/// Unfinished erasures looked at together.
const UNFINISHED_MAX: u32 = 100;

/// Goes on with every erasure that is not over.
pub(crate) async fn go_on(shared: &Shared, registry: &Address<RegistryMsg>) {
    let quiet = shared.settings.erasure_quiet;
    let unfinished = shared.ports.users.unfinished_erasures(quiet, UNFINISHED_MAX);
    let unfinished = match unfinished.await {
        Ok(unfinished) => unfinished,
        Err(error) => return tracing::debug!(error = %error, "unfinished erasures cannot be looked for yet"),
    };
    for owner in unfinished {
        if let Err(error) = take_step(shared, registry, &owner).await {
            tracing::warn!(error = %error, "an erasure is not over yet");
        }
    }
}

/// Takes back what is left, and erases if nothing stands against it.
pub(crate) async fn take_step(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    owner: &Subject,
) -> StoreResult<ErasureStatus> {
    let quiet = shared.settings.erasure_quiet;
    let status = shared.ports.users.erase(owner, quiet).await?;
    if status == ErasureStatus::Pending {
        take_back(shared, registry, owner).await?;
    }
    Ok(status)
}

/// Denies every account that is still used; due at once, so that whoever finds it tells its provider.
async fn take_back(shared: &Shared, registry: &Address<RegistryMsg>, owner: &Subject) -> StoreResult<()> {
    // Those that are taken back leave the list: it is read from its beginning until it is empty.
    let page = PageRequest {
        limit: PAGE_LIMIT_MAX,
        after: None,
    };
    loop {
        let found = shared.ports.integrations.list(owner, &page).await?;
        if found.items.is_empty() {
            return Ok(());
        }
        for stored in found.items {
            let audit = AuditEntry::new(
                AuditAction::Revoke,
                AuditOutcome::Success,
                RequestContext::system(),
            )
            .with_integration(&stored.id, owner)
            .with_scopes(stored.scopes.clone());
            let reason = ReasonCode::new("erased");
            let integrations = &shared.ports.integrations;
            integrations
                .revoke(Some(owner), &stored.id, &reason, shared.now(), &audit)
                .await?;
            let changed = ProviderMsg::Changed {
                integration: stored.id.uuid,
                subject: Some(owner.clone()),
            };
            // If the registry is being restarted, whoever wakes next reads the row.
            let _ = registry.cast(RegistryMsg::Route(stored.id.provider.clone(), changed));
        }
    }
}
