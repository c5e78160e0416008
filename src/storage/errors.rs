//! From the driver's errors to [`StoreError`]. Details name the kind or the SQLSTATE and never the message: messages quote
//! values.

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use tokio_postgres::{Error, error::DbError};

use oauth_manager_actors::ports::store::StoreError;

/// Tables that errors can name.
const TABLES: [&str; 15] = [
    "users",
    "oauth_integrations",
    "oauth_tokens",
    "oauth_authorizations",
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

/// SQLSTATE of a unique violation, and its classes of refused data: data exception, integrity constraint violation.
const UNIQUE_VIOLATION: &str = "23505";
const REFUSED_DATA: [&str; 2] = ["22", "23"];

/// Before the code of what the database refused.
const SQLSTATE: &str = "SQLSTATE ";

/// An error of a statement.
pub(super) fn of_statement(error: &Error) -> StoreError {
    match error.as_db_error() {
        Some(refusal) if is_refused_data(refusal) => StoreError::Inconsistent {
            table: table_of(refusal),
            id: refusal.constraint().unwrap_or("-").to_owned(),
            detail: format!("refused with SQLSTATE {}", refusal.code().code()),
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
    matches!(error, StoreError::Inconsistent { detail, .. } if detail.ends_with(UNIQUE_VIOLATION))
}

/// Whether the database itself refused, and so undid, a statement that is a transaction of its own. Otherwise the
/// connection failed, and nobody knows what was done.
pub(super) fn is_refusal(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(reason) => reason.starts_with(SQLSTATE),
        StoreError::Inconsistent { .. } => true,
        StoreError::InvalidCursor | StoreError::Exists(_) => false,
    }
}

/// What went wrong, in words that are safe everywhere.
fn kind(error: &Error) -> String {
    if let Some(code) = error.code() {
        format!("{SQLSTATE}{}", code.code())
    } else if error.is_closed() {
        "the connection is closed".into()
    } else if let Some(io) = std::error::Error::source(error).and_then(|s| s.downcast_ref::<std::io::Error>())
    {
        format!("connection: {}", io.kind())
    } else {
        "the connection failed".into()
    }
}

fn is_refused_data(refusal: &DbError) -> bool {
    REFUSED_DATA
        .iter()
        .any(|class| refusal.code().code().starts_with(class))
}

fn table_of(refusal: &DbError) -> &'static str {
    refusal
        .table()
        .and_then(|name| TABLES.into_iter().find(|table| *table == name))
        .unwrap_or("-")
}
