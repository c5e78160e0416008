//! An answer on its way into its row, and its place in the spool meanwhile.
//!
//! What lies in the spool is the whole commit: the tokens, sealed already for the row, and beside them what the row and
//! the audit are to hold. All of it is sealed once more with the integration's data key, for this place and this
//! generation, because the audit holds what belongs to the user.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::{Actor, RequestContext},
        client::{Policy, ServiceClient},
        ids::{AttemptId, IntegrationId, Subject},
        integration::{Standing, StoredIntegration},
        reason::{ReasonCode, WhoMustAct},
        scope::ScopeSet,
        sealed::{Sealed, SealedColumn},
    },
    measure,
    ports::{
        spool::{SpoolTicket, SpooledAnswer},
        store::{RefreshCommit, StoreError},
        vault::VaultError,
    },
    shared::Shared,
};

/// An answer in hand. While there is one, no other attempt is begun on this node for its account.
pub(super) struct InHand<'a> {
    shared: &'a Shared,
    row: &'a StoredIntegration,
    commit: &'a RefreshCommit,
    ticket: Option<SpoolTicket>,
}

// === impl InHand ===

impl<'a> InHand<'a> {
    /// Takes an answer for this row in hand.
    pub(super) fn take(shared: &'a Shared, row: &'a StoredIntegration, commit: &'a RefreshCommit) -> Self {
        shared.answers.hold(commit.id.uuid);
        Self {
            shared,
            row,
            commit,
            ticket: None,
        }
    }

    /// Writes it into the spool, if it is not there yet: from now on it outlives the process. If that fails the refresh
    /// goes on from memory, and the operator is told.
    pub(super) fn write(&mut self) {
        if self.ticket.is_some() {
            return;
        }
        match seal(self.shared, self.row, self.commit) {
            Ok(answer) => {
                let put = self.shared.ports.spool.put(&answer);
                self.ticket = self.shared.answers.told(put);
                measure::spool_depth(self.shared.ports.spool.depth());
            }
            Err(error) => tracing::error!(error = %error, "an answer cannot be sealed for the spool"),
        }
    }

    /// From now on it outlives the machine.
    pub(super) async fn harden(&self) {
        if self.ticket.is_some() {
            let synced = self.shared.ports.spool.sync().await;
            self.shared.answers.told(synced);
        }
    }

    /// Nobody can store it: it stays in the spool, and holds nothing up.
    pub(super) fn set_aside(self, error: &StoreError) {
        set_aside(&self.commit.id, error);
    }

    /// The row has it, or never will.
    pub(super) fn settle(mut self) {
        if let Some(ticket) = self.ticket.take() {
            forget(self.shared, ticket);
        }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.shared.answers.let_go(self.commit.id.uuid);
    }
}

/// Its row has an answer, or never will.
pub(super) fn forget(shared: &Shared, ticket: SpoolTicket) {
    if let Err(error) = shared.ports.spool.forget(ticket) {
        // The next start offers it to its row, which refuses it.
        tracing::debug!(error = %error, "a settled answer stays in the spool");
    }
    measure::spool_depth(shared.ports.spool.depth());
}

/// An answer stays in the spool because nobody can store it: told once, in the log and in the metrics.
pub(super) fn set_aside(id: &IntegrationId, error: &StoreError) {
    measure::spool_set_aside();
    tracing::error!(
        integration.id = %id, error = %error,
        "an answer that the database refuses for good is set aside in the spool; the next start offers it again"
    );
}

/// Seals a commit for the spool.
fn seal(
    shared: &Shared,
    row: &StoredIntegration,
    commit: &RefreshCommit,
) -> Result<SpooledAnswer, VaultError> {
    let grant = row.grant.as_ref().ok_or(VaultError::Refused)?;
    let context = row.seal_context(SealedColumn::SpooledAnswer, commit.generation);
    let plain = encode(commit).ok_or(VaultError::Refused)?;
    Ok(SpooledAnswer {
        id: commit.id.clone(),
        generation: commit.generation,
        sealed: shared.ports.vault.seal(&grant.data_key, &context, &plain)?,
    })
}

/// Opens an answer of the spool with the key of its row as it is now: whatever master key wraps that today.
pub(super) fn open(
    shared: &Shared,
    row: &StoredIntegration,
    answer: &SpooledAnswer,
) -> Result<RefreshCommit, VaultError> {
    let grant = row.grant.as_ref().ok_or(VaultError::Refused)?;
    let context = row.seal_context(SealedColumn::SpooledAnswer, answer.generation);
    let plain = shared
        .ports
        .vault
        .open(&grant.data_key, &context, &answer.sealed)?;
    decode(&plain)
        .filter(|commit| commit.id == answer.id && commit.generation == answer.generation)
        .ok_or(VaultError::Refused)
}

// === the form ===

/// The first byte: another form will have another.
const VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Record {
    id: IntegrationId,
    generation: i64,
    attempt: Uuid,
    token_type: String,
    issued_at: Timestamp,
    expires_at: Option<Timestamp>,
    refresh_token_expires_at: Option<Timestamp>,
    next_refresh_at: Option<Timestamp>,
    scopes: Vec<String>,
    status: String,
    reason: Option<String>,
    who_must_act: Option<WhoMustAct>,
    refreshed: bool,
    failures: u32,
    /// Bytes of the access token; what follows them is the refresh token.
    access_token_bytes: usize,
    has_refresh_token: bool,
    audit: AuditRecord,
}

/// An audit entry of a refresh: the only kind an answer brings along.
#[derive(Serialize, Deserialize)]
struct AuditRecord {
    success: bool,
    subject: Option<String>,
    scopes: Vec<String>,
    error: Option<String>,
    actor: ActorRecord,
    request_id: String,
    ip: Option<std::net::IpAddr>,
    user_agent: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum ActorRecord {
    User(String),
    Service {
        id: Uuid,
        name: String,
        created_at: Timestamp,
    },
    Browser,
    Operator,
    System,
}

/// Version, length of the record, record, tokens.
fn encode(commit: &RefreshCommit) -> Option<Zeroizing<Vec<u8>>> {
    let refresh_token = commit.refresh_token.as_ref();
    let record = serde_json::to_vec(&Record {
        id: commit.id.clone(),
        generation: commit.generation,
        attempt: commit.attempt.0,
        token_type: commit.token_type.clone(),
        issued_at: commit.issued_at,
        expires_at: commit.expires_at,
        refresh_token_expires_at: commit.refresh_token_expires_at,
        next_refresh_at: commit.next_refresh_at,
        scopes: commit.scopes.to_strings(),
        status: commit.standing.status.as_str().into(),
        reason: text(commit.standing.reason.as_ref()),
        who_must_act: commit.standing.who_must_act,
        refreshed: commit.refreshed,
        failures: commit.failures,
        access_token_bytes: commit.access_token.0.len(),
        has_refresh_token: refresh_token.is_some(),
        audit: audit_record(&commit.audit),
    })
    .ok()?;
    let refresh_token = refresh_token.map_or(&[][..], |sealed| &sealed.0);
    let length = u32::try_from(record.len()).ok()?.to_le_bytes();
    let parts: [&[u8]; 5] = [
        &[VERSION],
        &length,
        &record,
        &commit.access_token.0,
        refresh_token,
    ];
    Some(Zeroizing::new(parts.concat()))
}

fn decode(plain: &[u8]) -> Option<RefreshCommit> {
    let (version, rest) = plain.split_first()?;
    if *version != VERSION {
        return None;
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (record, tokens) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    let record: Record = serde_json::from_slice(record).ok()?;
    let (access_token, refresh_token) = tokens.split_at_checked(record.access_token_bytes)?;
    Some(RefreshCommit {
        audit: audit_entry(record.audit, &record.id)?,
        id: record.id,
        generation: record.generation,
        attempt: AttemptId(record.attempt),
        access_token: Sealed(access_token.to_vec()),
        refresh_token: record.has_refresh_token.then(|| Sealed(refresh_token.to_vec())),
        token_type: record.token_type,
        issued_at: record.issued_at,
        expires_at: record.expires_at,
        refresh_token_expires_at: record.refresh_token_expires_at,
        next_refresh_at: record.next_refresh_at,
        scopes: record.scopes.iter().collect(),
        standing: Standing {
            status: record.status.parse().ok()?,
            reason: record.reason.map(ReasonCode::new),
            who_must_act: record.who_must_act,
        },
        refreshed: record.refreshed,
        failures: record.failures,
    })
}

fn text(reason: Option<&ReasonCode>) -> Option<String> {
    reason.map(|reason| reason.as_str().to_owned())
}

fn audit_record(entry: &AuditEntry) -> AuditRecord {
    AuditRecord {
        success: entry.outcome == AuditOutcome::Success,
        subject: entry.subject.as_ref().map(|subject| subject.as_str().to_owned()),
        scopes: entry.scopes.to_strings(),
        error: text(entry.error.as_ref()),
        actor: match &entry.context.actor {
            Actor::User(subject) => ActorRecord::User(subject.as_str().to_owned()),
            Actor::Service(client) => ActorRecord::Service {
                id: client.id,
                name: client.name.clone(),
                created_at: client.created_at,
            },
            Actor::Browser => ActorRecord::Browser,
            Actor::Operator => ActorRecord::Operator,
            Actor::System => ActorRecord::System,
        },
        request_id: entry.context.request_id.clone(),
        ip: entry.context.ip,
        user_agent: entry.context.user_agent.clone(),
    }
}

fn audit_entry(record: AuditRecord, id: &IntegrationId) -> Option<AuditEntry> {
    let actor = match record.actor {
        ActorRecord::User(subject) => Actor::User(subject.parse().ok()?),
        // For its name in the audit; what it may receive plays no part there.
        ActorRecord::Service { id, name, created_at } => Actor::Service(Arc::new(ServiceClient {
            id,
            name,
            policy: Policy::default(),
            created_at,
            revoked_at: None,
        })),
        ActorRecord::Browser => Actor::Browser,
        ActorRecord::Operator => Actor::Operator,
        ActorRecord::System => Actor::System,
    };
    let outcome = if record.success {
        AuditOutcome::Success
    } else {
        AuditOutcome::Failure
    };
    let context = RequestContext {
        actor,
        request_id: record.request_id,
        ip: record.ip,
        user_agent: record.user_agent,
    };
    let subject = record.subject.map(|subject| subject.parse::<Subject>());
    Some(AuditEntry {
        subject: subject.transpose().ok()?,
        provider: Some(id.provider.clone()),
        integration_id: Some(id.clone()),
        scopes: record.scopes.iter().collect::<ScopeSet>(),
        error: record.error.map(ReasonCode::new),
        ..AuditEntry::new(AuditAction::Refresh, outcome, context)
    })
}

#[cfg(test)]
#[path = "spooled_tests.rs"]
mod tests;
