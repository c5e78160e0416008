//! Service clients.

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, Op};
use crate::{
    domain::{
        client::{Policy, ServiceClient},
        sealed::Digest,
    },
    ports::store::{ClientStore, StoreError, StoreResult},
};

#[async_trait]
impl ClientStore for MemoryStore {
    async fn find_by_credential(&self, credential: &Digest) -> StoreResult<Option<ServiceClient>> {
        self.run(Op::Clients, |tables, _| {
            let mut live = tables
                .clients
                .iter()
                .filter(|(client, _)| client.revoked_at.is_none());
            Ok(live
                .find(|(_, digest)| digest == credential)
                .map(|(client, _)| client.clone()))
        })
        .await
    }

    async fn create(&self, name: &str, credential: &Digest, policy: &Policy) -> StoreResult<ServiceClient> {
        self.run(Op::Clients, |tables, now| {
            if tables.clients.iter().any(|(client, _)| client.name == name) {
                return Err(StoreError::Exists("client"));
            }
            let client = ServiceClient {
                id: Uuid::now_v7(),
                name: name.into(),
                policy: policy.clone(),
                created_at: now,
                revoked_at: None,
            };
            tables.clients.push((client.clone(), *credential));
            Ok(client)
        })
        .await
    }

    async fn list(&self) -> StoreResult<Vec<ServiceClient>> {
        self.run(Op::Clients, |tables, _| {
            let mut clients: Vec<_> = tables.clients.iter().map(|(client, _)| client.clone()).collect();
            clients.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(clients)
        })
        .await
    }

    async fn revoke(&self, name: &str) -> StoreResult<bool> {
        self.run(Op::Clients, |tables, now| {
            let mut live = tables
                .clients
                .iter_mut()
                .filter(|(client, _)| client.revoked_at.is_none());
            Ok(live
                .find(|(client, _)| client.name == name)
                .map(|(client, _)| client.revoked_at = Some(now))
                .is_some())
        })
        .await
    }
}
