//! What an operator asks of the whole.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::{MemoryStore, Op, records, tables};
use crate::{
    domain::{
        audit::AuditView,
        ids::{IntegrationId, Subject},
        integration::Status,
        page::{Page, PageRequest},
        reason::WhoMustAct,
    },
    ports::store::{AccountsOf, Census, Inspected, KeyUsage, OverviewStore, StoreResult, Wanting},
};

#[async_trait]
impl OverviewStore for MemoryStore {
    async fn census(&self) -> StoreResult<Census> {
        self.run(Op::Overview, |tables, now| {
            let mut counts = BTreeMap::new();
            let mut due: Vec<_> = Vec::new();
            for row in tables.integrations.values() {
                let stored = row.view(now);
                let key = (stored.id.provider.clone(), stored.standing.status.as_str());
                counts.entry(key).or_insert((stored.standing.status, 0)).1 += 1;
                let claimed = |claim: &crate::domain::integration::Claim| !claim.stale;
                due.extend(
                    stored
                        .grant
                        .filter(|grant| !grant.claim.as_ref().is_some_and(claimed))
                        .and_then(|grant| grant.next_refresh_at)
                        .filter(|at| *at <= now),
                );
            }
            Ok(Census {
                accounts: counts
                    .into_iter()
                    .map(|((provider, _), (status, count))| AccountsOf {
                        provider,
                        status,
                        count,
                    })
                    .collect(),
                due: due.len() as u64,
                due_since: due.into_iter().min(),
            })
        })
        .await
    }

    async fn inspect(&self, id: &IntegrationId) -> StoreResult<Option<Inspected>> {
        self.run(Op::Overview, |tables, now| {
            Ok(tables.integrations.get(&id.uuid).map(|row| Inspected {
                since: row.stored.updated_at,
                integration: row.view(now),
            }))
        })
        .await
    }

    async fn wanting(&self, wanting: &Wanting, page: &PageRequest) -> StoreResult<Page<Inspected>> {
        self.run(Op::Overview, |tables, now| {
            let rows = tables.integrations.values().rev().map(|row| Inspected {
                since: row.stored.updated_at,
                integration: row.view(now),
            });
            tables::page(
                page,
                rows.filter(|row| {
                    let standing = &row.integration.standing;
                    let who = standing.who_must_act.unwrap_or(WhoMustAct::Nobody);
                    let troubled = !matches!(standing.status, Status::Active | Status::Revoked);
                    match (wanting.status, wanting.who) {
                        (None, None) => troubled && who != WhoMustAct::Nobody,
                        (None, Some(wanted)) => troubled && who == wanted,
                        (Some(status), wanted) => {
                            standing.status == status && wanted.is_none_or(|wanted| wanted == who)
                        }
                    }
                }),
                |row| row.integration.id.uuid,
            )
        })
        .await
    }

    async fn history(&self, owner: &Subject, id: &IntegrationId, limit: u32) -> StoreResult<Vec<AuditView>> {
        self.run(Op::Overview, |tables, _| {
            let rows = tables.audit.iter().rev();
            let rows = rows.filter(|(_, _, entry)| {
                entry.subject.as_ref() == Some(owner) && entry.integration_id.as_ref() == Some(id)
            });
            Ok(rows
                .take(limit as usize)
                .map(|(id, at, entry)| records::view(*id, *at, entry))
                .collect())
        })
        .await
    }

    async fn key_usage(&self) -> StoreResult<Vec<KeyUsage>> {
        self.run(Op::Overview, |_, _| Ok(Vec::new())).await
    }
}
