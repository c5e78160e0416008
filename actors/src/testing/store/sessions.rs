//! Sessions of browsers.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    MemoryStore, Op,
    tables::{Link, Opening, Tables},
};
use crate::{
    domain::{
        Timestamp,
        audit::AuditEntry,
        sealed::Digest,
        session::{Session, SessionRequest},
    },
    ports::store::{
        NewOpening, OPENINGS_MAX, SessionConfirmation, SessionConfirmed, SessionStore, StoreResult,
        StoredOpening,
    },
    shared::after,
};

#[async_trait]
impl SessionStore for MemoryStore {
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        request: &SessionRequest,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        self.run(Op::Sessions, |tables, now| {
            let made = Link {
                id,
                request: request.clone(),
                expires_at: after(now, lifetime),
                dead: false,
                openings: Vec::new(),
            };
            tables.links.insert(*link, made);
            tables.record(audit, now);
            Ok(())
        })
        .await
    }

    async fn return_address(&self, link: &Digest) -> StoreResult<Option<url::Url>> {
        self.run(Op::Sessions, |tables, now| {
            Ok(tables
                .living_link(link, now)
                .map(|link| link.request.return_to.clone()))
        })
        .await
    }

    async fn open(&self, link: &Digest, opening: &NewOpening) -> StoreResult<Option<StoredOpening>> {
        self.run(Op::Sessions, |tables, now| {
            let Some(link) = tables.living_link(link, now) else {
                return Ok(None);
            };
            let is_held = |known: &&Opening| known.expires_at > now && opening.held.contains(&known.pending);
            let held = link.openings.iter().find(is_held).map(|known| known.pending);
            let pending = held.unwrap_or(opening.pending);
            let expires_at = after(now, opening.lifetime);
            if link.openings.len() >= usize::from(OPENINGS_MAX) {
                link.openings.remove(0);
            }
            link.openings.push(Opening {
                pending,
                confirmation: opening.confirmation,
                confirmed: false,
                expires_at,
                cookie: None,
            });
            Ok(Some(StoredOpening {
                link_id: link.id,
                pending,
                return_to: link.request.return_to.clone(),
                expires_at,
            }))
        })
        .await
    }

    async fn confirm(&self, word: SessionConfirmation<'_>) -> StoreResult<SessionConfirmed> {
        self.run(Op::Sessions, |tables, now| {
            let mut links = tables.links.values_mut();
            let Some(link) = links.find(|link| link.id == word.link_id && !link.dead) else {
                return Ok(SessionConfirmed::Gone);
            };
            let subject = link.request.subject.clone();
            let opening = link
                .openings
                .iter_mut()
                .find(|opening| opening.confirmation == *word.confirmation && opening.expires_at > now)
                .filter(|_| link.request.client.id == word.client);
            let Some(opening) = opening else {
                return Ok(SessionConfirmed::Gone);
            };
            if subject != *word.user {
                link.dead = true;
                link.openings.clear();
                let mut refused = word.refused.clone();
                refused.subject = Some(subject);
                tables.record(&refused, now);
                return Ok(SessionConfirmed::OtherUser);
            }
            if !opening.confirmed {
                (opening.confirmed, opening.expires_at) = (true, after(now, word.lifetime));
                tables.record(word.confirmed, now);
            }
            Ok(SessionConfirmed::Done)
        })
        .await
    }

    async fn confirmed(&self, link_id: Uuid, pending: &[Digest]) -> StoreResult<Option<Session>> {
        self.run(Op::Sessions, |tables, now| {
            let opening = tables.confirmed_opening(link_id, pending, now);
            Ok(opening.map(|(session, _)| session))
        })
        .await
    }

    async fn enter(
        &self,
        link_id: Uuid,
        pending: &[Digest],
        cookie: &Digest,
        lifetime: Duration,
        replaced: Option<&Digest>,
    ) -> StoreResult<Option<Session>> {
        self.run(Op::Sessions, |tables, now| {
            let Some((mut session, opening)) = tables.confirmed_opening(link_id, pending, now) else {
                return Ok(None);
            };
            session.expires_at = after(now, lifetime);
            if let Some(before) = opening.cookie.replace(*cookie)
                && tables.sessions.remove(&before).is_none()
            {
                return Ok(None);
            }
            if let Some(replaced) = replaced {
                tables.sessions.remove(replaced);
            }
            tables.sessions.insert(*cookie, session.clone());
            Ok(Some(session))
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

fn session(link: &Link, expires_at: Timestamp) -> Session {
    let request = &link.request;
    Session {
        link_id: link.id,
        subject: request.subject.clone(),
        display_name: request.display_name.clone(),
        application: request.client.name.clone(),
        return_to: request.return_to.clone(),
        features: request.features.clone(),
        expires_at,
    }
}

impl Tables {
    fn living_link(&mut self, link: &Digest, now: Timestamp) -> Option<&mut Link> {
        let link = self.links.get_mut(link)?;
        (!link.dead && link.expires_at > now).then_some(link)
    }

    fn confirmed_opening(
        &mut self,
        link_id: Uuid,
        pending: &[Digest],
        now: Timestamp,
    ) -> Option<(Session, &mut Opening)> {
        let link = self.links.values_mut().find(|link| link.id == link_id)?;
        let is_ours = |opening: &Opening| {
            opening.confirmed && opening.expires_at > now && pending.contains(&opening.pending)
        };
        let place = link.openings.iter().rposition(is_ours)?;
        let session = session(link, link.openings.get(place)?.expires_at);
        Some((session, link.openings.get_mut(place)?))
    }
}
