//! Erasing a user: what is deleted, what stays under a pseudonym, and how far it has come.

use serde::Serialize;

/// How far an erasure has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErasureStatus {
    /// Nothing is handed out any more; providers still have to be told. It is noted, and goes on by itself.
    Pending,
    /// What was the user's is deleted; consents and audit name a pseudonym.
    Erased,
}

/// What became of a wish to erase a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ErasureReport {
    /// How far it has come.
    pub status: ErasureStatus,
    /// In words.
    pub detail: String,
}

impl ErasureReport {
    /// The report of this status.
    pub fn of(status: ErasureStatus) -> Self {
        let detail = match status {
            ErasureStatus::Pending => {
                "Nothing is handed out any more. Some providers still have to be told that their grants end; this is retried, \
                 and then everything is deleted without a further request."
            }
            ErasureStatus::Erased => {
                "Accounts, tokens, connect flows and sessions are deleted. Consents and audit records stay, without address \
                 and browser, under a pseudonym that nothing leads back from."
            }
        };
        Self {
            status,
            detail: detail.into(),
        }
    }
}
