//! Why a callback connects nothing, and what ends with it.

use crate::{
    authorization::{callback::Visit, standing, stray},
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{AuthorizationStatus, CallbackOutcome, CallbackResult, StoredAuthorization},
        error::ServiceResult,
        reason::ReasonCode,
        sealed::Digest,
    },
    ports::store::{Commit, Refused},
    records::store_error,
    shared::Shared,
};

/// The words appear in audit rows, redirects and pages.
pub(super) mod why {
    pub(in super::super) const NO_STATE: &str = "state_missing";
    pub(in super::super) const UNKNOWN_STATE: &str = "state_unknown";
    pub(in super::super) const USED_STATE: &str = "state_used";
    pub(in super::super) const EXPIRED: &str = "expired";
    pub(in super::super) const OTHER_PROVIDER: &str = "provider_mismatch";
    pub(in super::super) const OTHER_BROWSER: &str = "browser_mismatch";
    pub(in super::super) const OTHER_USER: &str = "binding_mismatch";
    pub(in super::super) const CONFLICTING: &str = "conflicting_parameters";
    pub(in super::super) const OTHER_ISSUER: &str = "issuer_mismatch";
    pub(in super::super) const NO_CODE: &str = "code_missing";
    pub(in super::super) const NOWHERE_TO_CONFIRM: &str = "confirmation_impossible";
}

/// What providers call it when the user says no.
const SAID_NO: [&str; 4] = [
    "access_denied",
    "consent_required",
    "user_cancelled_login",
    "user_cancelled_authorize",
];

/// A callback that connects nothing.
pub(super) struct Refusal {
    status: AuthorizationStatus,
    reason: ReasonCode,
    /// Whether the browser may be sent to the application.
    redirect: bool,
}

impl Refusal {
    pub(super) fn failed(reason: &str) -> Self {
        Self {
            status: AuthorizationStatus::Failed,
            reason: ReasonCode::new(reason),
            redirect: true,
        }
    }

    pub(super) fn sent_nowhere(reason: &str) -> Self {
        Self {
            redirect: false,
            ..Self::failed(reason)
        }
    }

    pub(super) fn expired(redirect: bool) -> Self {
        Self {
            status: AuthorizationStatus::Expired,
            redirect,
            ..Self::failed(why::EXPIRED)
        }
    }

    pub(super) fn by_provider(error: &ReasonCode) -> Self {
        let status = if SAID_NO.contains(&error.as_str()) {
            AuthorizationStatus::Denied
        } else {
            AuthorizationStatus::Failed
        };
        Self {
            status,
            ..Self::failed(error.as_str())
        }
    }

    /// Of a flow that waits for a browser: the user's no ends it; anything else ends what this browser left with, and
    /// others that opened the link may still come back.
    pub(super) async fn refuse(
        self,
        shared: &Shared,
        visit: &Visit,
        flow: &StoredAuthorization,
        state: &Digest,
    ) -> ServiceResult<CallbackOutcome> {
        if flow.status != AuthorizationStatus::Redirected {
            return standing::led_on(shared, visit, state).await;
        }
        let refused = match self.status {
            AuthorizationStatus::Denied => Refused::Flow,
            _ => Refused::Redirect(state),
        };
        match self.store(shared, visit, flow, refused).await? {
            Commit::Done => Ok(self.outcome(flow)),
            Commit::Fenced => standing::led_on(shared, visit, state).await,
        }
    }

    /// Ends the whole flow; `None`: it does not wait any more.
    pub(super) async fn end_flow(
        self,
        shared: &Shared,
        visit: &Visit,
        flow: &StoredAuthorization,
    ) -> ServiceResult<Option<CallbackOutcome>> {
        let stored = self.store(shared, visit, flow, Refused::Flow).await?;
        Ok((stored == Commit::Done).then(|| self.outcome(flow)))
    }

    /// Of a flow that is past its time.
    pub(super) async fn end(
        self,
        shared: &Shared,
        visit: &Visit,
        flow: &StoredAuthorization,
    ) -> ServiceResult<CallbackOutcome> {
        let audit = self.audit(visit, flow);
        let finished = shared
            .ports
            .authorizations
            .finish(flow.id, self.status, &self.reason, &audit)
            .await;
        if finished.map_err(|error| store_error(&error))? == Commit::Fenced {
            // It had ended before (cleared away): nothing changes, the attempt is recorded all the same.
            stray::record(shared, audit).await?;
        }
        Ok(self.outcome(flow))
    }

    async fn store(
        &self,
        shared: &Shared,
        visit: &Visit,
        flow: &StoredAuthorization,
        refused: Refused<'_>,
    ) -> ServiceResult<Commit> {
        let audit = self.audit(visit, flow);
        let stored = shared
            .ports
            .authorizations
            .refuse(flow.id, refused, self.status, &self.reason, &audit)
            .await;
        stored.map_err(|error| store_error(&error))
    }

    fn audit(&self, visit: &Visit, flow: &StoredAuthorization) -> AuditEntry {
        let outcome = match self.status {
            AuthorizationStatus::Denied => AuditOutcome::Denied,
            _ => AuditOutcome::Failure,
        };
        AuditEntry::new(AuditAction::Callback, outcome, visit.context.clone())
            .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
            .with_error(self.reason.clone())
    }

    fn outcome(self, flow: &StoredAuthorization) -> CallbackOutcome {
        tracing::info!(authorization.id = %flow.id, provider.id = %flow.provider, oauth.error = %self.reason, "a callback came to nothing");
        CallbackOutcome {
            authorization_id: self.redirect.then_some(flow.id),
            return_to: flow.return_to.clone().filter(|_| self.redirect),
            result: match self.status {
                AuthorizationStatus::Denied => CallbackResult::Denied(self.reason),
                _ => CallbackResult::Failed(self.reason),
            },
        }
    }
}
