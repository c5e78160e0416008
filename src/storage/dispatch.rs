//! Due work, given to nodes in batches without a leader.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::{ids::NodeId, integration::StoredIntegration},
    ports::store::{DispatchRequest, StoreResult},
};

use super::{
    Storage,
    row::{self, integration_columns},
};

/// The rows are found through the index of due work and nothing else: the array keeps the planner from joining.
pub(super) const DISPATCH: &str = concat!(
    "WITH due AS (
        SELECT integration_id FROM oauth_tokens
        WHERE provider = $1 AND next_refresh_at IS NOT NULL
            AND next_refresh_at <= now() - $3::double precision * interval '1 second'
            AND (claim_until IS NULL OR claim_until <= now())
            AND (dispatched_until IS NULL OR dispatched_until <= now())
        ORDER BY next_refresh_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ), t AS (
        UPDATE oauth_tokens AS own
        SET dispatched_to = $4, dispatched_until = now() + $5::double precision * interval '1 second'
        WHERE own.integration_id = ANY(ARRAY(SELECT integration_id FROM due))
        RETURNING own.*
    )
    SELECT ",
    integration_columns!(),
    " FROM t JOIN oauth_integrations i ON i.id = t.integration_id ORDER BY t.next_refresh_at"
);

/// What somebody works on just now is left out: it needs no other node.
const HAND_BACK: &str = "\
WITH given AS (
    SELECT integration_id FROM oauth_tokens
    WHERE integration_id = ANY($1) AND dispatched_to = $2
    ORDER BY integration_id FOR UPDATE SKIP LOCKED
)
UPDATE oauth_tokens AS t SET dispatched_to = NULL, dispatched_until = NULL
FROM given WHERE t.integration_id = given.integration_id";

impl Storage {
    pub(super) async fn dispatch_due(
        &self,
        request: &DispatchRequest,
    ) -> StoreResult<Vec<StoredIntegration>> {
        let client = self.system().await?;
        let rows = client
            .query(
                DISPATCH,
                &[
                    &request.provider.as_str(),
                    &i64::from(request.room),
                    &request.overdue.as_secs_f64(),
                    &request.node.0,
                    &request.hold.as_secs_f64(),
                ],
            )
            .await?;
        let mut given = Vec::with_capacity(rows.len());
        for row in &rows {
            match row::integration(row) {
                Ok(integration) => given.push(integration),
                // One defect must not keep all others waiting.
                Err(error) => tracing::error!(%error, "due work cannot be read"),
            }
        }
        Ok(given)
    }

    pub(super) async fn hand_back_due(&self, node: NodeId, integrations: &[Uuid]) -> StoreResult<()> {
        let client = self.system().await?;
        client.execute(HAND_BACK, &[&integrations, &node.0]).await?;
        Ok(())
    }
}
