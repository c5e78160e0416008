//! The outbox. An event is written in the transaction of the change it tells of; what has been told long enough goes.

use std::time::Duration;

use oauth_manager_actors::{domain::ids::IntegrationId, ports::store::StoreResult};

use super::{Storage, row::Record};

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

/// What happened lately that makes other nodes drop what they hold.
const RECENT: &str = "\
SELECT DISTINCT integration_id AS id, provider FROM oauth_events
WHERE kind <> 'refreshed' AND at > now() - $1::double precision * interval '1 second'";

/// How long events are kept for whoever reads them.
const PURGE: &str = "DELETE FROM oauth_events WHERE at < now() - interval '7 days'";

/// Tells other nodes that an integration changed. An accelerator only: engines without it, and listeners that missed
/// it, find the event in the outbox.
const ANNOUNCE: &str = "SELECT pg_notify('oauth_manager_events', $1)";
pub(super) const LISTEN: &str = "LISTEN oauth_manager_events";

impl Storage {
    /// Integrations that changed on any node within this time, by the database's clock; refreshes are no such change.
    /// For polling: ask for a few times the interval, as an event shows only when its transaction has ended. Hearing
    /// of a change twice costs a read.
    ///
    /// # Errors
    /// The database fails.
    pub async fn recent_changes(&self, within: Duration) -> StoreResult<Vec<IntegrationId>> {
        self.within("events.recent_changes", async {
            let client = self.system().await?;
            let rows = client.query(RECENT, &[&within.as_secs_f64()]).await?;
            rows.iter()
                .map(|row| {
                    let record = Record::of("oauth_events", row)?;
                    Ok(IntegrationId::new(record.parse("provider")?, record.id()))
                })
                .collect()
        })
        .await
    }

    /// Announces a change that is committed already. That it could not be announced is no failure of the change.
    pub(super) async fn announce(&self, id: &IntegrationId) {
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
        self.system().await?.execute(PURGE, &[]).await
    }
}
