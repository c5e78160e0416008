//! Credentials that do not hold and links that lead nowhere, by address.
//!
//! Only failures count, so a thousand people behind one address are as welcome as one. An address that has failed too
//! often in a minute is suspect: what this node knows for itself passes all the same, everything else waits in a line of
//! its own for the database, with all other suspects, and what fails is told when to come again.

use std::time::Duration;

use tokio::{sync::Semaphore, time::Instant};

use super::{
    address_block::AddressBlock,
    refusals::{Refusal, Refusals},
    token_buckets::{Empty, TokenBuckets},
};
use crate::http::{
    problem::{Answer, Problem},
    request_context::RequestHead,
};

/// How many questions of suspects the database is asked at once: a fraction of its connections.
const SUSPECTS_AT_ONCE: usize = 2;
/// Longest wait in their line.
const LINE_PATIENCE: Duration = Duration::from_secs(2);

/// The failures of one kind.
pub(crate) struct Failures {
    kind: Refusal,
    left: TokenBuckets<AddressBlock>,
    line: Semaphore,
    refusals: Refusals,
}

impl Failures {
    pub(super) fn new(kind: Refusal, per_minute: u32, refusals: Refusals) -> Self {
        Self {
            kind,
            left: TokenBuckets::new(per_minute),
            line: Semaphore::new(SUSPECTS_AT_ONCE),
            refusals,
        }
    }

    /// Does this work for whoever sent the request. `is_known`: whether this node knows by itself that it is no stray.
    pub(crate) async fn watch<T>(
        &self,
        head: &RequestHead,
        is_known: impl FnOnce() -> bool,
        has_failed: impl FnOnce(&Result<T, Problem>) -> bool,
        work: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let Some(address) = head.ip.map(AddressBlock::of) else {
            return work.await;
        };
        let stands_in_line = match self.left.look(&address, Instant::now()) {
            Ok(()) => None,
            Err(retry_after) => (!is_known()).then_some(retry_after),
        };
        let done = match stands_in_line {
            Some(retry_after) => {
                let _turn = self.turn(head, retry_after).await?;
                work.await
            }
            None => work.await,
        };
        if !has_failed(&done) {
            return done;
        }
        match self.left.take(&address, Instant::now()) {
            Ok(()) => done,
            Err(empty) => {
                self.tell(&address, empty);
                Err(self.refusals.refuse(self.kind, empty.retry_after))
            }
        }
    }

    /// The next in the suspects' line. Whoever waits there holds nothing that others need.
    async fn turn(
        &self,
        head: &RequestHead,
        retry_after: Duration,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, Problem> {
        let waiting = tokio::time::timeout(LINE_PATIENCE, self.line.acquire());
        let turn = match head.permit.get() {
            Some(permit) => permit.without(waiting).await?,
            None => waiting.await,
        };
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(self.refusals.refuse(self.kind, retry_after)),
        }
    }

    fn tell(&self, address: &AddressBlock, empty: Empty) {
        if empty.is_new {
            tracing::warn!(
                client.address = %address,
                reason = self.kind.as_str(),
                "an address fails more often than it may (limits.failures_per_minute); its failures are refused"
            );
        }
    }
}

/// Whether a browser came with what leads nowhere.
pub(crate) fn leads_nowhere(answer: &Answer) -> bool {
    let status = match answer {
        Ok(response) => response.status(),
        Err(problem) => problem.status(),
    };
    matches!(status.as_u16(), 400 | 404 | 410)
}
