//! What the database's failures are to a caller.

use std::time::Duration;

use crate::{domain::error::ServiceError, ports::store::StoreError};

/// When to come again if the database is away.
const DATABASE_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Maps a store's failure. A row that cannot be is a defect and said so in the log, once, here.
pub(crate) fn store_error(error: &StoreError) -> ServiceError {
    match error {
        StoreError::Unavailable(detail) => {
            tracing::warn!(detail, "the database is not available");
            ServiceError::Overloaded {
                detail: "the database is not available",
                retry_after: DATABASE_RETRY_AFTER,
            }
        }
        StoreError::InvalidCursor => ServiceError::invalid("after is not a cursor of this list"),
        StoreError::Exists(what) => ServiceError::invalid(format!("{what} exists already")),
        StoreError::Refused { .. } => {
            tracing::error!(error = %error, "something was accepted that cannot be stored");
            ServiceError::Internal
        }
        StoreError::Inconsistent { .. } => {
            tracing::error!(error = %error, "the database holds a row that cannot be");
            ServiceError::Internal
        }
    }
}
