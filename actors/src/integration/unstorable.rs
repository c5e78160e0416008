//! What the database refuses for good, brought down to what it takes: the tokens, and nothing that came with them from
//! outside. A refresh token must not be lost because of a word beside it.

use super::{outcome::Attempt, refresh::PROBE_BEFORE_END};
use crate::{
    domain::{
        audit::AuditEntry,
        caller::RequestContext,
        ids::IntegrationId,
        integration::{Standing, Status, StoredIntegration},
        provider::RefreshClass,
        reason::{ANSWER_UNSTORABLE, ReasonCode, WhoMustAct},
        scope::ScopeSet,
    },
    ports::store::{FailureCommit, RefreshCommit, StoreError},
    shared::before,
};

/// New tokens without anything that may not be storable: the scopes stand as they stood in this row, and the reason says
/// so, for the operator.
pub(super) fn reduced(commit: &RefreshCommit, row: &StoredIntegration) -> RefreshCommit {
    let status = if commit.refreshed {
        Status::Active
    } else {
        Status::Degraded
    };
    let present_type = row.grant.as_ref().map(|grant| grant.token_type.clone());
    RefreshCommit {
        token_type: present_type.unwrap_or_else(|| "Bearer".to_owned()),
        scopes: row.scopes.clone(),
        standing: Standing::because(status, ReasonCode::new(ANSWER_UNSTORABLE), WhoMustAct::Operator),
        audit: minimal(&commit.audit),
        ..commit.clone()
    }
}

/// The database takes this answer in no form: its tokens lie in the spool and are not known to the row. As after an answer
/// that was lost, and the operator is told why.
pub(super) fn failure(attempt: &Attempt<'_>) -> FailureCommit {
    let code = ReasonCode::new(ANSWER_UNSTORABLE);
    let again = attempt.back_off(None);
    let rotates = attempt.provider.refresh_class != RefreshClass::Safe;
    let end = attempt
        .grant()
        .and_then(|grant| grant.expires_at)
        .filter(|_| rotates);
    FailureCommit {
        next_refresh_at: Some(end.map_or(again, |end| again.max(before(end, PROBE_BEFORE_END)))),
        keep_claim: rotates,
        ..attempt.failure(
            Standing::because(Status::Degraded, code.clone(), WhoMustAct::Operator),
            &code,
        )
    }
}

/// A failure with an audit row that holds nothing from outside.
pub(super) fn reduced_failure(commit: &FailureCommit) -> FailureCommit {
    FailureCommit {
        audit: AuditEntry {
            error: commit.audit.error.clone(),
            ..minimal(&commit.audit)
        },
        ..commit.clone()
    }
}

/// What happened, to what and how it ended; by whom and through which request is what may not be storable.
pub(crate) fn minimal(audit: &AuditEntry) -> AuditEntry {
    AuditEntry {
        scopes: ScopeSet::default(),
        error: Some(ReasonCode::new(ANSWER_UNSTORABLE)),
        context: RequestContext::system(),
        ..audit.clone()
    }
}

/// Says in the log that something was brought down to what the database takes.
pub(super) fn say_reduced(id: &IntegrationId, error: &StoreError) {
    tracing::error!(
        integration.id = %id, error = %error,
        "the database refuses an answer as it is; its tokens are stored without what came with them"
    );
}
