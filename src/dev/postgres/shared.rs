//! One private Postgres for a whole test binary.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tokio::sync::OnceCell;

use super::account::Account;
use super::directory::Directory;
use super::error::PostgresError;
use super::{PostgresOptions, PrivatePostgres, leftover, random_hex};

/// How directories of tests begin.
const PREFIX: &str = "oauth-manager-test-postgres-";
/// Younger directories may belong to a run that is just about to lock its own.
const SWEEP_AGE_SECS: u64 = 60;

static SHARED: OnceCell<PrivatePostgres> = OnceCell::const_new();

/// The ephemeral server all tests of this process share, each with databases of its own. `DATABASE_URL` plays no
/// part: tests never touch a database that somebody might miss. The watchdog ends the server with the process.
pub async fn shared_test_postgres() -> Result<&'static PrivatePostgres, PostgresError> {
    SHARED
        .get_or_try_init(|| async {
            let data_dir = ephemeral_dir()?;
            sweep(&data_dir).await;
            PrivatePostgres::start(PostgresOptions {
                data_dir,
                ephemeral: true,
            })
            .await
        })
        .await
}

/// A new directory below the temp directory, for a server of one test.
pub fn ephemeral_dir() -> Result<PathBuf, PostgresError> {
    let path = std::env::temp_dir().join(format!("{PREFIX}{}", random_hex(8)?));
    fs::create_dir(&path).map_err(PostgresError::io("create", &path))?;
    Ok(path)
}

/// Removes what earlier test runs left when even their watchdog was killed. Best effort: a later run tries again.
async fn sweep(own: &Path) {
    let Ok(account) = Account::choose() else { return };
    // The age is told by the file system's clock on both sides.
    let Ok(now) = fs::metadata(own).and_then(|metadata| metadata.modified()) else {
        return;
    };
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !ours || entry.path() == own || !is_old(&entry, now) || !account.trusts(&entry.path()) {
            continue;
        }
        let options = PostgresOptions {
            data_dir: entry.path(),
            ephemeral: true,
        };
        let Ok(directory) = Directory::open(&options, &account) else {
            continue;
        };
        if leftover::wait_until_gone(&account, &directory).await.is_ok() {
            let removed = directory.remove();
            tracing::debug!(dir = %directory.root.display(), ?removed, "swept a left test server");
        }
    }
}

fn is_old(entry: &fs::DirEntry, now: SystemTime) -> bool {
    let modified = entry.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| {
        now.duration_since(modified)
            .is_ok_and(|age| age.as_secs() >= SWEEP_AGE_SECS)
    })
}
