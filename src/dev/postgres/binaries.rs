//! Finds the programs `initdb` and `postgres`: on the machine if it has them, downloaded otherwise.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;
use super::download;
use super::error::PostgresError;

/// A folder that holds every program we need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binaries {
    pub dir: PathBuf,
}

impl Binaries {
    pub(super) fn postgres(&self) -> PathBuf {
        self.dir.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.dir.join("initdb")
    }

    /// A folder is taken only when it has both programs (a PATH may hold wrappers of some of them) and the account
    /// that will run them can.
    pub(super) fn in_dir(dir: &Path, account: &Account) -> Option<Self> {
        // Links lead to the folder where the programs find their libraries and their share files.
        let initdb = fs::canonicalize(dir.join("initdb")).ok()?;
        let binaries = Self {
            dir: initdb.parent()?.to_path_buf(),
        };
        let runs = |program: &Path| {
            let mut command = account.command(program);
            command
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        (runs(&binaries.postgres()) && runs(&binaries.initdb())).then_some(binaries)
    }
}

/// The machine's own programs, or downloaded ones.
pub(super) async fn find(account: &Account) -> Result<Binaries, PostgresError> {
    if let Some(binaries) = candidates().iter().find_map(|dir| Binaries::in_dir(dir, account)) {
        tracing::debug!(dir = %binaries.dir.display(), "found PostgreSQL on this machine");
        return Ok(binaries);
    }
    download::fetch(account).await
}

/// Folders to look into, best first.
fn candidates() -> Vec<PathBuf> {
    let mut dirs: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| {
            std::env::split_paths(&path)
                .filter(|dir| dir.is_absolute())
                .collect()
        })
        .unwrap_or_default();
    dirs.extend(pg_config_bindir());
    // Debian and kin, the Red Hat packages of the project, Homebrew on both kinds of Mac, source builds.
    dirs.extend(versioned(Path::new("/usr/lib/postgresql"), "", "bin"));
    dirs.extend(versioned(Path::new("/usr"), "pgsql-", "bin"));
    dirs.extend(versioned(Path::new("/opt/homebrew/opt"), "postgresql", "bin"));
    dirs.extend(versioned(Path::new("/usr/local/opt"), "postgresql", "bin"));
    dirs.extend(versioned(
        Path::new("/Applications/Postgres.app/Contents/Versions"),
        "",
        "bin",
    ));
    dirs.extend(["/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    dirs
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let dir = PathBuf::from(text.trim());
    (output.status.success() && dir.is_absolute()).then_some(dir)
}

/// `<root>/<prefix><version>/<leaf>`, newest version first; a name without a version counts as the newest.
fn versioned(root: &Path, prefix: &str, leaf: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = version_of(name.strip_prefix(prefix)?)?;
            Some((version, entry.path().join(leaf)))
        })
        .collect();
    found.sort_by(|left, right| right.cmp(left));
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// The major version in `16`, `@16`, `9.6`; `u32::MAX` for an empty name.
fn version_of(rest: &str) -> Option<u32> {
    let digits = rest.trim_start_matches(['@', '-']);
    if digits.is_empty() {
        return Some(u32::MAX);
    }
    digits.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::postgres::random_hex;

    #[test]
    fn versions_sort_as_numbers() {
        assert_eq!(version_of("9.6"), Some(9));
        assert_eq!(version_of("@17"), Some(17));
        assert_eq!(version_of(""), Some(u32::MAX));
        assert_eq!(version_of("doc"), None);
    }

    #[test]
    fn newest_version_comes_first() {
        let root = std::env::temp_dir().join(format!("oauth-manager-versions-{}", random_hex(8).unwrap()));
        for version in ["9.6", "15", "17", "docs"] {
            fs::create_dir_all(root.join(version)).unwrap();
        }
        let found = versioned(&root, "", "bin");
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(
            found,
            ["17", "15", "9.6"].map(|version| root.join(version).join("bin"))
        );
    }

    #[test]
    fn a_folder_with_some_of_the_programs_is_passed_over() {
        let account = Account::choose().unwrap();
        let dir = std::env::temp_dir().join(format!("oauth-manager-half-{}", random_hex(8).unwrap()));
        fs::create_dir_all(&dir).unwrap();
        let initdb = dir.join("initdb");
        fs::write(&initdb, "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(&initdb, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let found = Binaries::in_dir(&dir, &account);
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!(found, None);
    }
}
