//! Everything about one user: read out, and erased.

use super::{OAuthManager, ServiceResult};
use crate::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::{Actor, RequestContext},
        erasure::{ErasureReport, ErasureStatus},
        error::ServiceError,
        ids::Subject,
        page::{PAGE_LIMIT_MAX, Page, PageRequest},
    },
    erasure,
    records::store_error,
};

impl OAuthManager {
    /// What is kept about this user, page by page; never a secret. The reading itself is recorded with its first page.
    ///
    /// # Errors
    /// The database being away; a cursor that is not ours.
    pub async fn export(
        &self,
        owner: &Subject,
        page: PageRequest,
        context: RequestContext,
    ) -> ServiceResult<Page<serde_json::Value>> {
        if page.after.is_none() {
            let mut audit = AuditEntry::new(AuditAction::Export, AuditOutcome::Success, context);
            audit.subject = Some(owner.clone());
            let recorded = self.shared.ports.records.append(&[audit]).await;
            recorded.map_err(|error| store_error(&error))?;
        }
        let found = self.shared.ports.users.export(owner, &page).await;
        found.map_err(|error| store_error(&error))
    }

    /// Erases a user: their accounts are taken back and the providers told, then everything is deleted, and consents and
    /// audit go on under a pseudonym. Where a provider cannot be told yet it goes on by itself.
    ///
    /// # Errors
    /// The database being away: then nothing was noted, and it is to be asked again.
    pub async fn erase(&self, owner: &Subject, context: RequestContext) -> ServiceResult<ErasureReport> {
        let mut audit = AuditEntry::new(
            AuditAction::EraseRequested,
            AuditOutcome::Success,
            context.clone(),
        );
        audit.subject = Some(owner.clone());
        let begun = self.shared.ports.users.begin_erasure(owner, &audit).await;
        begun.map_err(|error| store_error(&error))?;
        if let Err(error) = self.take_all_back(owner, &context).await {
            tracing::warn!(error = %error, "an erasure is noted, and goes on later");
        }
        let owner = owner.clone();
        // To its end, even if nobody waits any more.
        let status = self
            .run(|shared, registry| async move {
                let status = erasure::take_step(&shared, &registry, &owner).await;
                status.map_err(|error| {
                    tracing::warn!(error = %error, "an erasure is noted, and goes on later");
                    store_error(&error)
                })
            })
            .await;
        // It is noted: what could not be done now is done later.
        Ok(ErasureReport::of(status.unwrap_or(ErasureStatus::Pending)))
    }

    /// As [`erase`](Self::erase), for the operator.
    ///
    /// # Errors
    /// As [`erase`](Self::erase).
    pub async fn erase_as_operator(&self, owner: &Subject) -> ServiceResult<ErasureReport> {
        self.erase(owner, operator()).await
    }

    /// As [`export`](Self::export), for the operator.
    ///
    /// # Errors
    /// As [`export`](Self::export).
    pub async fn export_as_operator(
        &self,
        owner: &Subject,
        page: PageRequest,
    ) -> ServiceResult<Page<serde_json::Value>> {
        self.export(owner, page, operator()).await
    }

    /// Whether anything is kept about this user. Nothing is recorded: a name that was mistyped leaves no trace.
    ///
    /// # Errors
    /// The database being away.
    pub async fn knows_as_operator(&self, owner: &Subject) -> ServiceResult<bool> {
        let one = PageRequest {
            limit: 1,
            after: None,
        };
        let found = self.shared.ports.users.export(owner, &one).await;
        let found = found.map_err(|error| store_error(&error))?;
        Ok(!found.items.is_empty() || found.next.is_some())
    }

    /// Each account by its own actor, which tells its provider at once.
    async fn take_all_back(&self, owner: &Subject, context: &RequestContext) -> ServiceResult<()> {
        let mut page = PageRequest {
            limit: PAGE_LIMIT_MAX,
            after: None,
        };
        loop {
            let found = self.integrations(owner, page.clone()).await?;
            for view in found.items {
                match self.revoke(owner, &view.id, context.clone()).await {
                    Ok(_) | Err(ServiceError::NotFound { .. }) => {}
                    // Whoever goes on with the erasure denies it by its row.
                    Err(error) => {
                        tracing::warn!(integration.id = %view.id, error = %error, "not taken back yet");
                    }
                }
            }
            match found.next {
                Some(next) => page.after = Some(next),
                None => return Ok(()),
            }
        }
    }
}

fn operator() -> RequestContext {
    RequestContext {
        actor: Actor::Operator,
        ..RequestContext::system()
    }
}
