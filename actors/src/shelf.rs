//! The shelf: what awake accounts have laid out to be taken at once, so that the most frequent question of all, a token
//! that is good for long enough, is answered without waking anybody.
//!
//! An account's actor alone lays its token out and takes it back: whenever it learns something, before it answers
//! whoever told it, and (by [`Place`]'s drop) however it ends. Whoever finds nothing here that fits asks the actor, which
//! knows why. So the shelf decides nothing: an empty one is slower, never wrong.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    carried::{Carried, Kinds},
    domain::{Timestamp, ids::Subject, provider::Provider, token::AccessGrant},
    integration::{answer, opened::Opened, row::Token},
};

/// How long a user's first account is taken as known. Afterwards the supervisor is asked, and looks again.
pub(crate) const FIRST_FRESH_FOR: Duration = Duration::from_secs(5);

/// What a supervisor watches of an account without asking it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Something is under way: it must not be put to sleep.
    busy: AtomicBool,
    /// Its token was taken from the shelf since somebody looked.
    taken: AtomicBool,
    /// When somebody last asked for its token, in seconds since the epoch; 0: nobody has.
    asked_at: AtomicI64,
}

/// A token laid out, and whose it is.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) opened: Arc<Opened>,
    /// What whoever takes it receives.
    pub(crate) grant: AccessGrant,
    pub(crate) token: Token,
    /// What it gives to whom.
    pub(crate) carried: Arc<Carried>,
    pub(crate) activity: Arc<Activity>,
}

/// One provider's shelf. Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ready: RwLock<HashMap<Uuid, Ready>>,
    first: RwLock<HashMap<Subject, (Uuid, Instant)>>,
    kinds: Kinds,
}

/// An account's place on the shelf. Dropped, nothing is left there.
#[derive(Debug)]
pub(crate) struct Place {
    shelf: Shelf,
    integration: Uuid,
    activity: Arc<Activity>,
    laid_out: Option<Arc<Opened>>,
}

// === impl Activity ===

impl Activity {
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    /// Somebody asked for the token.
    pub(crate) fn ask(&self, now: Timestamp) {
        // Mostly it is known already, and then nothing is written that other processors would have to fetch.
        if self.asked_at.load(Ordering::Relaxed) != now.as_second() {
            self.asked_at.store(now.as_second(), Ordering::Relaxed);
        }
    }

    /// When somebody last asked for the token, to the second.
    pub(crate) fn asked_at(&self) -> Option<Timestamp> {
        let second = self.asked_at.load(Ordering::Relaxed);
        Timestamp::from_second(second).ok().filter(|_| second != 0)
    }

    /// Somebody took the token.
    pub(crate) fn take(&self, now: Timestamp) {
        self.ask(now);
        if !self.taken.load(Ordering::Relaxed) {
            self.taken.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was taken since this was asked last.
    pub(crate) fn was_taken(&self) -> bool {
        self.taken.swap(false, Ordering::Relaxed)
    }
}

// === impl Shelf ===

impl Shelf {
    /// What is made of what this account has laid out. Nobody can change it meanwhile: be quick.
    pub(crate) fn of_integration<R>(
        &self,
        integration: &Uuid,
        take: impl FnOnce(&Ready) -> Option<R>,
    ) -> Option<R> {
        let ready = self.0.ready.read().unwrap_or_else(PoisonError::into_inner);
        take(ready.get(integration)?)
    }

    /// The account that is asked first for this user.
    pub(crate) fn first_of(&self, subject: &Subject, now: Instant) -> Option<Uuid> {
        let first = self.0.first.read().unwrap_or_else(PoisonError::into_inner);
        let (integration, known_at) = *first.get(subject)?;
        (now.duration_since(known_at) < FIRST_FRESH_FOR).then_some(integration)
    }

    /// From the supervisor: which of the user's accounts is asked first.
    pub(crate) fn set_first(&self, subject: &Subject, integration: Uuid, now: Instant) {
        let mut first = self.0.first.write().unwrap_or_else(PoisonError::into_inner);
        first.insert(subject.clone(), (integration, now));
    }

    /// From the supervisor: the user's accounts have changed.
    pub(crate) fn forget_first(&self, subject: &Subject) {
        let mut first = self.0.first.write().unwrap_or_else(PoisonError::into_inner);
        first.remove(subject);
    }

    /// From the supervisor, now and then: forgets what is too old to be used.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut first = self.0.first.write().unwrap_or_else(PoisonError::into_inner);
        first.retain(|_, (_, known_at)| now.duration_since(*known_at) < FIRST_FRESH_FOR);
    }
}

// === impl Place ===

impl Place {
    pub(crate) fn new(shelf: Shelf, integration: Uuid, activity: Arc<Activity>) -> Self {
        Self {
            shelf,
            integration,
            activity,
            laid_out: None,
        }
    }

    /// Lays this out instead of what is there; nothing, where there is no token in it.
    pub(crate) fn lay_out(&mut self, provider: &Provider, opened: &Arc<Opened>, token: Token) {
        if self
            .laid_out
            .as_ref()
            .is_some_and(|present| Arc::ptr_eq(present, opened))
        {
            return;
        }
        let Some(grant) = answer::access_grant(opened) else {
            return self.clear();
        };
        self.laid_out = Some(Arc::clone(opened));
        let ready = Ready {
            opened: Arc::clone(opened),
            grant,
            token,
            carried: self.shelf.0.kinds.of(provider, &opened.stored),
            activity: Arc::clone(&self.activity),
        };
        self.ready().insert(self.integration, ready);
    }

    /// Takes back what is there.
    pub(crate) fn clear(&mut self) {
        if self.laid_out.take().is_some() {
            self.ready().remove(&self.integration);
        }
    }

    fn ready(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Uuid, Ready>> {
        self.shelf.0.ready.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clear();
    }
}
