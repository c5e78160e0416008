//! A private Postgres for development and tests.
//!
//! It is started from the machine's own programs (or downloaded ones), listens on a free port of 127.0.0.1 with
//! random passwords, and ends with the process that started it, even one that is killed. Invariants:
//!
//! - one live run per data directory ([`PostgresError::InUse`]);
//! - a server never outlives its run by more than its own shutdown ([`watchdog`]);
//! - the service's role is not a superuser, so that row-level security holds in tests as it does in production.
//!
//! A handle may be shared by several tokio runtimes, as the tests of one binary are: it owns a plain process.

mod account;
mod binaries;
mod databases;
mod directory;
mod download;
mod error;
mod leftover;
mod shared;
mod source;
#[cfg(test)]
mod tests;
mod watchdog;

use std::fmt;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use account::Account;
use binaries::Binaries;
pub use databases::ROLE;
use directory::{Directory, Passwords};
pub use error::PostgresError;
pub use shared::{ephemeral_dir, shared_test_postgres};
pub use source::DatabaseSource;
use watchdog::Watchdog;

/// A server that recovers from a crash on a slow disk may need most of this.
const READY_DEADLINE: Duration = Duration::from_mins(1);
/// How often a starting server is asked.
const READY_POLL: Duration = Duration::from_millis(30);
/// A free port may be taken between our finding it and Postgres opening it; not five times in a row.
const START_ATTEMPTS: u32 = 5;
/// Between two attempts: backends of a killed server need a moment to notice.
const START_PAUSE: Duration = Duration::from_millis(300);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// A directory of the server's own; it is made if it does not exist.
    pub data_dir: PathBuf,
    /// Whether everything is thrown away at the end, which also lets the server skip what only durability needs.
    pub ephemeral: bool,
}

/// A running server. Dropping it ends the server soon; [`PrivatePostgres::stop`] waits until it has.
pub struct PrivatePostgres {
    directory: Arc<Directory>,
    passwords: Passwords,
    port: u16,
    watchdog: Mutex<Option<Watchdog>>,
}

impl PrivatePostgres {
    /// Starts a server in the directory, making its cluster on first use, and returns once it answers.
    pub async fn start(options: PostgresOptions) -> Result<Self, PostgresError> {
        let account = Account::choose()?;
        let directory = Arc::new(Directory::open(&options, &account)?);
        let server_lock = Arc::new(leftover::wait_until_gone(&account, &directory).await?);
        let binaries = binaries::find(&account).await?;
        let passwords = {
            let (directory, binaries, lock) =
                (Arc::clone(&directory), binaries.clone(), Arc::clone(&server_lock));
            // initdb takes a second or two; the runtime's other work should not wait for it.
            let prepared =
                tokio::task::spawn_blocking(move || directory.prepare(&account, &binaries, &lock)).await;
            prepared.map_err(|error| PostgresError::Init {
                output: error.to_string(),
            })??
        };
        let mut attempt = 1;
        let (watchdog, port) = loop {
            let launched = launch(&account, &binaries, &directory, &server_lock, &passwords).await;
            match launched {
                Err(PostgresError::NotReady { log_tail, .. })
                    if attempt < START_ATTEMPTS && passes(&log_tail) =>
                {
                    attempt += 1;
                    tokio::time::sleep(START_PAUSE).await;
                }
                launched => break launched?,
            }
        };
        let server = Self {
            directory,
            passwords,
            port,
            watchdog: Mutex::new(Some(watchdog)),
        };
        server.ensure_role(&server.passwords.role).await?;
        tracing::debug!(port, dir = %server.directory.root.display(), "the private PostgreSQL is up");
        Ok(server)
    }

    /// Where the service's role finds a database, for tokio-postgres. Holds a password: not for logs.
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{ROLE}:{}@127.0.0.1:{}/{database}",
            self.passwords.role, self.port
        )
    }

    /// Where the superuser finds the server. For administration only: the superuser is exempt from row security.
    pub fn admin_url(&self) -> String {
        superuser_url(&self.passwords, self.port)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory in use. As root it may differ from the one asked for.
    pub fn data_dir(&self) -> &Path {
        &self.directory.root
    }

    /// Ends the server and waits until it has gone; removes an ephemeral one's files. A second call does nothing.
    pub async fn stop(&self) -> Result<(), PostgresError> {
        let watchdog = self
            .watchdog
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(watchdog) = watchdog else { return Ok(()) };
        watchdog.stop().await?;
        if self.directory.ephemeral {
            self.directory.remove()
        } else {
            Ok(())
        }
    }
}

/// Shows no password.
impl fmt::Debug for PrivatePostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivatePostgres")
            .field("data_dir", &self.directory.root)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

async fn launch(
    account: &Account,
    binaries: &Binaries,
    directory: &Directory,
    server_lock: &File,
    passwords: &Passwords,
) -> Result<(Watchdog, u16), PostgresError> {
    let port = free_port().map_err(PostgresError::io("find a free port for", &directory.root))?;
    let mut watchdog = Watchdog::start(account, binaries, directory, server_lock, port)?;
    let mut config: tokio_postgres::Config =
        superuser_url(passwords, port)
            .parse()
            .map_err(|source| PostgresError::Sql {
                action: "connect".to_owned(),
                source,
            })?;
    config.connect_timeout(Duration::from_secs(2));
    let deadline = tokio::time::Instant::now() + READY_DEADLINE;
    loop {
        if let Some(status) = watchdog.exited() {
            let reason = format!("ended by itself ({status})");
            return Err(PostgresError::NotReady {
                reason,
                log_tail: directory.log_tail(),
            });
        }
        let answer = databases::run(&config, "SELECT 1").await;
        let Err(error) = answer else {
            return Ok((watchdog, port));
        };
        if tokio::time::Instant::now() >= deadline {
            let reason = format!("does not answer ({error})");
            return Err(PostgresError::NotReady {
                reason,
                log_tail: directory.log_tail(),
            });
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// Failures that another attempt cures: a port that was snatched, backends of a killed server not yet gone.
fn passes(log_tail: &str) -> bool {
    [
        "could not create any TCP/IP sockets",
        "Address already in use",
        "is still in use",
    ]
    .iter()
    .any(|sign| log_tail.contains(sign))
}

fn superuser_url(passwords: &Passwords, port: u16) -> String {
    format!(
        "postgres://postgres:{}@127.0.0.1:{port}/postgres",
        passwords.superuser
    )
}

fn free_port() -> std::io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()
        .map(|address| address.port())
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn random_hex(bytes: usize) -> Result<String, PostgresError> {
    let mut buffer = vec![0; bytes];
    SystemRandom::new()
        .fill(&mut buffer)
        .map_err(|_| PostgresError::Io {
            action: "draw random bytes from",
            path: PathBuf::from("the operating system"),
            source: std::io::Error::other("no randomness"),
        })?;
    Ok(hex(&buffer))
}
