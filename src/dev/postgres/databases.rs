//! Administration of the private server: the role that owns the databases, and the databases.

use std::time::Duration;

use tokio_postgres::{Config, NoTls};

use super::PrivatePostgres;
use super::error::PostgresError;

/// The role the service connects as: it owns its databases and is exempt from nothing, least of all from row-level
/// security.
pub const ROLE: &str = "oauth_manager";

/// A local server answers at once or not at all.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Postgres truncates longer names silently.
const NAME_BYTES_MAX: usize = 63;

impl PrivatePostgres {
    /// Creates an empty database that belongs to the service's role.
    pub async fn create_database(&self, name: &str) -> Result<(), PostgresError> {
        let name = plain(name)?;
        self.admin(
            &format!("create database {name}"),
            &format!("CREATE DATABASE {name} OWNER {ROLE}"),
        )
        .await
    }

    /// Creates a database as a copy of `template`, to which nobody may be connected.
    pub async fn create_database_from(&self, template: &str, name: &str) -> Result<(), PostgresError> {
        let (template, name) = (plain(template)?, plain(name)?);
        let statement = format!("CREATE DATABASE {name} OWNER {ROLE} TEMPLATE {template}");
        self.admin(&format!("copy database {template} to {name}"), &statement)
            .await
    }

    /// Creates the database unless it exists; tells whether it did create it.
    pub async fn ensure_database(&self, name: &str) -> Result<bool, PostgresError> {
        match self.create_database(name).await {
            Ok(()) => Ok(true),
            Err(PostgresError::Sql { source, .. })
                if source.code() == Some(&tokio_postgres::error::SqlState::DUPLICATE_DATABASE) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Drops the database if it exists, ending the sessions that use it.
    pub async fn drop_database(&self, name: &str) -> Result<(), PostgresError> {
        let name = plain(name)?;
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        self.admin(&format!("drop database {name}"), &statement).await
    }

    /// Makes the role, or gives the one that exists the password of the file beside the cluster.
    pub(super) async fn ensure_role(&self, password: &str) -> Result<(), PostgresError> {
        // The password is hexadecimal: nothing in it ends the literal.
        let statement = format!(
            "DO $$ BEGIN \
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN CREATE ROLE {ROLE}; END IF; \
             END $$; \
             ALTER ROLE {ROLE} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD '{password}'"
        );
        self.admin(&format!("set up the role {ROLE}"), &statement).await
    }

    async fn admin(&self, action: &str, statement: &str) -> Result<(), PostgresError> {
        let mut config: Config = self.admin_url().parse().map_err(|source| PostgresError::Sql {
            action: action.to_owned(),
            source,
        })?;
        config.connect_timeout(CONNECT_TIMEOUT);
        run(&config, statement)
            .await
            .map_err(|source| PostgresError::Sql {
                action: action.to_owned(),
                source,
            })
    }
}

/// Runs one statement on a connection of its own.
pub(super) async fn run(config: &Config, statement: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    let work = async move { client.batch_execute(statement).await };
    // The connection must be driven while we wait, and needs no task of its own for that. It ends when the client
    // is dropped, which happens together with `work`.
    let (done, driven) = tokio::join!(work, connection);
    done?;
    driven
}

fn plain(name: &str) -> Result<&str, PostgresError> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_');
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if starts_well && name.len() <= NAME_BYTES_MAX && name.bytes().all(rest) {
        Ok(name)
    } else {
        Err(PostgresError::BadDatabaseName {
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_reach_sql() {
        for good in ["dev", "t_1", "_x"] {
            assert_eq!(plain(good).unwrap(), good);
        }
        for bad in ["", "1a", "a-b", "A", "a\"b", "a;b", &"a".repeat(64)] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
