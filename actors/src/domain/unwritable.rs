//! A database that answers and takes no writes.

use serde::Serialize;

/// Why a database that answers takes no writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unwritable {
    /// In a word, for everybody.
    pub cause: UnwritableCause,
    /// Which server and role, and what is to be mended: for the operator's log alone.
    pub detail: String,
}

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnwritableCause {
    /// It is a standby, or its sessions are set to read only.
    ReadOnly,
    /// Its disk is full.
    DiskFull,
    /// Its disk fails.
    DiskFailing,
    /// Our role may not write.
    NotAllowed,
}

impl UnwritableCause {
    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::DiskFull => "disk_full",
            Self::DiskFailing => "disk_failing",
            Self::NotAllowed => "not_allowed",
        }
    }
}
