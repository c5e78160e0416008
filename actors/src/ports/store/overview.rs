//! What an operator asks of the whole: how many, which of them need somebody, and what happened to one.

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    Timestamp,
    audit::AuditView,
    ids::{IntegrationId, ProviderKey, Subject},
    integration::{Status, StoredIntegration},
    page::{Page, PageRequest},
    reason::WhoMustAct,
};

/// The whole in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// How many accounts stand how.
    pub accounts: Vec<AccountsOf>,
    /// How many have work that is due now and that nobody has claimed, up to a bound.
    pub due: u64,
    /// Since when the longest waiting of them is due.
    pub due_since: Option<Timestamp>,
}

/// How many accounts of a provider stand like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsOf {
    /// At which provider.
    pub provider: ProviderKey,
    /// How they stand.
    pub status: Status,
    /// How many.
    pub count: u64,
}

/// A row, and since when it stands as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The row.
    pub integration: StoredIntegration,
    /// Since when it has its status.
    pub since: Timestamp,
}

/// Which rows. What is not said is not looked at; if nothing is said, those that wait for somebody.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanting {
    /// Only those whose move this is.
    pub who: Option<WhoMustAct>,
    /// Only those that stand so.
    pub status: Option<Status>,
}

/// How many data keys a key wraps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUsage {
    /// The key's id.
    pub key_id: String,
    /// How many data keys it wraps.
    pub data_keys: u64,
}

/// What an operator asks of the whole. None of it is on the way of a request for a token.
#[async_trait]
pub trait OverviewStore: Send + Sync {
    /// The whole in numbers.
    async fn census(&self) -> StoreResult<Census>;

    /// One row.
    async fn inspect(&self, id: &IntegrationId) -> StoreResult<Option<Inspected>>;

    /// Those that are wanted, newest connection first.
    async fn wanting(&self, wanting: &Wanting, page: &PageRequest) -> StoreResult<Page<Inspected>>;

    /// What was recorded of one of this owner's accounts, newest first.
    async fn history(&self, owner: &Subject, id: &IntegrationId, limit: u32) -> StoreResult<Vec<AuditView>>;

    /// Which keys wrap how many data keys. Looks at every row: for an operator's question, not for a timer.
    async fn key_usage(&self) -> StoreResult<Vec<KeyUsage>>;
}
