//! Consents and the audit.

use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, Op, tables};
use crate::{
    domain::{
        Timestamp,
        audit::{AuditEntry, AuditView},
        consent::ConsentView,
        ids::{IntegrationId, NodeId, Subject},
        page::{Page, PageRequest},
        provider::Provider,
        unwritable::Unwritable,
    },
    ports::store::{RecordStore, StoreResult},
};

#[async_trait]
impl RecordStore for MemoryStore {
    async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: &PageRequest,
    ) -> StoreResult<Page<ConsentView>> {
        self.run(Op::Consents, |tables, _| {
            let rows = tables.consents.iter().rev();
            let rows = rows.filter(|consent| consent.user == *owner && consent.integration_id == *id);
            tables::page(page, rows.cloned(), |consent| consent.id)
        })
        .await
    }

    async fn consent(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        consent: Uuid,
    ) -> StoreResult<Option<ConsentView>> {
        self.run(Op::Consents, |tables, _| {
            let mut rows = tables.consents.iter();
            let found = rows.find(|row| row.id == consent && row.user == *owner && row.integration_id == *id);
            Ok(found.cloned())
        })
        .await
    }

    async fn audit(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<AuditView>> {
        self.run(Op::Audit, |tables, _| {
            let rows = tables.audit.iter().rev();
            let rows = rows.filter(|(_, _, entry)| entry.subject.as_ref() == Some(owner));
            tables::page(page, rows.map(|(id, at, entry)| view(*id, *at, entry)), |view| {
                view.id
            })
        })
        .await
    }

    async fn append(&self, entries: &[AuditEntry]) -> StoreResult<()> {
        self.run(Op::Append, |tables, now| {
            for entry in entries {
                tables.record(entry, now);
                tables.mark_used(entry, now);
            }
            Ok(())
        })
        .await
    }

    async fn seed_catalogue(&self, _providers: &[Arc<Provider>]) -> StoreResult<()> {
        self.run(Op::SeedCatalogue, |_, _| Ok(())).await
    }

    async fn try_write(&self, _: NodeId, _: bool) -> StoreResult<Option<Unwritable>> {
        self.run(Op::Ready, |_, _| Ok(None)).await
    }

    async fn ready(&self) -> StoreResult<()> {
        self.run(Op::Ready, |_, _| Ok(())).await
    }
}

pub(super) fn view(id: Uuid, at: Timestamp, entry: &AuditEntry) -> AuditView {
    AuditView {
        id,
        at,
        action: entry.action.as_str().into(),
        outcome: entry.outcome.as_str().into(),
        actor: entry.context.actor.label(),
        provider: entry.provider.clone(),
        integration_id: entry.integration_id.clone(),
        authorization_id: entry.authorization_id,
        scopes: entry.scopes.clone(),
        error: entry.error.clone(),
        count: entry.count,
        request_id: Some(entry.context.request_id.clone()),
        ip: entry.context.ip,
        user_agent: entry.context.user_agent.clone(),
    }
}
