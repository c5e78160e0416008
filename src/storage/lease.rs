//! A connection on loan from a pool. One that was given up in the middle of something (a deadline, a cancelled caller, an
//! open transaction) is closed and not returned: the next borrower must find neither a stranger's answer nor a
//! stranger's transaction.

use std::sync::atomic::{AtomicBool, Ordering};

use deadpool_postgres::{Object, Pool};
use tokio_postgres::{Row, types::ToSql};

use oauth_manager_actors::ports::store::StoreResult;

use super::{errors, measure};

/// What a statement is given.
pub(super) type Params<'a> = [&'a (dyn ToSql + Sync)];

/// A connection on loan.
pub(super) struct Lease {
    /// Present until dropped.
    object: Option<Object>,
    /// Whether something was begun on it that has not ended.
    busy: AtomicBool,
}

impl Lease {
    pub(super) async fn take(pool: &Pool) -> StoreResult<Self> {
        let begun = tokio::time::Instant::now();
        let object = pool.get().await;
        measure::waited(begun.elapsed());
        let object = object.map_err(errors::of_pool)?;
        Ok(Self {
            object: Some(object),
            busy: AtomicBool::new(false),
        })
    }

    pub(super) async fn query(&self, sql: &str, params: &Params<'_>) -> StoreResult<Vec<Row>> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, params).await
        })
        .await
    }

    pub(super) async fn query_opt(&self, sql: &str, params: &Params<'_>) -> StoreResult<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    pub(super) async fn execute(&self, sql: &str, params: &Params<'_>) -> StoreResult<u64> {
        self.run(async |client| {
            let statement = client.prepare_cached(sql).await?;
            client.execute(&statement, params).await
        })
        .await
    }

    pub(super) async fn batch(&self, sql: &str) -> StoreResult<()> {
        self.run(async |client| client.batch_execute(sql).await).await
    }

    pub(super) async fn begin(self) -> StoreResult<Transaction> {
        self.batch("BEGIN").await?;
        self.busy.store(true, Ordering::Relaxed);
        Ok(Transaction(self))
    }

    pub(super) async fn begin_read_only(self) -> StoreResult<Transaction> {
        self.batch("BEGIN READ ONLY").await?;
        self.busy.store(true, Ordering::Relaxed);
        Ok(Transaction(self))
    }

    /// A transaction that reads a list of all users' rows, page by page along its index. The planner takes row-level
    /// security to let hardly any row through, and would rather read the whole table and sort it for every page.
    pub(super) async fn begin_listing(self) -> StoreResult<Transaction> {
        self.batch("BEGIN READ ONLY; SET LOCAL enable_sort = off").await?;
        self.busy.store(true, Ordering::Relaxed);
        Ok(Transaction(self))
    }

    async fn run<T>(
        &self,
        work: impl AsyncFnOnce(&Object) -> Result<T, tokio_postgres::Error>,
    ) -> StoreResult<T> {
        let Some(object) = &self.object else {
            return Err(errors::given_back());
        };
        // In a transaction it is busy before and stays so until the end of that.
        let was_busy = self.busy.swap(true, Ordering::Relaxed);
        let result = work(object).await;
        self.busy.store(was_busy, Ordering::Relaxed);
        result.map_err(|error| errors::of_statement(&error))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take()
            && self.busy.load(Ordering::Relaxed)
        {
            drop(Object::take(object));
        }
    }
}

/// An open transaction; rolled back unless committed.
pub(super) struct Transaction(Lease);

impl Transaction {
    pub(super) async fn query(&self, sql: &str, params: &Params<'_>) -> StoreResult<Vec<Row>> {
        self.0.query(sql, params).await
    }

    pub(super) async fn query_opt(&self, sql: &str, params: &Params<'_>) -> StoreResult<Option<Row>> {
        self.0.query_opt(sql, params).await
    }

    pub(super) async fn execute(&self, sql: &str, params: &Params<'_>) -> StoreResult<u64> {
        self.0.execute(sql, params).await
    }

    pub(super) async fn batch(&self, sql: &str) -> StoreResult<()> {
        self.0.batch(sql).await
    }

    pub(super) async fn commit(self) -> StoreResult<()> {
        self.end("COMMIT").await
    }

    /// Ends it without a trace and keeps the connection, which merely dropping it would not.
    pub(super) async fn rollback(self) -> StoreResult<()> {
        self.end("ROLLBACK").await
    }

    async fn end(self, sql: &str) -> StoreResult<()> {
        self.0.batch(sql).await?;
        self.0.busy.store(false, Ordering::Relaxed);
        Ok(())
    }
}
