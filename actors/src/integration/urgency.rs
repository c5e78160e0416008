//! How urgent an account's refresh is to the way out: somebody waits for it, or its token ends at some time.

use std::time::Duration;

use tokio::time::Instant;

use super::{Integration, IntegrationState, lifecycle};
use crate::{provider::backlog::Wish, shared::after};

/// A token whose end nobody knows is taken to end so late: after those that are about to, and not last for ever.
const ENDLESS: Duration = Duration::from_secs(3600);

impl Integration {
    /// How urgent a refresh is.
    pub(super) fn wish(&self, state: &IntegrationState) -> Wish {
        let grant = state.opened.stored.grant.as_ref();
        let waited_for_until = self.waited_for_until(state);
        let ends_at = grant.and_then(|grant| grant.expires_at);
        Wish {
            account: Some(state.opened.stored.id.uuid),
            waited_for_until,
            ends_at: ends_at.unwrap_or_else(|| after(self.shared.now(), ENDLESS)),
            is_retry: waited_for_until.is_none() && grant.is_some_and(|grant| grant.failures > 0),
        }
    }

    fn waited_for_until(&self, state: &IntegrationState) -> Option<Instant> {
        (!state.waiters.is_empty()).then(|| Instant::now() + self.shared.settings.call_deadline)
    }

    /// Somebody waits for a refresh that may still be in the queue.
    pub(super) fn hurry(&self, state: &IntegrationState) {
        if state.lifecycle.phase == lifecycle::Phase::Refreshing
            && let Some(until) = self.waited_for_until(state)
            && let Some(egress) = self.shared.egress(&self.provider.key)
        {
            egress.hurry(state.opened.stored.id.uuid, until);
        }
    }
}
