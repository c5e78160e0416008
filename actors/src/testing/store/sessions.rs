//! Sessions of browsers.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, Op};
use crate::{
    domain::{audit::AuditEntry, sealed::Digest, session::Session},
    ports::store::{SessionStore, StoreResult},
    shared::after,
};

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create_link(
        &self,
        _id: Uuid,
        link: &Digest,
        session: &Session,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        self.run(Op::Sessions, |tables, now| {
            tables
                .links
                .insert(*link, (session.clone(), after(now, lifetime)));
            tables.record(audit, now);
            Ok(())
        })
        .await
    }

    async fn open(&self, link: &Digest, cookie: &Digest, lifetime: Duration) -> StoreResult<Option<Session>> {
        self.run(Op::Sessions, |tables, now| {
            let live = tables.links.remove(link).filter(|(_, until)| *until > now);
            let session = live.map(|(session, _)| Session {
                expires_at: after(now, lifetime),
                ..session
            });
            if let Some(session) = &session {
                tables.sessions.insert(*cookie, session.clone());
            }
            Ok(session)
        })
        .await
    }

    async fn find(&self, cookie: &Digest) -> StoreResult<Option<Session>> {
        self.run(Op::Sessions, |tables, now| {
            Ok(tables
                .sessions
                .get(cookie)
                .filter(|session| session.expires_at > now)
                .cloned())
        })
        .await
    }

    async fn end(&self, cookie: &Digest) -> StoreResult<()> {
        self.run(Op::Sessions, |tables, _| {
            tables.sessions.remove(cookie);
            Ok(())
        })
        .await
    }
}
