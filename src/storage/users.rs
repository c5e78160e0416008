//! Erasing a user: noted first, done in one transaction when no provider has to be told any more, and done once more when
//! nothing can come late.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        erasure::ErasureStatus,
        ids::{IntegrationId, Subject},
        page::{Page, PageRequest},
    },
    ports::store::{StoreError, StoreResult, UserStore},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    lease::Transaction,
    row::Record,
};

/// Who asks again after the first sweep may have come back in between: they are swept anew.
const BEGIN: &str = concat!(
    "WITH e AS (
        INSERT INTO oauth_erasures (id, subject, pseudonym) VALUES ($15, $16, $17)
        ON CONFLICT (subject) WHERE subject IS NOT NULL
        DO UPDATE SET requested_at = now(), swept_at = NULL WHERE oauth_erasures.swept_at IS NOT NULL
        RETURNING id
    ) ",
    insert_audit!(),
    " FROM e"
);
const LOCK: &str = "\
SELECT id, pseudonym, swept_at IS NOT NULL AS swept,
    swept_at <= now() - $2::double precision * interval '1 second' AS quiet
FROM oauth_erasures WHERE subject = $1 FOR UPDATE";
/// Tokens that are still sealed are there for telling the provider.
const UNSETTLED: &str = "\
SELECT 1 FROM oauth_integrations i JOIN oauth_tokens t ON t.integration_id = i.id
WHERE i.subject = $1 AND (i.status <> 'revoked' OR t.data_key IS NOT NULL) LIMIT 1";
const ACCOUNTS: &str = "SELECT id, provider FROM oauth_integrations WHERE subject = $1";
/// Accounts, their tokens and connect flows go with the user.
const DELETE_USER: &str = "DELETE FROM users WHERE subject = $1";
const DELETE_SESSIONS: &str = "\
WITH links AS (DELETE FROM oauth_session_links WHERE subject = $1) DELETE FROM oauth_sessions WHERE subject = $1";
/// Other nodes still hear by them of what was taken back.
const RENAME_EVENTS: &str = "UPDATE oauth_events SET subject = $2 WHERE subject = $1";
const RENAME_CONSENTS: &str = "\
UPDATE oauth_consents
SET subject = $2, ip = NULL, user_agent = NULL, withdrawn_at = coalesce(withdrawn_at, now())
WHERE subject = $1";
const RENAME_AUDIT: &str = "SELECT oauth_audit_log_erase($1, $2)";
const AUDIT: &str = insert_audit!();
const SWEPT: &str = "UPDATE oauth_erasures SET swept_at = now() WHERE id = $1";
const FINISH: &str = "UPDATE oauth_erasures SET subject = NULL, finished_at = now() WHERE id = $1";
const UNFINISHED: &str = "\
SELECT id, subject FROM oauth_erasures
WHERE subject IS NOT NULL
    AND (swept_at IS NULL OR swept_at <= now() - $1::double precision * interval '1 second')
ORDER BY requested_at LIMIT $2";
/// A user's records may be many; the statements are few and each is bounded by that user.
const PATIENCE: &str = "SET LOCAL statement_timeout = '5min'";

impl Storage {
    async fn note_erasure(&self, owner: &Subject, audit: &AuditEntry) -> StoreResult<()> {
        let (id, pseudonym) = (Uuid::now_v7(), format!("erased:{}", Uuid::new_v4().simple()));
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        client
            .execute(BEGIN, &audit.params_and(&[&id, &owner.as_str(), &pseudonym]))
            .await
            .map(drop)
    }

    async fn erase_user(&self, owner: &Subject, quiet: Duration) -> StoreResult<ErasureStatus> {
        let transaction = self.system().await?.begin().await?;
        transaction.batch(PATIENCE).await?;
        let row = transaction
            .query_opt(LOCK, &[&owner.as_str(), &quiet.as_secs_f64()])
            .await?;
        let Some(row) = row else {
            transaction.rollback().await?;
            return Ok(ErasureStatus::Erased);
        };
        let erasure = Record::of("oauth_erasures", &row)?;
        let pseudonym: Subject = erasure.parse("pseudonym")?;
        let swept: bool = erasure.get("swept")?;
        let mut accounts = Vec::new();
        if !swept {
            if transaction
                .query_opt(UNSETTLED, &[&owner.as_str()])
                .await?
                .is_some()
            {
                transaction.rollback().await?;
                return Ok(ErasureStatus::Pending);
            }
            accounts = delete(&transaction, owner).await?;
            // It is about the pseudonym already: what is erased is not to be named by the record of its erasure.
            let mut audit = AuditEntry::new(
                AuditAction::Erase,
                AuditOutcome::Success,
                RequestContext::system(),
            );
            audit.subject = Some(pseudonym.clone());
            transaction
                .execute(AUDIT, &AuditRow::of(&audit).params_and(&[]))
                .await?;
            transaction.execute(SWEPT, &[&erasure.id()]).await?;
        }
        for rename in [RENAME_EVENTS, RENAME_CONSENTS, RENAME_AUDIT] {
            transaction
                .execute(rename, &[&owner.as_str(), &pseudonym.as_str()])
                .await?;
        }
        if erasure.get::<Option<bool>>("quiet")? == Some(true) {
            transaction.execute(FINISH, &[&erasure.id()]).await?;
        }
        transaction.commit().await?;
        for id in accounts {
            self.announce(&id).await;
        }
        Ok(ErasureStatus::Erased)
    }

    async fn erasures_under_way(&self, quiet: Duration, limit: u32) -> StoreResult<Vec<Subject>> {
        let client = self.system().await?;
        let rows = client
            .query(UNFINISHED, &[&quiet.as_secs_f64(), &i64::from(limit)])
            .await?;
        rows.iter()
            .map(|row| Record::of("oauth_erasures", row)?.parse("subject"))
            .collect()
    }
}

/// Everything that does not stay under a pseudonym; says which accounts there were.
async fn delete(transaction: &Transaction, owner: &Subject) -> StoreResult<Vec<IntegrationId>> {
    let rows = transaction.query(ACCOUNTS, &[&owner.as_str()]).await?;
    let account = |row: &tokio_postgres::Row| {
        let record = Record::of("oauth_integrations", row)?;
        Ok::<_, StoreError>(IntegrationId::new(record.parse("provider")?, record.id()))
    };
    let accounts = rows.iter().map(account).collect::<StoreResult<_>>()?;
    transaction.execute(DELETE_SESSIONS, &[&owner.as_str()]).await?;
    transaction.execute(DELETE_USER, &[&owner.as_str()]).await?;
    Ok(accounts)
}

// === impl UserStore ===

#[async_trait]
impl UserStore for Storage {
    async fn export(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<serde_json::Value>> {
        self.within("users.export", self.export_page(owner, page)).await
    }

    async fn begin_erasure(&self, owner: &Subject, audit: &AuditEntry) -> StoreResult<()> {
        self.within("users.begin_erasure", self.note_erasure(owner, audit))
            .await
    }

    async fn erase(&self, owner: &Subject, quiet: Duration) -> StoreResult<ErasureStatus> {
        // Without the deadline of the others: it would be begun again and again for whoever has more records than fit in.
        self.erase_user(owner, quiet).await
    }

    async fn unfinished_erasures(&self, quiet: Duration, limit: u32) -> StoreResult<Vec<Subject>> {
        self.within("users.unfinished_erasures", self.erasures_under_way(quiet, limit))
            .await
    }
}
