//! The one log line of a change of status, told by the node that stored it.

use crate::domain::integration::{Standing, Status, StoredIntegration};

/// Tells that an account stands otherwise than it did. Nothing of its user is in the line.
pub(crate) fn tell(from: &Standing, row: &StoredIntegration) {
    let to = &row.standing;
    if from.status == to.status {
        return;
    }
    let (id, provider) = (&row.id, &row.id.provider);
    let (before, after) = (from.status.as_str(), to.status.as_str());
    let reason = to.reason.as_ref().map_or("-", |reason| reason.as_str());
    let who = to.who_must_act.map_or("nobody", |who| who.as_str());
    match to.status {
        Status::ReauthRequired | Status::Paused => tracing::warn!(
            integration.id = %id, provider.id = %provider, lifecycle.from = before, lifecycle.to = after, reason,
            who_must_act = who, "an account's status changed"
        ),
        Status::Pending | Status::Active | Status::Degraded | Status::Revoked => tracing::info!(
            integration.id = %id, provider.id = %provider, lifecycle.from = before, lifecycle.to = after, reason,
            who_must_act = who, "an account's status changed"
        ),
    }
}
