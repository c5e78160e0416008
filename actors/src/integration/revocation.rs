//! Taking an account back: deny first, then tell the provider, then forget the tokens.

use std::time::Duration;

use tokio::time::Instant;

use super::{opened::Opened, transition};
use crate::{
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        ids::Subject,
        integration::StoredIntegration,
        provider::{Provider, RevocationSupport},
        reason::ReasonCode,
        token::{ProviderRevocation, RevocationReport},
    },
    ports::{
        oauth::{ProviderFailure, RevocationRequest, Revoked},
        store::{Commit, StoreError},
    },
    provider::backlog::Wish,
    shared::{Shared, after},
    upstream,
};

/// Another process may tell the provider only after this long: until then it is this one's work.
const HANDOVER: Duration = Duration::from_secs(60);
/// First pause between attempts to tell the provider; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(10);
/// Longest pause between attempts.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// Attempts before the tokens are forgotten without the provider's word: about a day of trying. By then the access token
/// is long over, and what is left is the user's page at the provider.
const ATTEMPTS_MAX: u32 = 30;

/// Step one: durable denial. `Ok(None)`: there was nothing (of this owner's) to revoke.
pub(super) async fn store(
    shared: &Shared,
    stored: &StoredIntegration,
    owner: Option<&Subject>,
    context: &RequestContext,
) -> ServiceResult<Option<Box<StoredIntegration>>> {
    let audit = AuditEntry::new(AuditAction::Revoke, AuditOutcome::Success, context.clone())
        .with_integration(&stored.id, &stored.owner.subject)
        .with_scopes(stored.scopes.clone());
    let retry_at = after(shared.now(), HANDOVER);
    let reason = ReasonCode::new("revoked_here");
    match shared
        .ports
        .integrations
        .revoke(owner, &stored.id, &reason, retry_at, &audit)
        .await
    {
        Ok(row) => {
            if let Some(row) = &row {
                transition::tell(&stored.standing, row);
            }
            Ok(row.map(Box::new))
        }
        Err(error) => Err(store_error(&error)),
    }
}

/// Step two: tell the provider, then forget; or plan the next attempt.
pub(super) async fn tell_provider(
    shared: &Shared,
    provider: &Provider,
    stored: StoredIntegration,
) -> ProviderRevocation {
    let (id, owner) = (stored.id.clone(), stored.owner.subject.clone());
    let Some(grant) = stored.grant.clone() else {
        return ProviderRevocation::Confirmed;
    };
    let (outcome, error) = match call(shared, provider, stored).await {
        Ok(Revoked::Confirmed) => (ProviderRevocation::Confirmed, None),
        Ok(Revoked::Unsupported) => (ProviderRevocation::Unsupported, None),
        Err(NotRevoked::Shared) => (ProviderRevocation::Shared, None),
        Err(NotRevoked::Failed(_)) if grant.failures + 1 < ATTEMPTS_MAX => {
            let failures = grant.failures + 1;
            let pause = PAUSE_MIN.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
            let retry_at = after(shared.now(), pause.mul_f64(0.5 + shared.ports.rng.unit() / 2.0));
            let postponed =
                shared
                    .ports
                    .integrations
                    .postpone_revocation(&id, grant.generation, failures, retry_at);
            if let Err(error) = postponed.await {
                // The hand-over time stored with the denial stands: it is tried again then.
                tracing::warn!(integration.id = %id, error = %error, "the next attempt to revoke is not stored");
            }
            return ProviderRevocation::Pending;
        }
        Err(NotRevoked::Failed(reason)) => (ProviderRevocation::Pending, Some(reason)),
    };
    let audit_outcome = if error.is_none() {
        AuditOutcome::Success
    } else {
        AuditOutcome::Failure
    };
    let mut audit = AuditEntry::new(AuditAction::Disconnect, audit_outcome, RequestContext::system())
        .with_integration(&id, &owner);
    audit.error = error;
    match shared
        .ports
        .integrations
        .finish_revocation(&id, grant.generation, outcome, &audit)
        .await
    {
        Ok(Commit::Done) => outcome,
        // Reconnected meanwhile: there is a new grant, and this one is history.
        Ok(Commit::Fenced) => outcome,
        Err(error) => {
            tracing::warn!(integration.id = %id, error = %error, "revoked at the provider, but the tokens are not forgotten yet");
            ProviderRevocation::Pending
        }
    }
}

/// Why a provider does not end a grant.
enum NotRevoked {
    /// It is not told: other connections live on the same grant.
    Shared,
    /// It could not be told.
    Failed(ReasonCode),
}

fn failed(reason: &str) -> NotRevoked {
    NotRevoked::Failed(ReasonCode::new(reason))
}

async fn call(
    shared: &Shared,
    provider: &Provider,
    stored: StoredIntegration,
) -> Result<Revoked, NotRevoked> {
    if let RevocationSupport::Unsupported { .. } = provider.revocation {
        return Ok(Revoked::Unsupported);
    }
    // Looked at after the denial is durable: of two that are taken back at once, the later one finds no other.
    let siblings = upstream::siblings(shared, provider, &stored).await;
    if !siblings.map_err(|_| failed("database_away"))?.is_empty() {
        return Err(NotRevoked::Shared);
    }
    let opened = Opened::open(&*shared.ports.vault, stored).map_err(|_| failed("does_not_open"))?;
    let refresh_token = opened
        .refresh_token(&*shared.ports.vault)
        .map_err(|_| failed("does_not_open"))?;
    let Some(access_token) = opened.access_token else {
        return Ok(Revoked::Confirmed);
    };
    let egress = shared
        .egress(&provider.key)
        .ok_or_else(|| failed("unknown_provider"))?;
    // Whoever takes an account back waits for the answer, or did.
    let wish = Wish::waited_for(None, Instant::now() + shared.settings.call_deadline);
    let permit = egress.admit(wish).await.map_err(|_| failed("provider_paused"))?;
    let request = RevocationRequest {
        refresh_token,
        access_token,
        metadata: opened.stored.metadata,
    };
    let result = shared.ports.oauth.revoke(&provider.key, request).await;
    permit
        .report(None, result)
        .map_err(|failure: ProviderFailure| NotRevoked::Failed(failure.reason))
}

/// What the user is told.
pub(super) fn report(provider: &Provider, outcome: ProviderRevocation) -> RevocationReport {
    let name = &provider.display_name;
    let detail = match (outcome, &provider.revocation) {
        (ProviderRevocation::Confirmed, _) => {
            format!(
                "{name} confirmed that this connection is ended. An access token handed out before may work until it expires."
            )
        }
        (ProviderRevocation::Pending, _) => {
            format!("No access is handed out any more. {name} could not be told yet; this is retried.")
        }
        (ProviderRevocation::Unsupported, RevocationSupport::Unsupported { reason }) => {
            format!("No access is handed out any more, and the tokens are deleted here. {reason}")
        }
        (ProviderRevocation::Shared, _) => {
            format!(
                "No access is handed out any more, and the tokens are deleted here. {name} knows only one grant for all \
                 connections of this account, and another one still uses it: it is ended at {name} when the last of them \
                 is disconnected."
            )
        }
        (ProviderRevocation::Unsupported, RevocationSupport::Supported) => {
            format!(
                "No access is handed out any more, and the tokens are deleted here. {name} cannot be told for this connection."
            )
        }
    };
    RevocationReport {
        status: "revoked",
        provider_revocation: outcome,
        detail,
    }
}

fn store_error(error: &StoreError) -> crate::domain::error::ServiceError {
    crate::records::store_error(error)
}
