//! Access to wrapped data keys, for rotation: page through them, and put a newly wrapped one in the place of exactly the one
//! it was made from. A row that was reconnected in the meantime has a key of its own and is left alone. Connect flows are
//! not rotated: they are over within the hour.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::sealed::{KeyContext, WrappedKey},
    ports::store::{Commit, StoreResult},
};

use super::{Storage, refresh::done_if, row::Record};

/// An integration's wrapped data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataKeyRow {
    /// Whose; `context.record` is where the next page begins after.
    pub context: KeyContext,
    /// The key as stored.
    pub data_key: WrappedKey,
}

const PAGE: &str = "\
SELECT i.id, i.user_id, i.subject, i.provider, t.data_key
FROM oauth_tokens t JOIN oauth_integrations i ON i.id = t.integration_id
WHERE t.integration_id > $1 AND t.data_key IS NOT NULL
ORDER BY t.integration_id LIMIT $2";
const REPLACE: &str = "UPDATE oauth_tokens SET data_key = $3 WHERE integration_id = $1 AND data_key = $2";

impl Storage {
    /// Wrapped data keys in the order of their integrations, after this one ([`Uuid::nil`]: from the beginning).
    ///
    /// # Errors
    /// The database fails.
    pub async fn data_keys(&self, after: Uuid, limit: u32) -> StoreResult<Vec<DataKeyRow>> {
        self.within("rotation.data_keys", async {
            let client = self.system().await?;
            let rows = client.query(PAGE, &[&after, &i64::from(limit)]).await?;
            rows.iter()
                .map(|row| {
                    let record = Record::of("oauth_tokens", row)?;
                    Ok(DataKeyRow {
                        context: KeyContext {
                            record: record.id(),
                            user: record.owner()?.user_id,
                            provider: record.parse("provider")?,
                        },
                        data_key: WrappedKey(record.get("data_key")?),
                    })
                })
                .collect()
        })
        .await
    }

    /// Puts a newly wrapped data key in the place of the one it was made from.
    ///
    /// # Errors
    /// The database fails.
    pub async fn replace_data_key(&self, row: &DataKeyRow, rewrapped: &WrappedKey) -> StoreResult<Commit> {
        self.within("rotation.replace_data_key", async {
            let client = self.system().await?;
            let touched = client
                .execute(REPLACE, &[&row.context.record, &row.data_key.0, &rewrapped.0])
                .await?;
            Ok(done_if(touched == 1))
        })
        .await
    }
}
