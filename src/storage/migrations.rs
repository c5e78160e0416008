//! Schema migrations: forward only, each file once and in one transaction, by one node at a time. A file that was applied
//! never changes; one that did is told by name.

use ring::digest::{SHA256, digest};

use oauth_manager_actors::ports::store::{StoreError, StoreResult};

use super::{Storage, lease::Transaction};

/// One file.
struct Migration {
    version: i32,
    name: &'static str,
    sql: &'static str,
}

/// Every file, in order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        name: "users_and_integrations",
        sql: include_str!("../../migrations/0001_users_and_integrations.sql"),
    },
    Migration {
        version: 2,
        name: "authorizations_and_sessions",
        sql: include_str!("../../migrations/0002_authorizations_and_sessions.sql"),
    },
    Migration {
        version: 3,
        name: "records",
        sql: include_str!("../../migrations/0003_records.sql"),
    },
    Migration {
        version: 4,
        name: "catalogue_clients_and_keys",
        sql: include_str!("../../migrations/0004_catalogue_clients_and_keys.sql"),
    },
    Migration {
        version: 5,
        name: "egress",
        sql: include_str!("../../migrations/0005_egress.sql"),
    },
    Migration {
        version: 6,
        name: "keep_alive",
        sql: include_str!("../../migrations/0006_keep_alive.sql"),
    },
    Migration {
        version: 7,
        name: "status_since",
        sql: include_str!("../../migrations/0007_status_since.sql"),
    },
    Migration {
        version: 8,
        name: "claim_unsettled_since",
        sql: include_str!("../../migrations/0008_claim_unsettled_since.sql"),
    },
    Migration {
        version: 9,
        name: "staged_grants",
        sql: include_str!("../../migrations/0009_staged_grants.sql"),
    },
    Migration {
        version: 10,
        name: "consents",
        sql: include_str!("../../migrations/0010_consents.sql"),
    },
    Migration {
        version: 11,
        name: "redirects",
        sql: include_str!("../../migrations/0011_redirects.sql"),
    },
    Migration {
        version: 12,
        name: "sessions",
        sql: include_str!("../../migrations/0012_sessions.sql"),
    },
    Migration {
        version: 13,
        name: "token_rejections",
        sql: include_str!("../../migrations/0013_token_rejections.sql"),
    },
    Migration {
        version: 14,
        name: "write_probe",
        sql: include_str!("../../migrations/0014_write_probe.sql"),
    },
];

/// Held while a file is applied. Any number will do, as long as nothing else in the database uses it.
const ADVISORY_LOCK: i64 = 0x6f61_7574_685f_6d67;

/// A schema that cannot be brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MigrationError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An applied file is not the one this program has.
    #[error("migration {version} ({name}) was applied in another form than this program has")]
    Checksum {
        /// Its number.
        version: i32,
        /// Its name.
        name: String,
    },
}

/// A migration that was just applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its number.
    pub version: i32,
    /// Its name.
    pub name: &'static str,
}

const CREATE_TABLE: &str = "\
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)";
const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const FIND: &str = "SELECT name, checksum FROM schema_migrations WHERE version = $1";
const RECORD: &str = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)";
const TABLE_EXISTS: &str = "SELECT to_regclass('schema_migrations') IS NOT NULL";
const CURRENT: &str = "SELECT max(version) FROM schema_migrations";
/// Building an index on a large table takes its time; a node that waits for another's migration does so patiently.
const PATIENCE: &str = "SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";

impl Storage {
    /// Brings the schema up to date; returns what was applied. Safe to run twice and from several nodes at once.
    ///
    /// # Errors
    /// The database fails, or an applied file has changed.
    pub async fn migrate(&self) -> Result<Vec<Applied>, MigrationError> {
        self.migrate_with(MIGRATIONS).await
    }

    async fn migrate_with(&self, migrations: &[Migration]) -> Result<Vec<Applied>, MigrationError> {
        let mut applied = Vec::new();
        for migration in migrations {
            let transaction = self.setup().await?.begin().await?;
            transaction.batch(PATIENCE).await?;
            transaction.query(LOCK, &[&ADVISORY_LOCK]).await?;
            if apply(&transaction, migration).await? {
                applied.push(Applied {
                    version: migration.version,
                    name: migration.name,
                });
            }
            transaction.commit().await?;
        }
        Ok(applied)
    }

    /// The number of the last migration applied; 0: none.
    ///
    /// # Errors
    /// The database fails.
    pub async fn current_version(&self) -> StoreResult<i32> {
        self.within("migrations.current_version", async {
            let client = self.setup().await?;
            let exists = client.query_opt(TABLE_EXISTS, &[]).await?;
            if !exists.is_some_and(|row| row.try_get(0).unwrap_or(false)) {
                return Ok(0);
            }
            let row = client.query_opt(CURRENT, &[]).await?;
            Ok(row
                .and_then(|row| row.try_get::<_, Option<i32>>(0).ok().flatten())
                .unwrap_or(0))
        })
        .await
    }

    /// Whether the schema is at least the one this program knows: a newer one serves the older program too, as
    /// migrations only add until the release after.
    ///
    /// # Errors
    /// The database fails.
    pub async fn is_current(&self) -> StoreResult<bool> {
        let known = MIGRATIONS.last().map_or(0, |migration| migration.version);
        Ok(self.current_version().await? >= known)
    }
}

/// Applies one file unless it is applied already; whether it was applied now.
async fn apply(transaction: &Transaction, migration: &Migration) -> Result<bool, MigrationError> {
    transaction.batch(CREATE_TABLE).await?;
    let checksum = checksum(migration.sql);
    if let Some(row) = transaction.query_opt(FIND, &[&migration.version]).await? {
        let same = row
            .try_get::<_, String>("checksum")
            .is_ok_and(|applied| applied == checksum);
        if !same {
            return Err(MigrationError::Checksum {
                version: migration.version,
                name: row.try_get("name").unwrap_or_default(),
            });
        }
        return Ok(false);
    }
    transaction.batch(migration.sql).await?;
    transaction
        .execute(RECORD, &[&migration.version, &migration.name, &checksum])
        .await?;
    Ok(true)
}

/// Of the text with unix line ends: a checkout that changed them changed nothing.
fn checksum(sql: &str) -> String {
    use std::fmt::Write;

    let digest = digest(&SHA256, sql.replace("\r\n", "\n").as_bytes());
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tests::{empty_database, storage};

    #[tokio::test]
    async fn migrations_run_twice() {
        let database = empty_database().await;
        let storage = storage(&database);
        assert!(!storage.is_current().await.unwrap());
        let (one, two) = tokio::join!(storage.migrate(), storage.migrate());
        // Whichever of the two was first with a file applied it; together they applied each once.
        assert_eq!(one.unwrap().len() + two.unwrap().len(), MIGRATIONS.len());
        assert_eq!(storage.migrate().await.unwrap(), []);
        assert!(storage.is_current().await.unwrap());
    }

    #[tokio::test]
    async fn a_changed_migration_is_told_by_name() {
        let database = empty_database().await;
        let storage = storage(&database);
        let migration = |sql| Migration {
            version: 1,
            name: "first",
            sql,
        };
        let once = [migration("CREATE TABLE a (id int)")];
        storage.migrate_with(&once).await.unwrap();
        let changed = [migration("CREATE TABLE b (id int)")];
        assert_eq!(
            storage.migrate_with(&changed).await.unwrap_err(),
            MigrationError::Checksum {
                version: 1,
                name: "first".into()
            }
        );
    }

    #[test]
    fn every_file_is_listed_in_order() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let listed: Vec<String> = MIGRATIONS
            .iter()
            .map(|m| format!("{:04}_{}.sql", m.version, m.name))
            .collect();
        assert_eq!(files, listed);
    }
}
