//! The two pools and what every session of theirs is set to.

use std::{path::PathBuf, time::Duration};

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{StorageOptions, database_url::DatabaseUrl, tls};

/// Share of the connections that users' reads may take: lists and records are rare beside the system's own work.
const OWNER_SHARE: usize = 4;
/// After this long without a sign, a silent peer is asked; and given up when it stays silent for as long again.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;
/// Longest time that sent data may stay unacknowledged: a cut cable is noticed by whoever waits.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(20);

/// Options that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum StorageConfigError {
    /// Not a connection string. The parser's words are left out: they may quote the password.
    #[error("expected postgres://user:password@host/database")]
    Url,
    /// A key of the connection string that is unknown, or whose value is.
    #[error("{0} is not understood: leave it out")]
    Parameter(String),
    /// An `sslmode` that is none.
    #[error("sslmode: expected disable, allow, prefer, require, verify-ca or verify-full")]
    SslMode,
    /// The machine's authorities issue certificates to anybody: only the name tells.
    #[error("sslmode={0} is too weak for sslrootcert=system: use verify-full")]
    WeakSslMode(String),
    /// A client's certificate without its key, or the other way round.
    #[error("sslcert and sslkey go together: give both or none")]
    HalfAClient,
    /// A file of certificates or of a key is missing or unreadable.
    #[error("{key}: {} cannot be used: {problem}", path.display())]
    Certificates {
        /// Which.
        key: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// Nobody to trust.
    #[error("this machine trusts no authority: name the database's in sslrootcert")]
    NoAuthorities,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
    /// The pool could not be made.
    #[error("the connection pool could not be made")]
    Pool,
}

/// The two pools, and what a connection beside them is made with.
pub(super) struct Pools {
    pub(super) system: Pool,
    pub(super) owners: Pool,
    pub(super) config: Config,
    pub(super) connector: MakeRustlsConnect,
}

/// The system pool and the owner pool.
pub(super) fn build(options: &StorageOptions) -> Result<Pools, StorageConfigError> {
    let DatabaseUrl { mut config, tls } = DatabaseUrl::read(&options.url)?;
    config
        .application_name("oauth-manager")
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    let connector = tls::connector(&tls)?;
    let owners = (options.max_connections / OWNER_SHARE).max(1);
    let system = options.max_connections.saturating_sub(owners).max(1);
    let pool = |size, scope| {
        let manager = Manager::from_config(
            config.clone(),
            connector.clone(),
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts {
                wait: Some(options.wait_timeout),
                create: Some(options.connect_timeout),
                recycle: Some(options.connect_timeout),
            })
            .post_create(session_hook(session_settings(options.statement_timeout, scope)))
            .build()
            .map_err(|_| StorageConfigError::Pool)
    };
    Ok(Pools {
        system: pool(system, Scope::System)?,
        owners: pool(owners, Scope::Owner)?,
        config,
        connector,
    })
}

#[derive(Clone, Copy)]
enum Scope {
    System,
    Owner,
}

/// What a session is set to, whatever the server's or the role's defaults are.
fn session_settings(statement_timeout: Duration, scope: Scope) -> String {
    let statement_ms = statement_timeout.as_millis().max(1);
    // A lock is waited for at most half as long, so that the error says which of the two it was.
    let lock_ms = (statement_ms / 2).max(1);
    let scope = match scope {
        Scope::System => "system",
        Scope::Owner => "",
    };
    format!(
        "SET statement_timeout = {statement_ms}; \
         SET lock_timeout = {lock_ms}; \
         SET idle_in_transaction_session_timeout = {idle_ms}; \
         SET default_transaction_isolation = 'read committed'; \
         SET search_path = public, pg_temp; \
         SET oauth_manager.scope = '{scope}'; \
         SET oauth_manager.subject = ''",
        idle_ms = statement_ms * 2,
    )
}

fn session_hook(settings: String) -> Hook {
    Hook::async_fn(move |client, _| {
        let settings = settings.clone();
        Box::pin(async move { client.batch_execute(&settings).await.map_err(HookError::Backend) })
    })
}
