//! The spool: where an answer of a provider lies until its row has it, on a disk of this node.
//!
//! A refresh token that came with an answer exists nowhere else: should the process end before the database has taken it,
//! the account would be lost. The spool sees sealed bytes only; of what is in them it knows the row they are meant for.

use async_trait::async_trait;

use crate::domain::{ids::IntegrationId, sealed::Sealed};

/// A place in the spool, good for as long as it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpoolTicket(pub u64);

/// An answer as it lies in the spool: in clear only what finds its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpooledAnswer {
    /// Whose.
    pub id: IntegrationId,
    /// The generation that was presented; the answer is worth something for as long as the row stands there.
    pub generation: i64,
    /// The whole commit, sealed.
    pub sealed: Sealed,
}

/// The spool cannot be written or read: the disk is full, read-only, or gone. Never holds content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the spool fails: {0}")]
pub struct SpoolError(pub String);

/// Where answers wait.
#[async_trait]
pub trait Spool: Send + Sync {
    /// Puts an answer in. It is written when this returns, and outlives the process, but not yet the machine: that is
    /// [`sync`](Self::sync). Called on the way of every refresh whose answer must not be lost, so it takes microseconds.
    ///
    /// # Errors
    /// It could not be written; nothing of it is left behind.
    fn put(&self, answer: &SpooledAnswer) -> Result<SpoolTicket, SpoolError>;

    /// Everything put in so far outlives the machine when this returns.
    async fn sync(&self) -> Result<(), SpoolError>;

    /// The row has it, or will never: it need not be kept. An answer that could not be forgotten is offered to its row
    /// once more at the next start, which refuses it.
    ///
    /// # Errors
    /// It could not be written down.
    fn forget(&self, ticket: SpoolTicket) -> Result<(), SpoolError>;

    /// What earlier runs left, oldest first. Given out once.
    fn left(&self) -> Vec<(SpoolTicket, SpooledAnswer)>;

    /// How many answers lie in it.
    fn depth(&self) -> usize;
}
