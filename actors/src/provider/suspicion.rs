//! One account that is refused oddly has a problem; many that are refused in the same way are ours. Pure.
//!
//! An odd refusal is a code that no table knows, or one about how we ask. It is believed to be about its account only when something speaks for
//! our registration: somebody was served after it began, or nobody else was refused for a while. Until then the account is
//! merely tried again. When several are refused with the same code and nobody is served in between, it is the operator's
//! fault, and no account is touched. Accounts of one organisation at the provider count once: its administrator refuses
//! them all with one switch, and whoever has an organisation has as many accounts as they like.
//!
//! `invalid_grant` is not odd, however often it comes: RFC 6749 5.2 has the provider say it about the grant, after it
//! has authenticated the client, and an administrator who removes an application ends thousands of grants at once.
//! Holding those back would leave people without being asked. Many in a row are reported, no more.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::reason::ReasonCode;

/// Voices (see [`Voice`]) refused in the same way, none served in between, that make it the operator's fault. A wrong alarm costs a
/// pause until the next probe; a missing one asks people to reconnect for nothing.
const VOICES_MAX: usize = 3;
/// If nobody else is refused for this long, a refusal is about its account.
const WINDOW: Duration = Duration::from_secs(600);
/// Accounts remembered. One that is not is merely tried again.
const REMEMBERED_MAX: usize = 4_096;
/// Dead grants in a row that are worth a line.
const DEAD_GRANTS_MAX: u32 = 25;

/// What to make of an odd refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// It is about this account.
    Account,
    /// Nobody can tell yet.
    Unclear,
    /// It is about our registration.
    Operator,
}

/// Who counts once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Voice {
    Account(Uuid),
    Tenant(Arc<str>),
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    /// Since when each account is refused, and how many had been served by then.
    refused_since: HashMap<Uuid, (Instant, u64)>,
    /// Who was refused with which code since somebody was served, and when that began.
    alike: HashMap<ReasonCode, (Instant, HashSet<Voice>)>,
    served: u64,
    dead_grants: u32,
}

impl Suspicion {
    /// An account was served.
    pub(super) fn served(&mut self, account: Option<Uuid>) {
        self.alike.clear();
        self.dead_grants = 0;
        self.served += 1;
        if let Some(account) = account {
            self.refused_since.remove(&account);
        }
    }

    /// An account, perhaps of an organisation, was refused oddly.
    pub(super) fn refused(
        &mut self,
        now: Instant,
        account: Uuid,
        tenant: Option<Arc<str>>,
        code: &ReasonCode,
    ) -> Belief {
        if self.refused_since.len() >= REMEMBERED_MAX {
            self.refused_since
                .retain(|_, (since, _)| now.duration_since(*since) < WINDOW);
        }
        if self.refused_since.len() < REMEMBERED_MAX {
            self.refused_since.entry(account).or_insert((now, self.served));
        }
        // A provider that makes up a code per request does not make us remember them all.
        if self.alike.len() >= REMEMBERED_MAX && !self.alike.contains_key(code) {
            self.alike.clear();
        }
        let (began, voices) = self
            .alike
            .entry(code.clone())
            .or_insert_with(|| (now, HashSet::new()));
        if now.duration_since(*began) >= WINDOW && voices.len() < VOICES_MAX {
            (*began, *voices) = (now, HashSet::new());
        }
        if voices.len() < VOICES_MAX {
            voices.insert(tenant.map_or(Voice::Account(account), Voice::Tenant));
        }
        if voices.len() >= VOICES_MAX {
            return Belief::Operator;
        }
        match self.refused_since.get(&account) {
            Some((_, served)) if self.served > *served => Belief::Account,
            Some((since, _)) if now.duration_since(*since) >= WINDOW => Belief::Account,
            Some(_) | None => Belief::Unclear,
        }
    }

    /// A grant is dead. `true`: so many in a row that somebody should look.
    pub(super) fn dead_grant(&mut self) -> bool {
        self.dead_grants = self.dead_grants.saturating_add(1);
        self.dead_grants == DEAD_GRANTS_MAX
    }
}

#[cfg(test)]
#[path = "suspicion_tests.rs"]
mod tests;
