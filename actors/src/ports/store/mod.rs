//! The database as the actors see it: one trait per noun, one method per statement that matters. Every write carries
//! its audit entry and is one transaction; every read of a user's data takes its owner.

mod authorizations;
mod clients;
mod egress;
mod integrations;
mod overview;
mod records;
mod refresh;
mod rejections;
mod sessions;
mod users;

pub use authorizations::{
    AuthorizationStore, ConfirmationOutcome, NewAuthorization, RedirectRecord, Refused, StateOutcome,
    StoredRedirect,
};
pub use clients::ClientStore;
pub use egress::{EgressStore, FaultKind, OpenBreaker, ProbeClaim};
pub use integrations::{
    ConnectCommit, DirectoryEntry, DispatchRequest, FeatureChange, FeatureSwitch, IntegrationStore,
    Reservation, UpstreamGrant,
};
pub use overview::{AccountsOf, Census, Inspected, KeyUsage, OverviewStore, Wanting};
pub use records::RecordStore;
pub use refresh::{
    ClaimOutcome, ClaimRequest, ClaimReturn, Concluded, FailureCommit, RefreshCommit, Replayed,
};
pub use rejections::{RejectionReport, Reported};
pub use sessions::{
    NewOpening, OPENINGS_MAX, SessionConfirmation, SessionConfirmed, SessionStore, StoredOpening,
};
pub use users::UserStore;

/// What the database can fail with. The variants say what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is too slow, or refuses writes: try again later. Where it refused, the words are `SQLSTATE ` and
    /// its code.
    #[error("the database is not available: {0}")]
    Unavailable(String),
    /// It will never take this: a value it cannot hold, or one that breaks a rule of the schema. Not to be tried again as
    /// it is, and no sign that the database is away.
    #[error("the database refuses what was to be written to {table}: {constraint}, SQLSTATE {sqlstate}")]
    Refused {
        /// Which table, where the database says it.
        table: &'static str,
        /// Which rule, where it is one.
        constraint: String,
        /// How the database puts it: class 22 (data), 23 (a constraint) or 54 (a limit of its own).
        sqlstate: String,
    },
    /// A row that cannot be: a defect to mend, named so that it can be found.
    #[error("inconsistent row {id} in {table}: {detail}")]
    Inconsistent {
        /// Which table.
        table: &'static str,
        /// Which row.
        id: String,
        /// What is wrong with it; never a value that may be secret.
        detail: String,
    },
    /// A page cursor that is not ours.
    #[error("not a cursor of this list")]
    InvalidCursor,
    /// A name that is taken.
    #[error("{0} exists already")]
    Exists(&'static str),
}

impl StoreError {
    /// The code with which the database refused a statement for other reasons than its data.
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Unavailable(reason) => reason.strip_prefix("SQLSTATE "),
            Self::Refused { .. } | Self::Inconsistent { .. } | Self::InvalidCursor | Self::Exists(_) => None,
        }
    }
}

/// What stores answer.
pub type StoreResult<T> = Result<T, StoreError>;

/// Whether a conditional write took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It did.
    Done,
    /// The row has moved on (another generation, another claim, another state): nothing was written.
    Fenced,
}
