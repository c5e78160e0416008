//! Rows of many accounts read in one statement: whoever is woken is read first, and many are woken at one time.

use std::sync::LazyLock;

use uuid::Uuid;

use oauth_manager_actors::{
    domain::{ids::IntegrationId, integration::StoredIntegration},
    ports::store::StoreResult,
};

use super::{
    Storage,
    arrays::rows_of,
    combiner::{Answers, Batch, by_row},
    row::{self, integration_columns},
};

static LOADS: LazyLock<String> = LazyLock::new(|| {
    let rows = rows_of(1, &[("id", "uuid"), ("provider", "text")]);
    format!("WITH w AS ({rows}) {LOAD_ROWS}")
});
const LOAD_ROWS: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM w JOIN oauth_integrations i ON i.id = w.id AND i.provider = w.provider \
     LEFT JOIN oauth_tokens t ON t.integration_id = i.id"
);

/// Readings.
pub(super) struct Loads;

impl Batch for Loads {
    type Question = IntegrationId;
    /// `None`: there is no such row.
    type Answer = Option<StoredIntegration>;
    const NAME: &'static str = "integrations.load_batch";

    fn written(_: &IntegrationId) -> Option<Uuid> {
        None
    }

    async fn run(storage: &Storage, ids: &[IntegrationId]) -> StoreResult<Answers<Self>> {
        let uuids: Vec<_> = ids.iter().map(|id| id.uuid).collect();
        let providers: Vec<_> = ids.iter().map(|id| id.provider.as_str()).collect();
        let client = storage.system().await?;
        let rows = client.query(&LOADS, &[&uuids, &providers]).await?;
        drop(client);
        let found = by_row(&rows, row::integration);
        let answer = |id: &IntegrationId| match found.get(&id.uuid) {
            // Somebody may ask for it by another provider's name in the same batch.
            Some(Ok(row)) => Ok((row.id == *id).then(|| row.clone())),
            Some(Err(error)) => Err(error.clone()),
            None => Ok(None),
        };
        Ok(ids.iter().map(|id| Some(answer(id))).collect())
    }
}
