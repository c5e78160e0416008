//! Consents and the audit.

use async_trait::async_trait;
use uuid::Uuid;

use super::StoreResult;
use crate::domain::{
    audit::{AuditEntry, AuditView},
    consent::ConsentView,
    ids::{IntegrationId, NodeId, Subject},
    page::{Page, PageRequest},
    provider::Provider,
    unwritable::Unwritable,
};

/// Consents and the audit.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// The consents of this owner's integration, newest first.
    async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: &PageRequest,
    ) -> StoreResult<Page<ConsentView>>;

    /// One consent of this owner's integration.
    async fn consent(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        consent: Uuid,
    ) -> StoreResult<Option<ConsentView>>;

    /// This owner's audit, newest first.
    async fn audit(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<AuditView>>;

    /// Writes audit rows that stand alone (hand-outs, refusals), all or none.
    async fn append(&self, entries: &[AuditEntry]) -> StoreResult<()>;

    /// Writes the providers' catalogue into `oauth_scopes`; a row that is gone from the catalogue goes.
    async fn seed_catalogue(&self, providers: &[std::sync::Arc<Provider>]) -> StoreResult<()>;

    /// Writes a little, to find out whether that can be done: what is the matter, where the database answers and it cannot.
    /// `was_full`: the disk was full a moment ago, so that room is to be looked for.
    async fn try_write(&self, node: NodeId, was_full: bool) -> StoreResult<Option<Unwritable>>;

    /// Whether the database answers and its schema is the one this program knows.
    async fn ready(&self) -> StoreResult<()>;
}
