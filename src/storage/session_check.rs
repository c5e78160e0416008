//! Whether what answers is a database to work with: TLS as asked for, and sessions that last. Looked at once, when the
//! database is made ready; no request pays for it.
//!
//! A session carries who may see what (row-level security) and what it listens for. A pooler that gives every transaction
//! another server (PgBouncer in transaction or statement mode) mixes the sessions of its clients, and says so nowhere. What
//! one connection sets is therefore looked for on another, and again on its own, while that other holds a transaction.

use deadpool_postgres::{HookError, Object, Pool, PoolError};
use tokio_postgres::SimpleQueryMessage;
use uuid::Uuid;

use oauth_manager_actors::ports::store::StoreError;

use super::{Storage, errors, tls};

/// In the first, a pooler at rest gives itself away, whatever its order; a busy one may take another.
const ROUNDS: usize = 6;

/// Why the database cannot be worked with as it is reached now.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionProblem {
    /// It is not there.
    #[error("{0}")]
    Away(StoreError),
    /// Its TLS is not what the URL asks for: what is wrong, and how to mend it.
    #[error("{0}")]
    Tls(String),
    /// Sessions do not last.
    #[error(
        "what answers here gives every transaction another session, as PgBouncer does with pool_mode = transaction or \
         statement: set pool_mode = session for this database, or connect to Postgres itself"
    )]
    ShortSessions,
}

impl Storage {
    /// Looks whether TLS is as asked for, and sessions last.
    ///
    /// # Errors
    /// Why the database cannot be worked with; away is the only one that passes by itself.
    pub async fn check_connection(&self) -> Result<(), ConnectionProblem> {
        let check = async {
            let (first, second) = (
                connect(&self.0.pools.system).await?,
                connect(&self.0.pools.owners).await?,
            );
            let last = sessions_last(&first, &second).await;
            // What they were used for must not be left in them.
            drop((Object::take(first), Object::take(second)));
            last
        };
        let late = || ConnectionProblem::Away(StoreError::Unavailable("no answer in time".into()));
        tokio::time::timeout(self.0.deadline, check)
            .await
            .map_err(|_| late())?
    }
}

async fn connect(pool: &Pool) -> Result<Object, ConnectionProblem> {
    pool.get().await.map_err(|error| {
        let refusal = match &error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => {
                tls::refusal(error)
            }
            _ => None,
        };
        refusal.map_or_else(
            || ConnectionProblem::Away(errors::of_pool(error)),
            ConnectionProblem::Tls,
        )
    })
}

async fn sessions_last(first: &Object, second: &Object) -> Result<(), ConnectionProblem> {
    const MARK: &str = "SELECT current_setting('oauth_manager.session_check', true)";
    let mark = Uuid::new_v4().simple().to_string();
    for round in 0..ROUNDS {
        say(first, &format!("SET oauth_manager.session_check = '{mark}'")).await?;
        if round % 2 == 1 {
            // A pooler that takes its servers in turn would otherwise give each of us the same one every time.
            say(second, "SELECT 1").await?;
        }
        match second.simple_query("BEGIN").await {
            Ok(_) => {}
            // Transactions themselves are refused in statement mode.
            Err(error) if error.as_db_error().is_some() => return Err(ConnectionProblem::ShortSessions),
            Err(error) => return Err(away(&error)),
        }
        let (theirs, own) = (say(second, MARK).await?, say(first, MARK).await?);
        say(second, "ROLLBACK").await?;
        if theirs.as_ref() == Some(&mark) || own.as_ref() != Some(&mark) {
            return Err(ConnectionProblem::ShortSessions);
        }
    }
    Ok(())
}

/// Without preparing anything, which a pooler may not carry over either. Says the first value of the answer.
async fn say(connection: &Object, statement: &str) -> Result<Option<String>, ConnectionProblem> {
    let answer = connection
        .simple_query(statement)
        .await
        .map_err(|error| away(&error))?;
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(row.map(str::to_owned))
}

fn away(error: &tokio_postgres::Error) -> ConnectionProblem {
    ConnectionProblem::Away(errors::of_statement(error))
}
