//! The audit row as it goes into statements: bounded, and without anything that could break a log line or a terminal.
//!
//! Every statement that changes something writes its audit row itself. So that one list of columns serves all, the row's
//! values are always the first [`PARAMS`] parameters.

use std::net::IpAddr;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use oauth_manager_actors::domain::{
    audit::AuditEntry, caller::USER_AGENT_MAX_CHARS, storable::is_disruptive,
};

use super::arrays::Slices;

/// How many parameters an audit row takes.
pub(super) const PARAMS: usize = 14;
/// Longest actor and request id kept: a subject and a service's name fit.
const ACTOR_MAX_CHARS: usize = 300;
const REQUEST_ID_MAX_CHARS: usize = 128;

/// The columns of an audit row, in the order of its parameters.
macro_rules! audit_columns {
    () => {
        "id, actor, subject, action, outcome, provider, integration_id, authorization_id, scopes, error, count, \
         request_id, ip, user_agent"
    };
}
pub(super) use audit_columns;

/// `INSERT INTO oauth_audit_log … SELECT …` of parameters 1 to 14, to be followed by `FROM` what must have happened.
macro_rules! insert_audit {
    () => {
        concat!(
            "INSERT INTO oauth_audit_log (",
            super::audit::audit_columns!(),
            ") SELECT $1::uuid, $2::text, $3::text, $4::text, $5::text, $6::text, $7::uuid, $8::uuid, $9::text[], \
             $10::text, $11::int, $12::text, $13::inet, $14::text"
        )
    };
}
pub(super) use insert_audit;

/// An audit row's values.
pub(super) struct AuditRow<'a> {
    id: Uuid,
    actor: String,
    subject: Option<&'a str>,
    action: &'static str,
    outcome: &'static str,
    provider: Option<&'a str>,
    integration_id: Option<Uuid>,
    authorization_id: Option<Uuid>,
    scopes: Vec<String>,
    error: Option<&'a str>,
    count: i32,
    request_id: Option<String>,
    ip: Option<IpAddr>,
    user_agent: Option<String>,
}

impl<'a> AuditRow<'a> {
    pub(super) fn of(entry: &'a AuditEntry) -> Self {
        let context = &entry.context;
        Self {
            id: Uuid::now_v7(),
            actor: clean(&context.actor.label(), ACTOR_MAX_CHARS),
            subject: entry
                .subject
                .as_ref()
                .map(oauth_manager_actors::domain::ids::Subject::as_str),
            action: entry.action.as_str(),
            outcome: entry.outcome.as_str(),
            provider: entry
                .provider
                .as_ref()
                .map(oauth_manager_actors::domain::ids::ProviderKey::as_str),
            integration_id: entry.integration_id.as_ref().map(|id| id.uuid),
            authorization_id: entry.authorization_id.map(|id| id.0),
            scopes: entry
                .scopes
                .iter()
                .map(|s| clean(s.as_str(), usize::MAX))
                .collect(),
            error: entry
                .error
                .as_ref()
                .map(oauth_manager_actors::domain::reason::ReasonCode::as_str),
            count: i32::try_from(entry.count.max(1)).unwrap_or(i32::MAX),
            request_id: Some(clean(&context.request_id, REQUEST_ID_MAX_CHARS)).filter(|id| !id.is_empty()),
            ip: context.ip,
            user_agent: context
                .user_agent
                .as_deref()
                .map(|agent| clean(agent, USER_AGENT_MAX_CHARS)),
        }
    }

    /// As the first parameters of a statement, followed by these.
    pub(super) fn params_and<'p>(&'p self, rest: &[&'p (dyn ToSql + Sync)]) -> Vec<&'p (dyn ToSql + Sync)> {
        let own: [&'p (dyn ToSql + Sync); PARAMS] = [
            &self.id,
            &self.actor,
            &self.subject,
            &self.action,
            &self.outcome,
            &self.provider,
            &self.integration_id,
            &self.authorization_id,
            &self.scopes,
            &self.error,
            &self.count,
            &self.request_id,
            &self.ip,
            &self.user_agent,
        ];
        own.into_iter().chain(rest.iter().copied()).collect()
    }
}

/// The columns of [`AuditColumns`], named apart from those of other tables, and their types.
pub(super) const AUDIT_ARRAYS: [(&str, &str); PARAMS + 1] = [
    ("audit_id", "uuid"),
    ("actor", "text"),
    ("audit_subject", "text"),
    ("action", "text"),
    ("outcome", "text"),
    ("audit_provider", "text"),
    ("audit_integration", "uuid"),
    ("authorization_id", "uuid"),
    ("audit_scopes_from", "int"),
    ("audit_scopes_to", "int"),
    ("error", "text"),
    ("audit_count", "int"),
    ("request_id", "text"),
    ("ip", "inet"),
    ("user_agent", "text"),
];

/// Values of the audit rows of one statement, column by column.
#[derive(Default)]
pub(super) struct AuditColumns<'a> {
    id: Vec<Uuid>,
    actor: Vec<String>,
    subject: Vec<Option<&'a str>>,
    action: Vec<&'static str>,
    outcome: Vec<&'static str>,
    provider: Vec<Option<&'a str>>,
    integration_id: Vec<Option<Uuid>>,
    authorization_id: Vec<Option<Uuid>>,
    scopes: Slices,
    error: Vec<Option<&'a str>>,
    count: Vec<i32>,
    request_id: Vec<Option<String>>,
    ip: Vec<Option<IpAddr>>,
    user_agent: Vec<Option<String>>,
}

impl<'a> AuditColumns<'a> {
    pub(super) fn push(&mut self, row: AuditRow<'a>) {
        self.id.push(row.id);
        self.actor.push(row.actor);
        self.subject.push(row.subject);
        self.action.push(row.action);
        self.outcome.push(row.outcome);
        self.provider.push(row.provider);
        self.integration_id.push(row.integration_id);
        self.authorization_id.push(row.authorization_id);
        self.scopes.push(row.scopes);
        self.error.push(row.error);
        self.count.push(row.count);
        self.request_id.push(row.request_id);
        self.ip.push(row.ip);
        self.user_agent.push(row.user_agent);
    }

    /// The scopes of all rows, of which each row has a slice.
    pub(super) fn scopes(&self) -> &Vec<String> {
        &self.scopes.all
    }

    /// As parameters, in the order of [`AUDIT_ARRAYS`].
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); PARAMS + 1] {
        [
            &self.id,
            &self.actor,
            &self.subject,
            &self.action,
            &self.outcome,
            &self.provider,
            &self.integration_id,
            &self.authorization_id,
            &self.scopes.from,
            &self.scopes.to,
            &self.error,
            &self.count,
            &self.request_id,
            &self.ip,
            &self.user_agent,
        ]
    }
}

/// At most so many characters, with everything replaced that could end a line, hide text or steer a terminal.
pub(super) fn clean(text: &str, chars_max: usize) -> String {
    text.chars()
        .take(chars_max)
        .map(|c| if is_disruptive(c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_injection_neutralised() {
        let text = clean("curl/8\r\n2026 admin logged in\u{1b}[2K\u{2028}\0", 256);
        assert!(!text.chars().any(is_disruptive), "{text:?}");
        assert_eq!(clean("Mozilla", 3), "Moz");
    }
}
