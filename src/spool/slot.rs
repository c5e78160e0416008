//! Slots: sub-directories of the spool's directory, each held by one process at a time.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

/// Processes on one directory at once: nodes of one machine, and commands beside them. More is a defect somewhere.
const SLOTS_MAX: usize = 64;
/// For this account of the machine alone.
const DIRECTORY_MODE: u32 = 0o700;
pub(super) const FILE_MODE: u32 = 0o600;

/// A slot, ours until dropped.
#[derive(Debug)]
pub(super) struct Slot {
    path: PathBuf,
    /// The lock is the open file: it goes with the process, however that ends.
    _lock: File,
}

impl Slot {
    /// Takes the first free slot of this directory.
    pub(super) fn take(directory: &Path) -> io::Result<Self> {
        make(directory)?;
        let mut obstacle = io::Error::other("every slot is in use");
        for number in 0..SLOTS_MAX {
            let path = directory.join(format!("slot-{number:02}"));
            match make(&path).and_then(|()| Self::lock(&path)) {
                Ok(Some(slot)) => {
                    // A mode given at making is only for what is made.
                    fs::set_permissions(&path, fs::Permissions::from_mode(DIRECTORY_MODE))?;
                    return Ok(slot);
                }
                Ok(None) => {}
                // Another account's, perhaps: the next one may do. If none does, this says why.
                Err(error) => obstacle = error,
            }
        }
        Err(obstacle)
    }

    /// Every slot that nobody uses, each held from now on.
    pub(super) fn abandoned(directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut paths: Vec<_> = entries
            .filter(|entry| entry.file_name().to_string_lossy().starts_with("slot-"))
            .map(|entry| entry.path())
            .collect();
        paths.sort();
        paths
            .iter()
            .filter_map(|path| Self::lock(path).ok().flatten())
            .collect()
    }

    /// `None`: somebody uses it.
    fn lock(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self {
                path: path.to_owned(),
                _lock: file,
            })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path)
}
