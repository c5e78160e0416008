//! The line between one node and the database: where statements and answers are slow, lost or late.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use tokio_util::task::TaskTracker;

use super::Op;
use crate::ports::store::StoreResult;

/// What becomes of a statement on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// It arrives.
    Arrives,
    /// It does not, and its sender is told.
    Fails,
    /// Its sender is told that it failed, and yet it arrives, this much later. Reads just fail.
    Late(Duration),
}

/// One node's line. A future of it that never ends is a node that never hears: killed, or standing still.
#[async_trait]
pub trait Line: fmt::Debug + Send + Sync {
    /// A statement is on its way.
    async fn request(&self, op: Op) -> Passage;

    /// A statement was carried out, this very instant: before anybody else runs.
    fn done(&self, op: Op);

    /// Its answer is on its way back.
    ///
    /// # Errors
    /// The answer is lost.
    async fn answer(&self, op: Op) -> StoreResult<()>;
}

/// Does this later, whoever is gone by then.
pub(super) fn later(pause: Duration, what: impl FnOnce() + Send + 'static) {
    TaskTracker::new().spawn(async move {
        tokio::time::sleep(pause).await;
        what();
    });
}
