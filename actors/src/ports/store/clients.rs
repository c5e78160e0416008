//! Service clients.

use async_trait::async_trait;

use super::StoreResult;
use crate::domain::{
    client::{Policy, ServiceClient},
    sealed::Digest,
};

/// Service clients.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// The client with this credential, unless revoked.
    async fn find_by_credential(&self, credential: &Digest) -> StoreResult<Option<ServiceClient>>;

    /// Makes a client; its name must be free.
    async fn create(&self, name: &str, credential: &Digest, policy: &Policy) -> StoreResult<ServiceClient>;

    /// Every client, by name.
    async fn list(&self) -> StoreResult<Vec<ServiceClient>>;

    /// Revokes by name; `false`: there is none of this name that is live.
    async fn revoke(&self, name: &str) -> StoreResult<bool>;
}
