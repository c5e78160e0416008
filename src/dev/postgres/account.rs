//! Whose account runs the server. Postgres refuses root, so as root we run it as somebody with less power.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::PostgresError;
use super::random_hex;

/// The accounts tried when we are root, best first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// Variables the server's programs may see. Ours hold client secrets, which are none of their business.
const ENVIRONMENT: [&str; 5] = ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TZ", "TMPDIR"];

/// A numeric user and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// The account the server runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    /// Who we are.
    pub own_uid: u32,
    /// Whom to become; `None` when we are nobody special and stay who we are.
    pub become_ids: Option<Ids>,
}

impl Account {
    /// Ourselves, or an unprivileged account of `/etc/passwd` when we are root.
    pub(super) fn choose() -> Result<Self, PostgresError> {
        let own_uid = effective_uid()?;
        if own_uid != 0 {
            return Ok(Self {
                own_uid,
                become_ids: None,
            });
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = UNPRIVILEGED.iter().find_map(|name| ids_of(&passwd, name));
        match ids {
            Some(ids) => Ok(Self {
                own_uid,
                become_ids: Some(ids),
            }),
            None => Err(PostgresError::NoUnprivilegedAccount),
        }
    }

    /// A command that runs under this account, in `/` (our own working directory may be closed to it) and with a
    /// bare environment. The standard library drops our supplementary groups together with root.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env_clear().stdin(Stdio::null());
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.env("LC_ALL", "C");
        if let Some(ids) = self.become_ids {
            command.uid(ids.uid).gid(ids.gid);
        }
        command
    }

    /// Makes a file or directory the server's.
    pub(super) fn give(&self, path: &Path) -> Result<(), PostgresError> {
        let Some(ids) = self.become_ids else { return Ok(()) };
        std::os::unix::fs::chown(path, Some(ids.uid), Some(ids.gid))
            .map_err(PostgresError::io("hand over", path))
    }

    /// Can the account enter the directory and write there? Asked by trying, since ACLs, mounts and every parent
    /// folder have a say.
    pub(super) fn can_write_in(&self, dir: &Path) -> bool {
        let probe = "cd -- \"$1\" && test -w .";
        let mut command = self.command(Path::new("/bin/sh"));
        command
            .args(["-c", probe, "sh"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }

    /// Does the directory's owner deserve trust? One below the shared temp directory may have been put there by
    /// anybody.
    pub(super) fn trusts(&self, dir: &Path) -> bool {
        fs::symlink_metadata(dir).is_ok_and(|metadata| {
            let owner = metadata.uid();
            let ours = owner == self.own_uid || self.become_ids.is_some_and(|ids| ids.uid == owner);
            metadata.is_dir() && ours
        })
    }
}

/// The effective user: whoever owns a file we just made. Portable, and needs no system call of our own.
fn effective_uid() -> Result<u32, PostgresError> {
    let path = std::env::temp_dir().join(format!("oauth-manager-uid-{}", random_hex(8)?));
    let uid = write_private(&path, b"")
        .and_then(|()| fs::metadata(&path))
        .map(|metadata| metadata.uid());
    let removed = fs::remove_file(&path);
    let uid = uid.map_err(PostgresError::io("create", &path))?;
    removed.map_err(PostgresError::io("remove", &path))?;
    Ok(uid)
}

/// Writes a new file that only its owner may read. An existing file is an error: it may be somebody's link.
pub(super) fn write_private(path: &PathBuf, content: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)
}

/// Looks a name up in the text of `/etc/passwd`.
fn ids_of(passwd: &str, name: &str) -> Option<Ids> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        // An account named `nobody` with root's number would help nobody.
        (uid != 0).then_some(Ids { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_an_account_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(
            ids_of(passwd, "nobody"),
            Some(Ids {
                uid: 65534,
                gid: 65533
            })
        );
        assert_eq!(ids_of(passwd, "postgres"), None);
    }

    #[test]
    fn an_unprivileged_name_with_the_number_of_root_is_refused() {
        assert_eq!(ids_of("postgres:x:0:0::/:/bin/sh\n", "postgres"), None);
    }

    #[test]
    fn a_directory_closed_to_the_account_is_noticed() {
        let account = Account::choose().unwrap();
        assert!(account.can_write_in(&std::env::temp_dir()));
        assert!(!account.can_write_in(Path::new("/nonexistent/folder")));
        if account.become_ids.is_some() {
            // As root: a folder of root's that nobody else may enter.
            let closed =
                std::env::temp_dir().join(format!("oauth-manager-closed-{}", random_hex(8).unwrap()));
            let inner = closed.join("inner");
            fs::create_dir_all(&inner).unwrap();
            fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
            account.give(&inner).unwrap();
            assert!(!account.can_write_in(&inner));
            fs::remove_dir_all(&closed).unwrap();
        }
    }
}
