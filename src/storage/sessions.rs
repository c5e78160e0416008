//! Browsers' sessions with us: a link, the browsers that opened it, the sessions that the application confirmed. Links,
//! cookies and confirmations are kept as digests.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::Row;
use url::Url;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        audit::AuditEntry,
        ids::Subject,
        sealed::Digest,
        session::{Session, SessionRequest},
    },
    ports::store::{
        NewOpening, OPENINGS_MAX, SessionConfirmation, SessionConfirmed, SessionStore, StoreResult,
        StoredOpening,
    },
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    connect::feature_names,
    row::Record,
};

const CREATE_LINK: &str = concat!(
    "WITH s AS (
        INSERT INTO oauth_session_links (id, subject, client, application, display_name, return_to, features, link,
            expires_at)
        VALUES ($15, $16, $17, $18, $19, $20, $21, $22, now() + $23::double precision * interval '1 second')
        RETURNING id
    ) ",
    insert_audit!(),
    " FROM s"
);
const RETURN_ADDRESS: &str = "\
SELECT id, return_to FROM oauth_session_links WHERE link = $1 AND died_at IS NULL AND expires_at > now()";
/// The row of the link is locked by its count, so that two openings never take one place.
const OPEN: &str = "\
WITH l AS (
    UPDATE oauth_session_links SET openings = openings + 1
    WHERE link = $1 AND died_at IS NULL AND expires_at > now()
    RETURNING id, subject, return_to, openings
), held AS (
    SELECT o.pending FROM oauth_session_openings AS o JOIN l ON o.link_id = l.id
    WHERE o.pending = ANY($4) AND o.expires_at > now() LIMIT 1
), o AS (
    INSERT INTO oauth_session_openings (id, link_id, subject, place, pending, confirmation, expires_at)
    SELECT $2, l.id, l.subject, l.openings % $7::bigint, coalesce((SELECT pending FROM held), $3), $5,
        now() + $6::double precision * interval '1 second'
    FROM l
    ON CONFLICT (link_id, place) DO UPDATE SET id = excluded.id, pending = excluded.pending,
        confirmation = excluded.confirmation, opened_at = now(), confirmed_at = NULL, expires_at = excluded.expires_at
    RETURNING link_id, pending, expires_at
)
SELECT l.id, l.return_to, o.pending, o.expires_at FROM o JOIN l ON l.id = o.link_id";
const CONFIRMATION: &str = "\
SELECT o.id, l.subject, o.confirmed_at IS NOT NULL AS confirmed
FROM oauth_session_links AS l JOIN oauth_session_openings AS o ON o.link_id = l.id
WHERE l.id = $1 AND l.client = $2 AND o.confirmation = $3 AND l.died_at IS NULL AND o.expires_at > now()
FOR UPDATE";
const CONFIRM: &str = concat!(
    "WITH o AS (
        UPDATE oauth_session_openings
        SET confirmed_at = now(), expires_at = now() + $16::double precision * interval '1 second'
        WHERE id = $15
        RETURNING id
    ) ",
    insert_audit!(),
    " FROM o"
);
/// All that is pending goes with it, what has been confirmed and not been entered as well.
const KILL: &str = concat!(
    "WITH l AS (
        UPDATE oauth_session_links SET died_at = now() WHERE id = $15 RETURNING id
    ), o AS (
        DELETE FROM oauth_session_openings WHERE link_id = $15
    ) ",
    insert_audit!(),
    " FROM l"
);
macro_rules! confirmed_opening {
    () => {
        "SELECT o.id, o.expires_at, l.id AS link_id, l.subject, l.application, l.display_name, l.return_to, l.features
        FROM oauth_session_openings AS o JOIN oauth_session_links AS l ON l.id = o.link_id
        WHERE o.link_id = $1 AND o.pending = ANY($2) AND o.confirmed_at IS NOT NULL AND o.expires_at > now()
            AND l.died_at IS NULL
        ORDER BY o.confirmed_at DESC, o.id LIMIT 1"
    };
}
const CONFIRMED: &str = confirmed_opening!();
/// Coming in again with the same pending cookie (an answer was lost) gives its session a new cookie, unless it is over.
const ENTER: &str = concat!(
    "WITH o AS (",
    confirmed_opening!(),
    "), r AS (
        UPDATE oauth_sessions SET expires_at = now()
        WHERE cookie = $5 AND expires_at > now() AND id NOT IN (SELECT id FROM o)
    )
    INSERT INTO oauth_sessions AS s (id, link_id, subject, application, display_name, return_to, features, cookie,
        expires_at)
    SELECT o.id, o.link_id, o.subject, o.application, o.display_name, o.return_to, o.features, $3,
        now() + $4::double precision * interval '1 second'
    FROM o
    ON CONFLICT (id) DO UPDATE SET cookie = excluded.cookie, expires_at = excluded.expires_at
        WHERE s.expires_at > now()
    RETURNING id, link_id, subject, application, display_name, return_to, features, expires_at"
);
const FIND: &str = "\
SELECT id, link_id, subject, application, display_name, return_to, features, expires_at
FROM oauth_sessions WHERE cookie = $1 AND expires_at > now()";
const END: &str = "UPDATE oauth_sessions SET expires_at = now() WHERE cookie = $1 AND expires_at > now()";
/// A link's last openings are over long before the day is.
const PURGE_LINKS: &str = "DELETE FROM oauth_session_links WHERE expires_at < now() - interval '1 day'";
const PURGE: &str = "DELETE FROM oauth_sessions WHERE expires_at < now() - interval '1 day'";

impl Storage {
    /// Drops the rows of sessions and links long over.
    pub(super) async fn purge_sessions(&self) -> StoreResult<u64> {
        let client = self.system().await?;
        Ok(client.execute(PURGE, &[]).await? + client.execute(PURGE_LINKS, &[]).await?)
    }

    async fn confirm_opening(&self, word: SessionConfirmation<'_>) -> StoreResult<SessionConfirmed> {
        let transaction = self.system().await?.begin().await?;
        let row = transaction
            .query_opt(
                CONFIRMATION,
                &[&word.link_id, &word.client, &word.confirmation.0.as_slice()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(SessionConfirmed::Gone);
        };
        let record = Record::of("oauth_session_openings", &row)?;
        let subject: Subject = record.parse("subject")?;
        let outcome = if subject == *word.user {
            if !record.get::<bool>("confirmed")? {
                let audit = AuditRow::of(word.confirmed);
                let lifetime = word.lifetime.as_secs_f64();
                transaction
                    .execute(CONFIRM, &audit.params_and(&[&record.id(), &lifetime]))
                    .await?;
            }
            SessionConfirmed::Done
        } else {
            let mut refused = word.refused.clone();
            refused.subject = Some(subject);
            let audit = AuditRow::of(&refused);
            transaction
                .execute(KILL, &audit.params_and(&[&word.link_id]))
                .await?;
            SessionConfirmed::OtherUser
        };
        transaction.commit().await?;
        Ok(outcome)
    }
}

fn session(row: &Row) -> StoreResult<Session> {
    let record = Record::of("oauth_sessions", row)?;
    let features = record.features("features")?;
    Ok(Session {
        link_id: record.get("link_id")?,
        subject: record.parse("subject")?,
        display_name: record.get("display_name")?,
        application: record.get("application")?,
        return_to: record.parse("return_to")?,
        features: features.into_iter().collect(),
        expires_at: record.get("expires_at")?,
    })
}

fn bytes(digests: &[Digest]) -> Vec<&[u8]> {
    digests.iter().map(|digest| digest.0.as_slice()).collect()
}

// === impl SessionStore ===

#[async_trait]
impl SessionStore for Storage {
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        request: &SessionRequest,
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
                        &request.subject.as_str(),
                        &request.client.id,
                        &request.client.name,
                        &request.display_name,
                        &request.return_to.as_str(),
                        &feature_names(&request.features),
                        &link.0.as_slice(),
                        &lifetime.as_secs_f64(),
                    ]),
                )
                .await?;
            Ok(())
        })
        .await
    }

    async fn return_address(&self, link: &Digest) -> StoreResult<Option<Url>> {
        self.within("sessions.return_address", async {
            let client = self.system().await?;
            let row = client.query_opt(RETURN_ADDRESS, &[&link.0.as_slice()]).await?;
            row.map(|row| Record::of("oauth_session_links", &row)?.parse("return_to"))
                .transpose()
        })
        .await
    }

    async fn open(&self, link: &Digest, opening: &NewOpening) -> StoreResult<Option<StoredOpening>> {
        self.within("sessions.open", async {
            let client = self.system().await?;
            let row = client
                .query_opt(
                    OPEN,
                    &[
                        &link.0.as_slice(),
                        &opening.id,
                        &opening.pending.0.as_slice(),
                        &bytes(&opening.held),
                        &opening.confirmation.0.as_slice(),
                        &opening.lifetime.as_secs_f64(),
                        &i64::from(OPENINGS_MAX),
                    ],
                )
                .await?;
            row.map(|row| {
                let record = Record::of("oauth_session_openings", &row)?;
                Ok(StoredOpening {
                    link_id: record.id(),
                    pending: record
                        .digest("pending")?
                        .ok_or_else(|| record.wrong("it has no pending cookie"))?,
                    return_to: record.parse("return_to")?,
                    expires_at: record.get("expires_at")?,
                })
            })
            .transpose()
        })
        .await
    }

    async fn confirm(&self, word: SessionConfirmation<'_>) -> StoreResult<SessionConfirmed> {
        self.within("sessions.confirm", self.confirm_opening(word)).await
    }

    async fn confirmed(&self, link_id: Uuid, pending: &[Digest]) -> StoreResult<Option<Session>> {
        self.within("sessions.confirmed", async {
            let client = self.system().await?;
            let row = client.query_opt(CONFIRMED, &[&link_id, &bytes(pending)]).await?;
            row.as_ref().map(session).transpose()
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
        self.within("sessions.enter", async {
            let client = self.system().await?;
            let replaced = replaced.map(|cookie| cookie.0.as_slice());
            let row = client
                .query_opt(
                    ENTER,
                    &[
                        &link_id,
                        &bytes(pending),
                        &cookie.0.as_slice(),
                        &lifetime.as_secs_f64(),
                        &replaced,
                    ],
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
