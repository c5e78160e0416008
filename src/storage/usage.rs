//! When accounts were last asked for: coarse, so that handing tokens out costs no write.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::audit::{AuditAction, AuditEntry, AuditOutcome},
    ports::store::StoreResult,
};

use super::Storage;

/// An hour is fine enough to tell who was not asked for in a day. In the order of the key, so that two nodes that mark the
/// same accounts do not wait for each other in a circle.
const MARK: &str = "\
WITH asked AS (
    SELECT integration_id FROM oauth_tokens
    WHERE integration_id = ANY($1) AND last_used_at < now() - interval '1 hour'
    ORDER BY integration_id FOR UPDATE
)
UPDATE oauth_tokens AS t SET last_used_at = now() FROM asked WHERE t.integration_id = asked.integration_id";

impl Storage {
    /// Marks the accounts whose tokens these records say were handed out. One that could not be marked is marked with
    /// the next record of it: nothing is lost but a little precision.
    pub(super) async fn mark_used(&self, records: &[AuditEntry]) {
        let used: Vec<Uuid> = records
            .iter()
            .filter(|record| {
                record.action == AuditAction::TokenIssued && record.outcome == AuditOutcome::Success
            })
            .filter_map(|record| record.integration_id.as_ref())
            .map(|id| id.uuid)
            .collect();
        if used.is_empty() {
            return;
        }
        if let Err(error) = self.mark(&used).await {
            tracing::debug!(%error, accounts = used.len(), "accounts in use are not marked yet");
        }
    }

    async fn mark(&self, used: &[Uuid]) -> StoreResult<u64> {
        let work = async { self.system().await?.execute(MARK, &[&used]).await };
        self.within("usage.mark", work).await
    }
}
