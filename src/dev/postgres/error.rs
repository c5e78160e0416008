//! What can go wrong with the private Postgres, worded for the person at the terminal.

use std::io;
use std::path::{Path, PathBuf};

/// Why the private Postgres could not be started, used or stopped.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// Another live run holds the directory: stop it, or choose another directory.
    #[error("the data directory {} is in use by another run", data_dir.display())]
    InUse {
        /// The directory that was asked for.
        data_dir: PathBuf,
    },
    /// Neither the machine nor the download had the programs.
    #[error(
        "no PostgreSQL found and {reason}: install it (for example `apt-get install postgresql` or `brew install postgresql`) or set DATABASE_URL"
    )]
    NoBinaries {
        /// Why the download did not help.
        reason: String,
    },
    /// We are root, Postgres refuses root, and there is nobody else to be.
    #[error(
        "PostgreSQL refuses to run as root and /etc/passwd names neither `postgres` nor `nobody`: run as another user or set DATABASE_URL"
    )]
    NoUnprivilegedAccount,
    /// The directory below the system's temp directory belongs to somebody else.
    #[error("{} belongs to another user and is not trusted: remove it or choose another data directory", path.display())]
    ForeignDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// `initdb` refused.
    #[error("initdb failed: {output}")]
    Init {
        /// The end of what it printed.
        output: String,
    },
    /// The server ended by itself or did not answer in time.
    #[error("the private PostgreSQL {reason}; the end of its log:\n{log_tail}")]
    NotReady {
        /// What was seen.
        reason: String,
        /// The last lines of the server's log.
        log_tail: String,
    },
    /// An earlier run's server would not end.
    #[error("a PostgreSQL of an earlier run in {} does not end", data_dir.display())]
    LeftoverAlive {
        /// Its directory.
        data_dir: PathBuf,
    },
    /// The server did not end within the time given.
    #[error("the private PostgreSQL did not stop in time")]
    StopTimedOut,
    /// A database name that would need quoting; we never make one.
    #[error("`{name}` is not a plain database name")]
    BadDatabaseName {
        /// The name.
        name: String,
    },
    /// An administrative statement failed.
    #[error("cannot {action}: {source}")]
    Sql {
        /// What was attempted.
        action: String,
        /// The server's verdict.
        source: tokio_postgres::Error,
    },
}

impl PostgresError {
    /// For `map_err` on file operations.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action, path, source }
    }
}
