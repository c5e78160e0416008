//! Refreshes that a user or a service forces: one in a while, and for whoever comes in between what it came to.

use super::{Integration, IntegrationState, answer, lifecycle, message::RefreshAsk};
use crate::{
    domain::{error::ServiceResult, integration::IntegrationView},
    shared::until,
};

impl Integration {
    /// What a wish for a refresh is answered with that comes too soon after the last one: how the account is, or why it could
    /// not be refreshed. A wish costs a call at the provider, out of everybody's budget; refreshed a moment ago is what whoever
    /// wishes it wants. The operator's wish is always heard, and so is one for a token that was rejected.
    pub(super) fn bounded(
        &self,
        state: &IntegrationState,
        ask: &RefreshAsk,
    ) -> Option<ServiceResult<IntegrationView>> {
        let interval = self.shared.settings.forced_refresh_interval;
        let (lifecycle, now) = (&state.lifecycle, self.shared.now());
        let is_rejected = lifecycle
            .row
            .token
            .is_some_and(|token| lifecycle.is_rejected(token));
        if ask.owner.is_none() || is_rejected {
            return None;
        }
        let stored = &state.opened.stored;
        if lifecycle.phase == lifecycle::Phase::Active {
            // By the row: whichever node did it, and whatever for.
            let at = stored.last_refreshed_at?;
            let is_recent = until(at, now) < interval;
            return is_recent.then(|| Ok(IntegrationView::of(stored, Some(&self.provider), now)));
        }
        let is_recent = state.forced_at.is_some_and(|at| at.elapsed() < interval);
        let refusal = lifecycle.failing(now).filter(|_| is_recent)?;
        Some(Err(answer::refusal(&stored.id, refusal)))
    }
}
