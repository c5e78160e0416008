//! From the driver's errors to [`StoreError`]. Details name the kind or the SQLSTATE and never the message: messages quote
//! values.

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::{Error, error::DbError};

use oauth_manager_actors::ports::store::StoreError;

use super::tls;

/// Tables that errors can name.
const TABLES: [&str; 18] = [
    "users",
    "oauth_integrations",
    "oauth_tokens",
    "oauth_authorizations",
    "oauth_authorization_redirects",
    "oauth_session_links",
    "oauth_session_openings",
    "oauth_sessions",
    "oauth_consents",
    "oauth_audit_log",
    "oauth_events",
    "oauth_scopes",
    "oauth_service_clients",
    "oauth_service_credentials",
    "oauth_key_checks",
    "oauth_token_rejections",
    "oauth_write_probe",
    "schema_migrations",
];

/// SQLSTATE of a unique violation, and its classes of what is refused for good: data exception, integrity constraint
/// violation, program limit exceeded (an index entry that is too long). Everything else passes, or is the operator's to mend.
const UNIQUE_VIOLATION: &str = "23505";
const REFUSED_FOR_GOOD: [&str; 3] = ["22", "23", "54"];

/// Before the code of what the database refused.
const SQLSTATE: &str = "SQLSTATE ";

/// An error of a statement.
pub(super) fn of_statement(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refusal) if is_refused_for_good(refusal) => StoreError::Refused {
            table: table_of(refusal),
            constraint: refusal.constraint().unwrap_or("-").to_owned(),
            sqlstate: refusal.code().code().to_owned(),
        },
        _ => StoreError::Unavailable(kind(error)),
    }
}

/// An error on the way to a connection.
pub(super) fn of_pool(error: PoolError) -> StoreError {
    StoreError::Unavailable(match error {
        PoolError::Timeout(TimeoutType::Wait) => "no connection was free in time".into(),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => "connecting took too long".into(),
        PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => kind(&error),
        PoolError::PostCreateHook(HookError::Message(_)) => "the session could not be set up".into(),
        PoolError::Closed => "the pool is closed".into(),
        PoolError::NoRuntimeSpecified => "the pool has no runtime".into(),
    })
}

/// The connection is no longer ours. Cannot happen while a lease lives.
pub(super) fn given_back() -> StoreError {
    StoreError::Unavailable("the connection was given back".into())
}

/// Whether a statement was refused because this is there already.
pub(super) fn is_duplicate(error: &StoreError) -> bool {
    matches!(error, StoreError::Refused { sqlstate, .. } if sqlstate == UNIQUE_VIOLATION)
}

/// Whether the database itself refused, and so undid, a statement that is a transaction of its own. Otherwise the
/// connection failed, and nobody knows what was done.
pub(super) fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(reason) => reason.starts_with(SQLSTATE),
        StoreError::Refused { .. } => true,
        StoreError::Inconsistent { .. } | StoreError::InvalidCursor | StoreError::Exists(_) => false,
    }
}

/// What went wrong, in words that are safe everywhere.
fn kind(error: &Error) -> String {
    if let Some(code) = error.code() {
        format!("{SQLSTATE}{}", code.code())
    } else if let Some(refusal) = tls::refusal(error) {
        refusal
    } else if error.is_closed() {
        "the connection is closed".into()
    } else if let Some(io) = std::error::Error::source(error).and_then(|s| s.downcast_ref::<std::io::Error>())
    {
        format!("connection: {}", io.kind())
    } else {
        "the connection failed".into()
    }
}

fn is_refused_for_good(refusal: &DbError) -> bool {
    REFUSED_FOR_GOOD
        .iter()
        .any(|class| refusal.code().code().starts_with(class))
}

fn table_of(refusal: &DbError) -> &'static str {
    refusal
        .table()
        .and_then(|name| TABLES.into_iter().find(|table| *table == name))
        .unwrap_or("-")
}
