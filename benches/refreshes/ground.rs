//! What a measurement stands on: a Postgres of its own that keeps what it commits, seeded databases, and the books of
//! what was committed.

use std::time::Duration;

use anyhow::Context as _;
use oauth_manager::{
    dev::{
        postgres::{PostgresOptions, PrivatePostgres, ephemeral_dir},
        seed::{Seed, seed},
    },
    storage::{Storage, StorageOptions},
    vault::{Keyring, RingVault},
};
use oauth_manager_actors::{
    domain::{Timestamp, client::Policy, ids::IntegrationId, sealed::DigestPurpose},
    ports::{store::ClientStore as _, vault::Vault as _},
};
use zeroize::Zeroizing;

use crate::service::{Class, KEY, KEY_ID};

/// The server.
pub struct Ground {
    postgres: PrivatePostgres,
}

/// When the work of seeded accounts falls due: after `first` the first of them, after `last` the last.
pub struct Due {
    pub first: Duration,
    pub last: Duration,
}

/// A database with connected accounts.
pub struct Seeded {
    pub url: String,
    pub ids: Vec<IntegrationId>,
    /// Of a service that may wish for any account's refresh.
    pub credential: String,
    client: tokio_postgres::Client,
}

/// What the database holds of refreshes.
#[derive(Debug, PartialEq, Eq)]
pub struct Books {
    /// Generations made since the accounts were seeded.
    pub generations: i64,
    /// Rows of the audit that tell of one.
    pub audited: i64,
    /// Events of the outbox that do.
    pub events: i64,
}

impl Ground {
    /// Starts it. Unlike a test's it waits for the disk: what is measured is what production does.
    pub async fn start() -> anyhow::Result<Self> {
        let postgres = PrivatePostgres::start(PostgresOptions {
            data_dir: ephemeral_dir()?,
            ephemeral: false,
        })
        .await?;
        Ok(Self { postgres })
    }

    /// Stops it and removes what it stored.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await?;
        std::fs::remove_dir_all(self.postgres.data_dir())?;
        Ok(())
    }

    /// The server's first process.
    pub fn postmaster(&self) -> anyhow::Result<u32> {
        let path = self.postgres.data_dir().join("cluster").join("postmaster.pid");
        let text = std::fs::read_to_string(path)?;
        Ok(text.lines().next().context("a pid")?.trim().parse()?)
    }

    /// Makes a database of this name and so many accounts in it, whose work falls due then, counted from now.
    pub async fn seed(
        &self,
        name: &str,
        class: Class,
        accounts: usize,
        due: &Due,
        token_life: Duration,
    ) -> anyhow::Result<Seeded> {
        self.postgres.create_database(name).await?;
        let url = self.postgres.url(name);
        let storage = Storage::connect(StorageOptions {
            url: url.clone(),
            max_connections: 2,
            wait_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
        })?;
        storage.migrate().await?;
        let keyring = Keyring::new(vec![(KEY_ID.into(), Zeroizing::new(KEY))])?;
        let vault = RingVault::new(keyring);
        let mut administration: url::Url = self.postgres.admin_url().parse()?;
        administration.set_path(name);
        let (client, connection) =
            tokio_postgres::connect(administration.as_str(), tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let plan = Seed {
            provider: class.provider().parse()?,
            accounts,
            scopes: vec!["openid".into()],
            features: Vec::new(),
            now: Timestamp::now(),
            token_life,
            due_first: due.first,
            due_last: due.last,
        };
        let ids = seed(&client, &vault, &plan).await?;
        client.batch_execute("CHECKPOINT").await?;
        let credential = format!("oms_{}", uuid::Uuid::new_v4().simple());
        let digest = vault.digest(DigestPurpose::ServiceCredential, &credential);
        let policy = Policy {
            allow: vec!["*:*".parse()?],
            ..Policy::default()
        };
        storage.create("benchmark", &digest, &policy).await?;
        storage.close();
        Ok(Seeded {
            url,
            ids,
            credential,
            client,
        })
    }
}

impl Seeded {
    /// Transactions committed so far, the service's readings among them.
    pub async fn transactions(&self) -> anyhow::Result<i64> {
        const COMMITTED: &str = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        Ok(self.client.query_one(COMMITTED, &[]).await?.get(0))
    }

    pub async fn books(&self) -> anyhow::Result<Books> {
        const BOOKS: &str = "SELECT
            (SELECT coalesce(sum(generation - 1), 0)::bigint FROM oauth_tokens),
            (SELECT count(*) FROM oauth_audit_log WHERE action = 'refresh' AND outcome = 'success'),
            (SELECT count(*) FROM oauth_events WHERE kind = 'refreshed')";
        let row = self.client.query_one(BOOKS, &[]).await?;
        Ok(Books {
            generations: row.get(0),
            audited: row.get(1),
            events: row.get(2),
        })
    }
}
