//! Reports that a token was rejected: the first of each generation is told from those that follow.

use oauth_manager_actors::{
    domain::ids::IntegrationId,
    ports::store::{RejectionReport, Reported, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
};

const CURRENT: &str = "\
SELECT 1 FROM oauth_tokens WHERE integration_id = $1 AND generation = $2 AND revoked_at IS NULL AND access_token IS NOT NULL";

const REPORT: &str = "\
INSERT INTO oauth_token_rejections (integration_id, generation) VALUES ($1, $2)
ON CONFLICT (integration_id) DO UPDATE SET generation = excluded.generation, reported_at = now()
    WHERE oauth_token_rejections.generation < excluded.generation";

/// The newest challenge is the one that counts.
const DEMAND: &str = "UPDATE oauth_token_rejections SET claims = $2 WHERE integration_id = $1";

const APPEND: &str = insert_audit!();

const CLAIMS: &str = "SELECT claims FROM oauth_token_rejections WHERE integration_id = $1";

impl Storage {
    pub(super) async fn store_rejection(&self, report: &RejectionReport) -> StoreResult<Reported> {
        let transaction = self.system().await?.begin().await?;
        let id = &report.id.uuid;
        if transaction
            .query_opt(CURRENT, &[id, &report.generation])
            .await?
            .is_none()
        {
            return Ok(Reported::Moved);
        }
        let is_first = transaction.execute(REPORT, &[id, &report.generation]).await? == 1;
        if let Some(claims) = &report.claims {
            transaction.execute(DEMAND, &[id, claims]).await?;
        }
        if is_first {
            let audit = AuditRow::of(&report.audit);
            transaction.execute(APPEND, &audit.params_and(&[])).await?;
        }
        transaction.commit().await?;
        Ok(if is_first {
            Reported::First
        } else {
            Reported::Again
        })
    }

    pub(super) async fn claims_of(&self, id: &IntegrationId) -> StoreResult<Option<String>> {
        let client = self.system().await?;
        let row = client.query_opt(CLAIMS, &[&id.uuid]).await?;
        Ok(row.and_then(|row| row.try_get("claims").ok().flatten()))
    }
}
