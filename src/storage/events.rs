//! The outbox. An event is written in the transaction of the change it tells of; what has been told long enough goes.

use oauth_manager_actors::ports::store::StoreResult;

use super::Storage;

/// `INSERT INTO oauth_events …` of an integration `i` with its tokens `t`, after its id and kind; to be followed by `FROM`.
macro_rules! insert_event {
    ($id:literal, $kind:expr) => {
        concat!(
            "INSERT INTO oauth_events (id, kind, subject, provider, integration_id, generation, status, status_reason) ",
            "SELECT ", $id, "::uuid, ", $kind, ", i.subject, i.provider, i.id, t.generation, i.status, i.status_reason"
        )
    };
}
pub(super) use insert_event;

/// How long events are kept for whoever reads them.
const KEPT: &str = "DELETE FROM oauth_events WHERE at < now() - interval '7 days'";

/// Tells other nodes that an integration changed. An accelerator only: engines without it, and listeners that missed
/// it, find the event in the outbox.
const ANNOUNCE: &str = "SELECT pg_notify('oauth_manager_events', $1)";

impl Storage {
    /// Announces a change that is committed already. That it could not be announced is no failure of the change.
    pub(super) async fn announce(&self, id: &oauth_manager_actors::domain::ids::IntegrationId) {
        let told = async {
            let client = self.system().await?;
            client.query(ANNOUNCE, &[&id.to_string()]).await
        };
        if let Err(error) = told.await {
            tracing::debug!(integration.id = %id, %error, "a change was not announced");
        }
    }

    /// Drops events that everybody had time to read.
    pub(super) async fn purge_events(&self) -> StoreResult<u64> {
        self.system().await?.execute(KEPT, &[]).await
    }
}
