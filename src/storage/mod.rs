//! The Postgres adapter: fulfils the store ports of the actors. One file per noun, one constant per statement.
//!
//! Invariants: every change and its audit row are one transaction; every conditional write checks what it touched; every
//! read of a user's data names its owner, in SQL and to row-level security. Secrets pass through sealed; storage cannot
//! open them. Time is the database's clock wherever two nodes must agree.
//!
//! Two pools, so that the second wall costs the hot path nothing. Connections of the *system* pool carry
//! `oauth_manager.scope = system` for their whole life: claims and commits are one statement and one round trip, and
//! those of many accounts at one time are one statement together.
//! Connections of the *owner* pool carry nothing: a user's reads run there in a transaction that names the user by
//! `SET LOCAL`, which ends with it, so nothing of one user is left for the next.

mod arrays;
mod audit;
mod authorizations;
mod clients;
mod combiner;
mod connect;
mod consents;
mod cursor;
mod database_url;
mod dispatch;
mod egress;
mod errors;
mod events;
mod export;
mod features;
mod flow;
mod integrations;
mod key_checks;
mod lease;
mod listen;
mod load_batch;
mod measure;
mod migrations;
mod overview;
mod pool;
mod records;
mod redirects;
mod refresh;
mod refresh_batch;
mod refresh_commit;
mod rejections;
mod revocation;
mod rotation;
mod row;
mod session_check;
mod sessions;
// They bring their own Postgres, which is development mode's.
#[cfg(test)]
#[cfg(feature = "dev")]
mod tests;
mod tls;
mod usage;
mod users;
mod write_probe;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tracing::Instrument;

use oauth_manager_actors::{
    domain::{Timestamp, ids::Subject},
    ports::store::{StoreError, StoreResult},
};

pub use authorizations::CODE_EXCHANGE_GRACE;
use combiner::Combiner;
pub use key_checks::KeyCheck;
use lease::{Lease, Transaction};
use load_batch::Loads;
pub use measure::METRICS;
pub use migrations::{Applied, MigrationError};
use pool::Pools;
pub use pool::StorageConfigError;
use refresh_batch::{Claims, Commits};
pub use rotation::DataKeyRow;
pub use session_check::ConnectionProblem;

/// How the database is reached.
#[derive(Clone)]
pub struct StorageOptions {
    /// `postgres://…`, with `sslmode`, `sslrootcert`, `sslcert` and `sslkey` where wanted.
    pub url: String,
    /// Connections of this node, both pools together; at least 2.
    pub max_connections: usize,
    /// Longest wait for a free connection.
    pub wait_timeout: Duration,
    /// Longest wait for a new connection.
    pub connect_timeout: Duration,
    /// Longest run of a statement.
    pub statement_timeout: Duration,
}

impl fmt::Debug for StorageOptions {
    /// Without the URL: it holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StorageOptions")
            .field("max_connections", &self.max_connections)
            .field("wait_timeout", &self.wait_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .finish_non_exhaustive()
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections, in use or not.
    pub open: usize,
    /// Of these, not in use.
    pub idle: usize,
    /// Connections there may be.
    pub max: usize,
    /// Who waits for one.
    pub waiting: usize,
}

/// The database. Cheap to clone; all clones share the pools.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    pools: Pools,
    deadline: Duration,
    loads: Combiner<Loads>,
    claims: Combiner<Claims>,
    commits: Combiner<Commits>,
    /// Whether the database was found fit to work with; see [`Storage::hold_back`].
    admitted: AtomicBool,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage")
            .field("system", &self.0.pools.system.status())
            .field("owners", &self.0.pools.owners.status())
            .finish()
    }
}

impl Storage {
    /// Prepares the pools. Connects to nothing: a database that is away is an error of the statement, not of the start.
    ///
    /// # Errors
    /// The options cannot be understood, or the certificates they name cannot be read.
    pub fn connect(options: StorageOptions) -> Result<Self, StorageConfigError> {
        let pools = pool::build(&options)?;
        // A transaction runs a handful of statements; more than this means that the connection is dead, not slow.
        let deadline = options.wait_timeout + options.connect_timeout + 2 * options.statement_timeout;
        Ok(Self(Arc::new(Inner {
            pools,
            deadline,
            loads: Combiner::new(),
            claims: Combiner::new(),
            commits: Combiner::new(),
            admitted: AtomicBool::new(true),
        })))
    }

    /// Whether row-level security binds the role we connect as. It never binds superusers and roles that bypass it: the
    /// second wall is missing then, and whoever starts the service should say so.
    ///
    /// # Errors
    /// The database fails.
    pub async fn row_security_binds(&self) -> StoreResult<bool> {
        const BYPASSES: &str =
            "SELECT 1 FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls)";
        self.within("row_security_binds", async {
            let client = self.system().await?;
            Ok(client.query_opt(BYPASSES, &[]).await?.is_none())
        })
        .await
    }

    /// The database's clock.
    ///
    /// # Errors
    /// The database fails.
    pub async fn now(&self) -> StoreResult<Timestamp> {
        self.within("now", async {
            let rows = self
                .setup()
                .await?
                .query("SELECT clock_timestamp() AS now", &[])
                .await?;
            let now = rows.first().and_then(|row| row.try_get("now").ok());
            now.ok_or_else(|| StoreError::Unavailable("its clock cannot be read".into()))
        })
        .await
    }

    /// From now on nothing but migrations and key checks gets a connection, until [`admit`](Self::admit): a schema that
    /// is not there yet, or a wrong key, must not meet a request.
    pub fn hold_back(&self) {
        self.0.admitted.store(false, Ordering::Release);
    }

    /// The database is fit to work with.
    pub fn admit(&self) {
        self.0.admitted.store(true, Ordering::Release);
    }

    fn admitted(&self) -> StoreResult<()> {
        if self.0.admitted.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(StoreError::Unavailable(
            "its schema and keys are not checked yet".into(),
        ))
    }

    /// How full each pool is: for metrics.
    pub fn pools(&self) -> [(&'static str, PoolStatus); 2] {
        let status = |pool: &deadpool_postgres::Pool| {
            let status = pool.status();
            PoolStatus {
                open: status.size,
                idle: status.available,
                max: status.max_size,
                waiting: status.waiting,
            }
        };
        [
            ("system", status(&self.0.pools.system)),
            ("owner", status(&self.0.pools.owners)),
        ]
    }

    /// Connections in use or idle, of both pools: for metrics.
    pub fn connections(&self) -> usize {
        self.0.pools.system.status().size + self.0.pools.owners.status().size
    }

    /// Closes the pools; whatever waits for a connection fails.
    pub fn close(&self) {
        self.0.pools.system.close();
        self.0.pools.owners.close();
    }

    /// Runs one unit of work under the deadline and in a span of this name. The server's own timeouts end what is slow;
    /// this ends what hears nothing any more.
    async fn within<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = StoreResult<T>>,
    ) -> StoreResult<T> {
        let span = tracing::debug_span!("db", db.operation = name);
        match tokio::time::timeout(self.0.deadline, work.instrument(span)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Unavailable("no answer in time".into())),
        }
    }

    /// A connection for the system's own work.
    async fn system(&self) -> StoreResult<Lease> {
        self.admitted()?;
        self.setup().await
    }

    /// A connection for finding out whether the database is fit to work with.
    async fn setup(&self) -> StoreResult<Lease> {
        Lease::take(&self.0.pools.system).await
    }

    /// A read-only transaction that sees this owner's rows and no others.
    async fn owned_by(&self, owner: &Subject) -> StoreResult<Transaction> {
        const ACT_FOR: &str = "SELECT set_config('oauth_manager.subject', $1, true)";
        self.admitted()?;
        let transaction = Lease::take(&self.0.pools.owners).await?.begin_read_only().await?;
        transaction.query(ACT_FOR, &[&owner.as_str()]).await?;
        Ok(transaction)
    }
}
