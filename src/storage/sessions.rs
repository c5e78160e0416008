//! Browsers' sessions with us: a link that works once, and the cookie it is traded for. Both are kept as digests.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{audit::AuditEntry, sealed::Digest, session::Session},
    ports::store::{SessionStore, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    connect::feature_names,
    row::Record,
};

const CREATE_LINK: &str = concat!(
    "WITH s AS (
        INSERT INTO oauth_sessions (id, subject, link, return_to, features, link_expires_at)
        VALUES ($15, $16, $17, $18, $19, now() + $20::double precision * interval '1 second')
        RETURNING id
    ) ",
    insert_audit!(),
    " FROM s"
);
const OPEN: &str = "\
UPDATE oauth_sessions
SET cookie = $2, opened_at = now(), expires_at = now() + $3::double precision * interval '1 second'
WHERE link = $1 AND cookie IS NULL AND link_expires_at > now()
RETURNING id, subject, return_to, features, expires_at";
const FIND: &str = "\
SELECT id, subject, return_to, features, expires_at FROM oauth_sessions WHERE cookie = $1 AND expires_at > now()";
const END: &str = "UPDATE oauth_sessions SET expires_at = now() WHERE cookie = $1 AND expires_at > now()";
const PURGE: &str =
    "DELETE FROM oauth_sessions WHERE coalesce(expires_at, link_expires_at) < now() - interval '1 day'";

impl Storage {
    /// Drops the rows of sessions long over.
    pub(super) async fn purge_sessions(&self) -> StoreResult<u64> {
        self.system().await?.execute(PURGE, &[]).await
    }
}

fn session(row: &Row) -> StoreResult<Session> {
    let record = Record::of("oauth_sessions", row)?;
    let features = record.features("features")?;
    Ok(Session {
        subject: record.parse("subject")?,
        return_to: record.parse_opt("return_to")?,
        features: features.into_iter().collect(),
        expires_at: record.get("expires_at")?,
    })
}

// === impl SessionStore ===

#[async_trait]
impl SessionStore for Storage {
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        session: &Session,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()> {
        self.within("sessions.create_link", async {
            let audit = AuditRow::of(audit);
            let client = self.system().await?;
            client
                .execute(
                    CREATE_LINK,
                    &audit.params_and(&[
                        &id,
                        &session.subject.as_str(),
                        &link.0.as_slice(),
                        &session.return_to.as_ref().map(url::Url::as_str),
                        &feature_names(&session.features),
                        &lifetime.as_secs_f64(),
                    ]),
                )
                .await?;
            Ok(())
        })
        .await
    }

    async fn open(&self, link: &Digest, cookie: &Digest, lifetime: Duration) -> StoreResult<Option<Session>> {
        self.within("sessions.open", async {
            let client = self.system().await?;
            let row = client
                .query_opt(
                    OPEN,
                    &[&link.0.as_slice(), &cookie.0.as_slice(), &lifetime.as_secs_f64()],
                )
                .await?;
            row.as_ref().map(session).transpose()
        })
        .await
    }

    async fn find(&self, cookie: &Digest) -> StoreResult<Option<Session>> {
        self.within("sessions.find", async {
            let client = self.system().await?;
            let row = client.query_opt(FIND, &[&cookie.0.as_slice()]).await?;
            row.as_ref().map(session).transpose()
        })
        .await
    }

    async fn end(&self, cookie: &Digest) -> StoreResult<()> {
        self.within("sessions.end", async {
            let client = self.system().await?;
            client.execute(END, &[&cookie.0.as_slice()]).await?;
            Ok(())
        })
        .await
    }
}
