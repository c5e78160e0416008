//! Service clients, looked up by credential and kept for a moment: a hand-out does not wait for the database to say who
//! asks, and the database being away does not lock the services out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::{
    domain::{
        client::ServiceClient,
        error::ServiceError,
        sealed::{Digest, DigestPurpose},
        secret::ServiceCredential,
    },
    integration::message::Recipient,
    ports::store::StoreError,
    shared::Shared,
};

/// How long an answer is taken as read: a revoked credential works no longer than this.
const FRESH_FOR: Duration = Duration::from_secs(2);
/// How long an answer is used while the database is away.
const STALE_FOR: Duration = Duration::from_secs(3600);
/// How long to wait for the database if there is an answer to fall back on.
const RECHECK_PATIENCE: Duration = Duration::from_millis(500);

/// Who is behind a credential, as last read. Holds only credentials that were good: bounded by their number. Read with
/// every hand-out and changed every few seconds: readers share nothing that they would have to write to.
#[derive(Debug, Default)]
pub(crate) struct Clients(ArcSwap<HashMap<Digest, Known>>);

#[derive(Debug, Clone)]
struct Known {
    client: Arc<ServiceClient>,
    /// The same, as whoever receives a token.
    recipient: Recipient,
    read_at: Instant,
    /// Not asked again before this, while the database is away.
    recheck_at: Instant,
}

impl Clients {
    /// What is done for the client with this credential, if it was read lately: without waiting for anybody.
    pub(crate) fn if_known<R>(
        &self,
        shared: &Shared,
        credential: &ServiceCredential,
        now: Instant,
        then: impl FnOnce(&Recipient) -> Option<R>,
    ) -> Option<R> {
        let all = self.0.load();
        let known = all.get(&digest_of(shared, credential))?;
        (now < known.recheck_at).then(|| then(&known.recipient))?
    }

    /// Whether this credential was good when it was last read, however long ago.
    pub(crate) fn knows(&self, shared: &Shared, credential: &ServiceCredential) -> bool {
        self.0.load().contains_key(&digest_of(shared, credential))
    }

    /// The client with this credential.
    pub(crate) async fn authenticate(
        &self,
        shared: &Shared,
        credential: &ServiceCredential,
    ) -> Result<Arc<ServiceClient>, ServiceError> {
        let digest = digest_of(shared, credential);
        let now = Instant::now();
        let lookup = || shared.ports.clients.find_by_credential(&digest);
        let Some(known) = self.read(&digest) else {
            return match lookup().await {
                Ok(Some(client)) => Ok(self.remember(digest, client, now)),
                Ok(None) => Err(unknown()),
                Err(error) => Err(crate::records::store_error(&error)),
            };
        };
        if now < known.recheck_at {
            return Ok(known.client);
        }
        match tokio::time::timeout(RECHECK_PATIENCE, lookup()).await {
            Ok(Ok(Some(client))) => Ok(self.remember(digest, client, now)),
            Ok(Ok(None)) => {
                self.change(|all| {
                    all.remove(&digest);
                });
                Err(unknown())
            }
            Ok(Err(StoreError::Unavailable(_))) | Err(_) if now.duration_since(known.read_at) < STALE_FOR => {
                self.change(|all| {
                    if let Some(known) = all.get_mut(&digest) {
                        known.recheck_at = Instant::now() + FRESH_FOR;
                    }
                });
                Ok(known.client)
            }
            Ok(Err(error)) => Err(crate::records::store_error(&error)),
            Err(_patience) => Err(ServiceError::DeadlineExceeded),
        }
    }

    fn remember(&self, digest: Digest, client: ServiceClient, now: Instant) -> Arc<ServiceClient> {
        let client = Arc::new(client);
        let known = Known {
            client: Arc::clone(&client),
            recipient: Recipient::Client(Arc::clone(&client)),
            read_at: now,
            recheck_at: now + FRESH_FOR,
        };
        self.change(|all| {
            all.insert(digest, known.clone());
        });
        client
    }

    fn read(&self, digest: &Digest) -> Option<Known> {
        self.0.load().get(digest).cloned()
    }

    fn change(&self, change: impl Fn(&mut HashMap<Digest, Known>)) {
        self.0.rcu(|all| {
            let mut all = HashMap::clone(all);
            change(&mut all);
            all
        });
    }
}

fn digest_of(shared: &Shared, credential: &ServiceCredential) -> Digest {
    let vault = &shared.ports.vault;
    vault.digest(DigestPurpose::ServiceCredential, credential.expose())
}

fn unknown() -> ServiceError {
    ServiceError::Unauthenticated {
        detail: "this credential is not known, or was revoked".into(),
    }
}
