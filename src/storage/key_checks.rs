//! Check values of encryption keys: bytes to storage, proof to the vault. The first value written under an id stays.

use oauth_manager_actors::ports::store::{StoreError, StoreResult};

use super::Storage;

/// A key's check value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCheck {
    /// Which key.
    pub key_id: String,
    /// What it must prove itself by.
    pub check_value: Vec<u8>,
}

const LIST: &str = "SELECT key_id, check_value FROM oauth_key_checks ORDER BY key_id";
const INSERT: &str =
    "INSERT INTO oauth_key_checks (key_id, check_value) VALUES ($1, $2) ON CONFLICT DO NOTHING";

impl Storage {
    /// Every check value.
    ///
    /// # Errors
    /// The database fails.
    pub async fn key_checks(&self) -> StoreResult<Vec<KeyCheck>> {
        self.within("key_checks.list", async {
            let rows = self.setup().await?.query(LIST, &[]).await?;
            rows.iter()
                .map(|row| {
                    Ok(KeyCheck {
                        key_id: row.try_get("key_id")?,
                        check_value: row.try_get("check_value")?,
                    })
                })
                .collect::<Result<_, tokio_postgres::Error>>()
                .map_err(|_| StoreError::Inconsistent {
                    table: "oauth_key_checks",
                    id: "-".into(),
                    detail: "a row cannot be read".into(),
                })
        })
        .await
    }

    /// Keeps a check value unless there is one for this key; whether it was kept. If not, another node was first:
    /// read again and verify against that.
    ///
    /// # Errors
    /// The database fails.
    pub async fn add_key_check(&self, check: &KeyCheck) -> StoreResult<bool> {
        self.within("key_checks.add", async {
            let client = self.setup().await?;
            let added = client
                .execute(INSERT, &[&check.key_id, &check.check_value])
                .await?;
            Ok(added == 1)
        })
        .await
    }
}
