//! The way out to one provider: how many calls at once, and whether any at all. Shared by every effect that calls it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use super::breaker::{Admission, Breaker, OpenCause};
use crate::{
    domain::ids::ProviderKey,
    ports::oauth::{FailureKind, ProviderFailure},
};

/// The budget of one provider.
#[derive(Debug)]
pub struct Egress {
    permits: Arc<Semaphore>,
    max_concurrency: usize,
    queued: AtomicUsize,
    breaker: Mutex<Breaker>,
}

/// Leave to make one call; one of the provider's slots until dropped.
#[derive(Debug)]
pub struct Permit {
    _slot: OwnedSemaphorePermit,
}

/// No leave: why, and when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Why.
    pub cause: OpenCause,
    /// When to come again.
    pub retry_after: Duration,
}

impl Egress {
    /// A closed breaker and this many slots.
    pub fn new(max_concurrency: usize, breaker_interval: Duration) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(max_concurrency.max(1))),
            max_concurrency: max_concurrency.max(1),
            queued: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(breaker_interval)),
        }
    }

    /// Waits for a slot, then asks the breaker: in this order, so that a call that waited through an outage's beginning
    /// does not go out into it.
    pub async fn admit(&self) -> Result<Permit, Held> {
        let queued = Queued::enter(&self.queued);
        let slot = Arc::clone(&self.permits).acquire_owned().await;
        drop(queued);
        let admission = self.breaker().admit(Instant::now());
        match (admission, slot) {
            (Admission::Go, Ok(slot)) => Ok(Permit { _slot: slot }),
            (Admission::Wait(cause, retry_after), _) => Err(Held { cause, retry_after }),
            // The semaphore is never closed; were it, waiting would be the answer.
            (Admission::Go, Err(_closed)) => Err(Held {
                cause: OpenCause::Outage(crate::domain::reason::ReasonCode::new("stopping")),
                retry_after: Duration::from_secs(1),
            }),
        }
    }

    /// Tells the breaker how a call went, and the operator what is news.
    pub fn report<T>(&self, provider: &ProviderKey, result: &Result<T, ProviderFailure>) {
        let now = Instant::now();
        let Err(failure) = result else {
            self.answered(provider);
            return;
        };
        match failure.kind {
            FailureKind::Operator => {
                let news = self.breaker().refused_operator(now, failure.reason.clone());
                crate::measure::breaker(provider, true);
                if news {
                    crate::measure::operator_alarm(provider);
                    tracing::error!(
                        provider.id = %provider, oauth.error = %failure.reason,
                        "the provider refuses this service's registration: check its client id and secret; no account is \
                         touched, and calls resume by themselves"
                    );
                }
            }
            FailureKind::Passing | FailureKind::OutcomeUnknown => {
                if self
                    .breaker()
                    .outage(now, failure.reason.clone(), failure.retry_after)
                {
                    crate::measure::breaker(provider, true);
                    tracing::warn!(
                        provider.id = %provider, oauth.error = %failure.reason,
                        "the provider has trouble: calls to it pause and are probed; valid tokens are still served"
                    );
                }
            }
            FailureKind::AccountThrottled
            | FailureKind::DeadGrant
            | FailureKind::Interaction
            | FailureKind::Admin
            | FailureKind::Unreadable
            | FailureKind::Refused => self.answered(provider),
        }
    }

    fn answered(&self, provider: &ProviderKey) {
        if self.breaker().answered() {
            crate::measure::breaker(provider, false);
            tracing::info!(provider.id = %provider, "the provider answers again");
        }
    }

    fn breaker(&self) -> std::sync::MutexGuard<'_, Breaker> {
        // A panic while holding it leaves a breaker that is still a breaker.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === for observers ===

/// The way out to one provider, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EgressObservation {
    /// Why no calls go out, if none do.
    pub open: Option<OpenBreaker>,
    /// Calls under way.
    pub in_flight: usize,
    /// Calls that may be under way at once.
    pub cap: usize,
    /// Calls that wait for a slot.
    pub queued: usize,
}

/// An open breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBreaker {
    /// Why it is open.
    pub cause: OpenCause,
    /// For how long it has been.
    pub open_for: Duration,
    /// How long until the next probe may go out.
    pub probe_in: Duration,
}

/// Counts whoever waits, also one that gives up waiting.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn enter(queued: &'a AtomicUsize) -> Self {
        queued.fetch_add(1, Ordering::Relaxed);
        Self(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Egress {
    /// As an operator sees it.
    pub fn observe(&self) -> EgressObservation {
        let now = Instant::now();
        let breaker = self.breaker();
        let open = breaker.open_cause().cloned().zip(breaker.open_times());
        EgressObservation {
            open: open.map(|(cause, (since, probe_at))| OpenBreaker {
                cause,
                open_for: now.saturating_duration_since(since),
                probe_in: probe_at.saturating_duration_since(now),
            }),
            in_flight: self
                .max_concurrency
                .saturating_sub(self.permits.available_permits()),
            cap: self.max_concurrency,
            queued: self.queued.load(Ordering::Relaxed),
        }
    }

    /// Why the breaker is open, if it is.
    pub fn open_reason(&self) -> Option<String> {
        self.breaker().open_cause().map(|cause| match cause {
            OpenCause::Operator(reason) | OpenCause::Outage(reason) => reason.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::ReasonCode;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn failure(kind: FailureKind) -> Result<(), ProviderFailure> {
        let provider: ProviderKey = "microsoft".parse().unwrap();
        Err(ProviderFailure {
            retry_after: Some(Duration::from_secs(300)),
            ..ProviderFailure::new(provider, kind, ReasonCode::new("why"))
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_accounts_throttling_holds_nobody_else_off() {
        let (egress, provider) = (Egress::new(1, INTERVAL), "microsoft".parse().unwrap());
        egress.report(&provider, &failure(FailureKind::AccountThrottled));
        assert!(egress.admit().await.is_ok());
        // The provider's own is obeyed by all.
        egress.report(&provider, &failure(FailureKind::Passing));
        assert_eq!(
            egress.admit().await.unwrap_err().retry_after,
            Duration::from_secs(300)
        );
    }
}
