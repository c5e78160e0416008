//! The directory a cluster lives in: its layout, its locks, its passwords and its making.
//!
//! ```text
//! <root>/run.lock             held by the run that uses the directory
//!        server.lock          held by initdb and by the watchdog, until the server has gone
//!        superuser.password   0600, kept so that the next run can use the cluster
//!        role.password        0600
//!        cluster/             what initdb made; it is renamed into place, so it is complete if it is there
//!        server.log
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ring::digest;

use super::account::{Account, write_private};
use super::binaries::Binaries;
use super::error::PostgresError;
use super::{PostgresOptions, hex, random_hex};

/// Enough of the log to show a reason, little enough for a terminal.
const LOG_TAIL_BYTES: u64 = 4096;

/// A directory that exists, belongs to the server's account and is locked by us.
#[derive(Debug)]
pub(super) struct Directory {
    pub root: PathBuf,
    pub ephemeral: bool,
    /// Held for as long as we live.
    _run_lock: File,
}

/// What opens the server.
#[derive(Clone)]
pub(super) struct Passwords {
    pub superuser: String,
    pub role: String,
}

impl Directory {
    /// Makes the directory ready and takes its lock.
    pub(super) fn open(options: &PostgresOptions, account: &Account) -> Result<Self, PostgresError> {
        let root = usable_root(&options.data_dir, account)?;
        let path = root.join("run.lock");
        let lock = open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(PostgresError::InUse {
                    data_dir: options.data_dir.clone(),
                });
            }
            Err(TryLockError::Error(source)) => {
                return Err(PostgresError::Io {
                    action: "lock",
                    path,
                    source,
                });
            }
        }
        Ok(Self {
            root,
            ephemeral: options.ephemeral,
            _run_lock: lock,
        })
    }

    pub(super) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    pub(super) fn server_lock(&self) -> PathBuf {
        self.root.join("server.lock")
    }

    /// Makes the cluster unless there is one, and returns its passwords. Blocks for a second or two.
    pub(super) fn prepare(
        &self,
        account: &Account,
        binaries: &Binaries,
        server_lock: &File,
    ) -> Result<Passwords, PostgresError> {
        if self.ephemeral {
            self.remove_cluster()?;
        }
        let kept = self
            .cluster()
            .exists()
            .then(|| self.read_passwords())
            .transpose()?;
        // Each run's log tells of that run.
        remove_file(&self.root.join("server.log"))?;
        match kept {
            Some(passwords) => Ok(passwords),
            None => self.init(account, binaries, server_lock),
        }
    }

    fn init(
        &self,
        account: &Account,
        binaries: &Binaries,
        server_lock: &File,
    ) -> Result<Passwords, PostgresError> {
        self.remove_cluster()?;
        let passwords = Passwords {
            superuser: random_hex(24)?,
            role: random_hex(24)?,
        };
        for (name, password) in [
            ("superuser.password", &passwords.superuser),
            ("role.password", &passwords.role),
            ("pwfile", &passwords.superuser),
        ] {
            let path = self.root.join(name);
            write_private(&path, password.as_bytes()).map_err(PostgresError::io("write", &path))?;
        }
        let pwfile = self.root.join("pwfile");
        account.give(&pwfile)?;
        let unfinished = self.root.join("cluster.new");
        let mut command = account.command(&binaries.initdb());
        command.args([
            "--locale=C",
            "--encoding=UTF8",
            "--auth=scram-sha-256",
            "--username=postgres",
        ]);
        command
            .arg("--pwfile")
            .arg(&pwfile)
            .arg("--pgdata")
            .arg(&unfinished);
        if self.ephemeral {
            command.arg("--no-sync");
        }
        // If we are killed, initdb goes on for a moment: the next run waits for it as it does for a watchdog.
        command.stdout(
            server_lock
                .try_clone()
                .map_err(PostgresError::io("share", &self.root))?,
        );
        let output = command
            .output()
            .map_err(PostgresError::io("run", &binaries.initdb()))?;
        remove_file(&pwfile)?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(PostgresError::Init {
                output: text.trim().to_owned(),
            });
        }
        fs::rename(&unfinished, self.cluster()).map_err(PostgresError::io("rename", &unfinished))?;
        Ok(passwords)
    }

    fn read_passwords(&self) -> Result<Passwords, PostgresError> {
        let read = |name: &str| {
            let path = self.root.join(name);
            fs::read_to_string(&path).map_err(PostgresError::io("read", &path))
        };
        Ok(Passwords {
            superuser: read("superuser.password")?,
            role: read("role.password")?,
        })
    }

    fn remove_cluster(&self) -> Result<(), PostgresError> {
        for name in ["cluster", "cluster.new"] {
            let path = self.root.join(name);
            if path.exists() {
                fs::remove_dir_all(&path).map_err(PostgresError::io("remove", &path))?;
            }
        }
        for name in ["superuser.password", "role.password", "pwfile"] {
            remove_file(&self.root.join(name))?;
        }
        Ok(())
    }

    /// Removes everything we made, and the directory itself if nothing else is in it.
    pub(super) fn remove(&self) -> Result<(), PostgresError> {
        if !self.root.exists() {
            return Ok(());
        }
        self.remove_cluster()?;
        for name in ["server.log", "server.lock", "run.lock"] {
            remove_file(&self.root.join(name))?;
        }
        match fs::remove_dir(&self.root) {
            Ok(()) => Ok(()),
            // Somebody keeps files of their own there.
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) => Err(PostgresError::io("remove", &self.root)(error)),
        }
    }

    /// The end of the server's log.
    pub(super) fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.root.join("server.log"))?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            Ok(tail)
        };
        match read() {
            Ok(tail) => String::from_utf8_lossy(&tail).trim().to_owned(),
            Err(error) => format!("(no log: {error})"),
        }
    }
}

/// The wanted directory, or one below the temp directory if the server's account cannot reach the wanted one.
fn usable_root(wanted: &Path, account: &Account) -> Result<PathBuf, PostgresError> {
    make_private(wanted)?;
    let wanted = fs::canonicalize(wanted).map_err(PostgresError::io("resolve", wanted))?;
    account.give(&wanted)?;
    if account.can_write_in(&wanted) {
        return Ok(wanted);
    }
    let hash = digest::digest(&digest::SHA256, wanted.as_os_str().as_encoded_bytes());
    let name = format!("oauth-manager-postgres-{}", hex(&hash.as_ref()[..8]));
    let instead = std::env::temp_dir().join(name);
    tracing::info!(
        wanted = %wanted.display(),
        instead = %instead.display(),
        "the account that runs PostgreSQL cannot reach the data directory: using another"
    );
    make_private(&instead)?;
    if !account.trusts(&instead) {
        return Err(PostgresError::ForeignDirectory { path: instead });
    }
    account.give(&instead)?;
    fs::canonicalize(&instead).map_err(PostgresError::io("resolve", &instead))
}

/// Creates the directory, closed to others. One that exists keeps its mode.
fn make_private(path: &Path) -> Result<(), PostgresError> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(PostgresError::io("create", parent))?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(PostgresError::io("create", path)(error)),
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(PostgresError::io("close", path)),
    }
}

pub(super) fn open_lock(path: &Path) -> Result<File, PostgresError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(PostgresError::io("open", path))
}

fn remove_file(path: &Path) -> Result<(), PostgresError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(PostgresError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}
