//! How many requests are answered at once, and how much memory their bodies take.
//!
//! A request that waits for its body gives its permit up meanwhile: a body that never ends holds a connection and nothing
//! else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::refusals::{Refusal, Refusals};
use crate::http::{connection::Progress, problem::Problem, settings::Limits};

/// Bodies of the largest size that fit into memory at once: half as many as requests are answered, and most are a
/// hundredth of that size.
const LARGEST_BODIES_MAX: usize = 1_024;

/// What there is.
pub(in crate::http) struct Admission {
    requests: Arc<Semaphore>,
    body_bytes: Arc<Semaphore>,
    refusals: Refusals,
}

/// A request's leave to be answered.
pub(in crate::http) struct RequestPermit {
    admission: Arc<Admission>,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    /// Of its connection, which may be closed while it waits.
    progress: Option<Progress>,
}

/// Part of a body, in memory.
pub(in crate::http) type BodyPermit = OwnedSemaphorePermit;

impl Admission {
    pub(in crate::http) fn new(limits: &Limits, refusals: Refusals) -> Self {
        let body_bytes = limits.body_bytes_max.saturating_mul(LARGEST_BODIES_MAX);
        Self {
            requests: Arc::new(Semaphore::new(limits.requests_max)),
            body_bytes: Arc::new(Semaphore::new(body_bytes.min(Semaphore::MAX_PERMITS))),
            refusals,
        }
    }

    /// Leave to answer, or the refusal.
    pub(in crate::http) fn request(
        self: &Arc<Self>,
        progress: Option<Progress>,
    ) -> Result<RequestPermit, Problem> {
        let permit = RequestPermit {
            admission: Arc::clone(self),
            held: Mutex::new(None),
            progress,
        };
        permit.take().map(|()| permit)
    }
}

impl RequestPermit {
    /// While something is done that holds nobody up.
    ///
    /// # Errors
    /// As many requests as can be are answered now.
    pub(in crate::http) async fn without<T>(&self, work: impl Future<Output = T>) -> Result<T, Problem> {
        self.give_up();
        let done = work.await;
        self.take()?;
        Ok(done)
    }

    /// The same while the client is waited for: its connection may be had by another.
    pub(in crate::http) async fn without_while_client<T>(
        &self,
        sends: impl Future<Output = T>,
    ) -> Result<T, Problem> {
        if let Some(progress) = &self.progress {
            progress.awaits_body(Instant::now());
        }
        let sent = self.without(sends).await;
        if let Some(progress) = &self.progress {
            progress.awaits_nothing();
        }
        sent
    }

    /// Room for so much more of a body.
    pub(in crate::http) fn body(&self, bytes: usize) -> Result<BodyPermit, Problem> {
        let room = Arc::clone(&self.admission.body_bytes);
        u32::try_from(bytes)
            .ok()
            .and_then(|bytes| room.try_acquire_many_owned(bytes).ok())
            .ok_or_else(|| self.admission.refusals.overloaded(Refusal::Bodies))
    }

    fn give_up(&self) {
        drop(self.held.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn take(&self) -> Result<(), Problem> {
        let taken = Arc::clone(&self.admission.requests).try_acquire_owned();
        let permit = taken.map_err(|_none_left| self.admission.refusals.overloaded(Refusal::Requests))?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(requests_max: usize, body_bytes_max: usize) -> Arc<Admission> {
        let limits = Limits {
            requests_max,
            body_bytes_max,
            ..Limits::default()
        };
        Arc::new(Admission::new(&limits, Refusals::new()))
    }

    #[tokio::test]
    async fn who_waits_for_a_body_stands_in_nobodys_way() {
        let admission = admission(1, 1);
        let slow = admission.request(None).unwrap();
        assert!(admission.request(None).is_err(), "there is one");
        let other = async { admission.request(None).map(drop) };
        slow.without(other).await.unwrap().unwrap();
        assert!(admission.request(None).is_err(), "it has it back");
        drop(slow);
        assert!(admission.request(None).is_ok());
    }

    #[tokio::test]
    async fn who_finds_no_place_after_their_body_is_told_so() {
        let admission = admission(1, 1);
        let slow = admission.request(None).unwrap();
        let taken = slow.without(async { admission.request(None).ok() }).await;
        assert_eq!(taken.err().unwrap().status(), 503);
    }

    #[test]
    fn bodies_take_no_more_memory_than_they_may() {
        let admission = admission(1, 10);
        let permit = admission.request(None).unwrap();
        let most = permit.body(10 * LARGEST_BODIES_MAX).unwrap();
        assert_eq!(permit.body(1).err().unwrap().status(), 503);
        drop(most);
        assert!(permit.body(1).is_ok());
    }
}
