//! Everything about one user: read out, and erased.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, Op, tables};
use crate::{
    domain::{
        audit::AuditEntry,
        erasure::ErasureStatus,
        ids::Subject,
        integration::Status,
        page::{Page, PageRequest},
    },
    ports::store::{StoreResult, UserStore},
    shared::after,
};

#[async_trait]
impl UserStore for MemoryStore {
    async fn export(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<serde_json::Value>> {
        self.run(Op::Users, |tables, _| {
            let consents = tables.consents.iter().filter(|consent| consent.user == *owner);
            let mut items: Vec<_> = consents
                .map(|consent| (consent.id, serde_json::json!(consent)))
                .collect();
            items.sort_by_key(|(id, _)| std::cmp::Reverse(*id));
            let page = tables::page(page, items.into_iter(), |(id, _)| *id)?;
            Ok(Page {
                items: page.items.into_iter().map(|(_, item)| item).collect(),
                next: page.next,
            })
        })
        .await
    }

    async fn begin_erasure(&self, owner: &Subject, audit: &AuditEntry) -> StoreResult<()> {
        self.run(Op::Users, |tables, now| {
            tables.erasures.entry(owner.clone()).or_insert(None);
            tables.record(audit, now);
            Ok(())
        })
        .await
    }

    async fn erase(&self, owner: &Subject, quiet: Duration) -> StoreResult<ErasureStatus> {
        self.run(Op::Users, |tables, now| {
            let Some(swept_at) = tables.erasures.get(owner).copied() else {
                return Ok(ErasureStatus::Erased);
            };
            let is_unsettled = |row: &tables::Row| {
                let stored = &row.stored;
                stored.owner.subject == *owner
                    && (stored.standing.status != Status::Revoked || stored.grant.is_some())
            };
            if swept_at.is_none() && tables.integrations.values().any(is_unsettled) {
                return Ok(ErasureStatus::Pending);
            }
            tables.erase(owner);
            match swept_at {
                Some(swept_at) if after(swept_at, quiet) <= now => drop(tables.erasures.remove(owner)),
                Some(_) => {}
                None => drop(tables.erasures.insert(owner.clone(), Some(now))),
            }
            Ok(ErasureStatus::Erased)
        })
        .await
    }

    async fn unfinished_erasures(&self, quiet: Duration, limit: u32) -> StoreResult<Vec<Subject>> {
        self.run(Op::Users, |tables, now| {
            let is_due = |swept_at: &Option<_>| swept_at.is_none_or(|at| after(at, quiet) <= now);
            let due = tables.erasures.iter().filter(|(_, swept_at)| is_due(swept_at));
            Ok(due.take(limit as usize).map(|(owner, _)| owner.clone()).collect())
        })
        .await
    }
}

impl tables::Tables {
    fn erase(&mut self, owner: &Subject) {
        #[expect(clippy::expect_used, reason = "a name of ours")]
        let pseudonym: Subject = format!("erased:{}", Uuid::now_v7().simple())
            .parse()
            .expect("a subject");
        self.users.remove(owner);
        self.integrations
            .retain(|_, row| row.stored.owner.subject != *owner);
        self.flows.retain(|_, flow| flow.stored.owner.subject != *owner);
        self.links.retain(|_, link| link.request.subject != *owner);
        self.sessions.retain(|_, session| session.subject != *owner);
        for consent in self.consents.iter_mut().filter(|consent| consent.user == *owner) {
            consent.user = pseudonym.clone();
            (consent.ip, consent.user_agent) = (None, None);
        }
        let theirs = |entry: &AuditEntry| entry.subject.as_ref() == Some(owner);
        for (_, _, entry) in self.audit.iter_mut().filter(|(_, _, entry)| theirs(entry)) {
            entry.subject = Some(pseudonym.clone());
            (entry.context.ip, entry.context.user_agent) = (None, None);
        }
    }
}
