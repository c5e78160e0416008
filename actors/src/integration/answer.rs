//! Answers: who may have this token, and what a refusal is to a caller. Every hand-out and every refusal is recorded.

use std::time::Duration;

use super::{
    lifecycle::Refusal,
    message::{Need, Recipient, TokenAsk},
    opened::Opened,
};
use crate::{
    carried, consent,
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        error::ServiceError,
        feature::FeatureKey,
        ids::IntegrationId,
        integration::{Status, StoredIntegration},
        provider::Provider,
        reason::ReasonCode,
        scope::ScopeSet,
        token::{AccessGrant, Written},
    },
    shared::Shared,
};

/// Whether this account gives what is asked for, to whoever asks. Looks at scopes, consents and policy, not at how long the
/// token lives.
pub(crate) fn check(
    provider: &Provider,
    stored: &StoredIntegration,
    need: &Need<'_>,
    now: Timestamp,
) -> Result<(), ServiceError> {
    if stored.standing.status == Status::Revoked {
        return Err(ServiceError::NotConnected);
    }
    let insufficient = |missing_scopes, feature: Option<&FeatureKey>| ServiceError::InsufficientScope {
        missing_scopes,
        provider: provider.key.clone(),
        feature: feature.cloned(),
        integration_id: stored.id.clone(),
    };
    if let Some(key) = need.feature {
        let missing = provider
            .feature(key)
            .map(|feature| feature.missing_scopes(&stored.scopes))
            .unwrap_or_default();
        // Granted scopes are not enough: the user switches features on, one by one.
        if !missing.is_empty() || !stored.features.contains(key) {
            return Err(insufficient(missing, need.feature));
        }
    }
    let uncovered = provider.uncovered(need.scopes, &stored.scopes);
    if !uncovered.is_empty() {
        return Err(insufficient(uncovered, need.feature));
    }
    let switched_off = need
        .scopes
        .iter()
        .find_map(|scope| carried::off(provider, stored, scope));
    let says_what_for = need.feature.is_some() || !need.scopes.is_empty();
    let switched_off = switched_off.or_else(|| {
        let unnamed = (!says_what_for).then(|| carried::all_off(provider, stored));
        unnamed.flatten()
    });
    if switched_off.is_some() {
        return Err(insufficient(ScopeSet::default(), switched_off));
    }
    consent::holds(provider, stored, need, now)?;
    match need.recipient {
        Recipient::InProcess => Ok(()),
        Recipient::Client(client) => {
            let beyond = client.policy.beyond(provider, &stored.scopes);
            if beyond.is_empty() {
                return Ok(());
            }
            Err(ServiceError::Forbidden {
                detail: format!(
                    "this token carries scopes beyond the policy of client {} ({}), and {} tokens are not narrowed: \
                     an operator may allow the client what they belong to, or {}:* for whatever a token carries",
                    client.name,
                    beyond.join(" "),
                    provider.display_name,
                    provider.key,
                ),
            })
        }
    }
}

/// Hands the account's token out and records it; refuses if it cannot be recorded.
pub(super) fn hand_out(shared: &Shared, opened: &Opened, ask: TokenAsk) {
    match access_grant(opened) {
        Some(grant) => hand_out_grant(shared, &opened.stored, grant, ask),
        None => drop(ask.reply.send(Err(ServiceError::NotConnected))),
    }
}

/// The same for any token of the account.
pub(super) fn hand_out_grant(shared: &Shared, stored: &StoredIntegration, grant: AccessGrant, ask: TokenAsk) {
    watch(shared, &grant, ask.min_ttl, shared.now());
    let entry = AuditEntry::new(AuditAction::TokenIssued, AuditOutcome::Success, ask.context)
        .with_integration(&stored.id, &stored.owner.subject)
        .with_scopes(grant.scopes.clone());
    if !shared.audit.record(entry, ask.permit) {
        let retry_after = super::schedule::RETRY_AFTER_MIN;
        let _ = ask.reply.send(Err(ServiceError::Overloaded {
            detail: "hand-outs cannot be recorded at the moment",
            retry_after,
        }));
        return;
    }
    let _ = ask.reply.send(Ok(grant));
}

/// Looks at every token that leaves, once more and by nothing but what was asked for.
pub(crate) fn watch(shared: &Shared, grant: &AccessGrant, min_ttl: Option<Duration>, now: Timestamp) {
    let kept = shared
        .measures(grant.provider())
        .is_none_or(|measures| measures.keeps_its_promise(grant.expires_at, min_ttl, now));
    if !kept {
        tracing::error!("a token leaves with less life than was asked for: this is a defect, report it");
    }
}

/// What is handed out of an account, if it has a token.
pub(crate) fn access_grant(opened: &Opened) -> Option<AccessGrant> {
    let (access_token, grant) = (opened.access_token.as_ref()?, opened.stored.grant.as_ref()?);
    Some(AccessGrant {
        access_token: access_token.clone(),
        token_type: grant.token_type.clone(),
        expires_at: grant.expires_at,
        scopes: opened.stored.scopes.clone(),
        integration_id: opened.stored.id.clone(),
        written: Written::default(),
    })
}

/// Refuses and records it.
pub(super) fn refuse(shared: &Shared, stored: &StoredIntegration, ask: TokenAsk, error: ServiceError) {
    let entry = AuditEntry::new(AuditAction::Denied, AuditOutcome::Denied, ask.context)
        .with_integration(&stored.id, &stored.owner.subject)
        .with_error(ReasonCode::new(error.code()));
    shared.audit.record(entry, ask.permit);
    let _ = ask.reply.send(Err(error));
}

/// What a refusal of the lifecycle is to a caller.
pub(super) fn refusal(id: &IntegrationId, refusal: Refusal) -> ServiceError {
    match refusal {
        Refusal::NotConnected => ServiceError::NotConnected,
        Refusal::Reauth(reason) => ServiceError::ReauthRequired {
            reason,
            integration_id: id.clone(),
        },
        Refusal::Admin(reason) => ServiceError::AdminRequired {
            reason,
            integration_id: id.clone(),
        },
        Refusal::Operator { reason, retry_after } => ServiceError::ProviderPaused { reason, retry_after },
        Refusal::Unavailable { reason, retry_after } => {
            ServiceError::ProviderUnavailable { reason, retry_after }
        }
        Refusal::Database { retry_after } => ServiceError::Overloaded {
            detail: "the database is not available",
            retry_after,
        },
        Refusal::TooShortLived { longest } => ServiceError::invalid(format!(
            "min_ttl is longer than this provider's tokens live; the longest possible now is {}s",
            longest.as_secs()
        )),
        Refusal::Crowded => ServiceError::Overloaded {
            detail: "too many callers wait for this account's token",
            retry_after: super::schedule::RETRY_AFTER_MIN,
        },
    }
}
