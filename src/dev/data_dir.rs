//! The folder where a development run keeps everything, held by one run at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Where things are kept unless the developer says otherwise.
const DEFAULT: &str = ".dev";
/// What the simulated providers know.
pub(super) const SIMULATOR_FILE: &str = "simulator.json";
/// Read and written by the developer alone.
const PRIVATE: u32 = 0o600;

/// The folder, ours until dropped.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    /// The lock is the open file: it goes with the process, however that ends.
    _lock: File,
}

impl DataDir {
    /// Takes the folder. If the default one is taken by another run, one named after the port is used; a folder that was
    /// asked for by name is never replaced by another.
    pub(super) fn take(wanted: Option<&Path>, port: u16) -> anyhow::Result<Self> {
        if let Some(path) = wanted {
            let taken = Self::lock(path)?;
            return taken.with_context(|| format!("--data-dir {}: another run uses it", path.display()));
        }
        if let Some(taken) = Self::lock(Path::new(DEFAULT))? {
            return Ok(taken);
        }
        let beside = PathBuf::from(format!("{DEFAULT}-{port}"));
        let taken = Self::lock(&beside)?;
        taken.with_context(|| {
            format!(
                "{DEFAULT} and {} are both used by other runs: give --data-dir",
                beside.display()
            )
        })
    }

    fn lock(path: &Path) -> anyhow::Result<Option<Self>> {
        let shown = path.display();
        fs::create_dir_all(path).with_context(|| format!("{shown} cannot be made"))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(PRIVATE)
            .open(path.join("lock"))
            .with_context(|| format!("{shown}/lock cannot be opened"))?;
        match file.try_lock() {
            Ok(()) => {
                let path = path
                    .canonicalize()
                    .with_context(|| format!("{shown} cannot be found"))?;
                Ok(Some(Self { path, _lock: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{shown}/lock cannot be locked"))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets what earlier runs left: what is ours in it, and nothing else somebody may have put there.
    pub(super) fn clear(&self) -> anyhow::Result<()> {
        for name in [
            "postgres",
            "spool",
            "encryption.key",
            "auth.secret",
            "credentials.json",
            SIMULATOR_FILE,
        ] {
            let path = self.path.join(name);
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("--fresh: {} cannot be removed", path.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A secret that survives the run; `make` makes it the first time.
    pub(super) fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<(String, bool)> {
        let path = self.path.join(name);
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok((text.trim().to_owned(), false)),
            Ok(_) | Err(_) => {
                let secret = make()?;
                self.write(name, &secret)?;
                Ok((secret, true))
            }
        }
    }

    /// Writes a file that only the developer can read, whole or not at all.
    pub(super) fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join(name);
        let beside = self.path.join(format!("{name}.new"));
        let written = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(PRIVATE)
            .open(&beside)
            .and_then(|mut file| {
                // The mode above is only for a new file.
                file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
                file.write_all(content.as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| fs::rename(&beside, &path));
        written.with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temporary() -> PathBuf {
        std::env::temp_dir().join(format!(
            "oauth-manager-data-dir-{}",
            uuid::Uuid::now_v7().simple()
        ))
    }

    #[test]
    fn a_folder_asked_for_by_name_is_never_shared() {
        let path = temporary();
        let first = DataDir::take(Some(&path), 1).unwrap();
        assert!(format!("{:#}", DataDir::take(Some(&path), 2).unwrap_err()).contains("another run uses it"));
        drop(first);
        DataDir::take(Some(&path), 2).unwrap();
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_secret_survives_and_is_private_and_fresh_forgets_it() {
        let path = temporary();
        let data_dir = DataDir::take(Some(&path), 1).unwrap();
        assert_eq!(
            data_dir.secret("auth.secret", || Ok("one".into())).unwrap(),
            ("one".into(), true)
        );
        assert_eq!(
            data_dir.secret("auth.secret", || Ok("two".into())).unwrap(),
            ("one".into(), false)
        );
        assert_eq!(
            fs::metadata(path.join("auth.secret"))
                .unwrap()
                .permissions()
                .mode()
                & 0o777,
            PRIVATE
        );
        fs::write(path.join("mine.txt"), "kept").unwrap();
        data_dir.clear().unwrap();
        assert_eq!(
            data_dir.secret("auth.secret", || Ok("two".into())).unwrap(),
            ("two".into(), true)
        );
        assert!(path.join("mine.txt").exists());
        fs::remove_dir_all(path).unwrap();
    }
}
