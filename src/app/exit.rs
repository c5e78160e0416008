//! How the process ends, as its orchestrator sees it (sysexits.h).

use std::process::ExitCode;

/// How the service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was told to.
    Stopped,
    /// It gave up on itself: start it afresh.
    Defective,
    /// The database is not one this configuration can work with: starting again does not help.
    Unusable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Stopped => Self::SUCCESS,
            // EX_SOFTWARE
            Exit::Defective => Self::from(70),
            // EX_CONFIG
            Exit::Unusable => Self::from(78),
        }
    }
}
