//! Service clients and their credentials. Several credentials of a client may be live, so that one can be replaced
//! without a pause.

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        client::{Policy, ServiceClient},
        sealed::Digest,
    },
    ports::store::{ClientStore, StoreError, StoreResult},
};

use super::{Storage, errors, row::Record};

const FIND_BY_CREDENTIAL: &str = "\
SELECT c.id, c.name, c.allow, c.sessions, c.admin, c.created_at, c.revoked_at
FROM oauth_service_credentials k JOIN oauth_service_clients c ON c.id = k.client_id
WHERE k.digest = $1 AND k.revoked_at IS NULL AND c.revoked_at IS NULL";
const CREATE: &str = "\
WITH c AS (
    INSERT INTO oauth_service_clients (id, name, allow, sessions, admin) VALUES ($1, $2, $3, $4, $5)
    RETURNING id, name, allow, sessions, admin, created_at, revoked_at
), k AS (
    INSERT INTO oauth_service_credentials (digest, client_id) SELECT $6::bytea, id FROM c
)
SELECT * FROM c";
const ADD_CREDENTIAL: &str = "\
INSERT INTO oauth_service_credentials (digest, client_id)
SELECT $2::bytea, id FROM oauth_service_clients WHERE name = $1 AND revoked_at IS NULL";
const REVOKE_CREDENTIAL: &str =
    "UPDATE oauth_service_credentials SET revoked_at = now() WHERE digest = $1 AND revoked_at IS NULL";
const LIST: &str = "\
SELECT id, name, allow, sessions, admin, created_at, revoked_at FROM oauth_service_clients ORDER BY name";
const REVOKE: &str = "\
WITH c AS (
    UPDATE oauth_service_clients SET revoked_at = now() WHERE name = $1 AND revoked_at IS NULL RETURNING id
), k AS (
    UPDATE oauth_service_credentials SET revoked_at = now() FROM c WHERE client_id = c.id AND revoked_at IS NULL
)
SELECT id FROM c";

impl Storage {
    /// Gives a client another credential beside those it has; `false`: there is no such client.
    ///
    /// # Errors
    /// The database fails, or the credential is in use.
    pub async fn add_credential(&self, name: &str, credential: &Digest) -> StoreResult<bool> {
        self.within("clients.add_credential", async {
            let client = self.system().await?;
            let added = client
                .execute(ADD_CREDENTIAL, &[&name, &credential.0.as_slice()])
                .await
                .map_err(|error| exists(error, "this credential"))?;
            Ok(added == 1)
        })
        .await
    }

    /// Revokes one credential; `false`: there is none like it that is live.
    ///
    /// # Errors
    /// The database fails.
    pub async fn revoke_credential(&self, credential: &Digest) -> StoreResult<bool> {
        self.within("clients.revoke_credential", async {
            let client = self.system().await?;
            let revoked = client
                .execute(REVOKE_CREDENTIAL, &[&credential.0.as_slice()])
                .await?;
            Ok(revoked == 1)
        })
        .await
    }
}

fn exists(error: StoreError, what: &'static str) -> StoreError {
    if errors::is_duplicate(&error) {
        StoreError::Exists(what)
    } else {
        error
    }
}

fn service_client(row: &Row) -> StoreResult<ServiceClient> {
    let record = Record::of("oauth_service_clients", row)?;
    let allow = record
        .get::<Vec<&str>>("allow")?
        .into_iter()
        .map(|entry| {
            entry
                .parse()
                .map_err(|_| record.wrong("a policy entry is not understood"))
        })
        .collect::<StoreResult<Vec<_>>>()?;
    Ok(ServiceClient {
        id: record.id(),
        name: record.get("name")?,
        policy: Policy {
            allow,
            sessions: record.get("sessions")?,
            admin: record.get("admin")?,
        },
        created_at: record.get("created_at")?,
        revoked_at: record.get("revoked_at")?,
    })
}

// === impl ClientStore ===

#[async_trait]
impl ClientStore for Storage {
    async fn find_by_credential(&self, credential: &Digest) -> StoreResult<Option<ServiceClient>> {
        self.within("clients.find_by_credential", async {
            let client = self.system().await?;
            let row = client
                .query_opt(FIND_BY_CREDENTIAL, &[&credential.0.as_slice()])
                .await?;
            row.as_ref().map(service_client).transpose()
        })
        .await
    }

    async fn create(&self, name: &str, credential: &Digest, policy: &Policy) -> StoreResult<ServiceClient> {
        self.within("clients.create", async {
            let allow: Vec<String> = policy.allow.iter().map(ToString::to_string).collect();
            let client = self.system().await?;
            let rows = client
                .query(
                    CREATE,
                    &[
                        &Uuid::now_v7(),
                        &name,
                        &allow,
                        &policy.sessions,
                        &policy.admin,
                        &credential.0.as_slice(),
                    ],
                )
                .await
                .map_err(|error| exists(error, "a service client of this name"))?;
            let row = rows
                .first()
                .ok_or_else(|| StoreError::Unavailable("nothing was inserted".into()))?;
            service_client(row)
        })
        .await
    }

    async fn list(&self) -> StoreResult<Vec<ServiceClient>> {
        self.within("clients.list", async {
            let client = self.system().await?;
            let rows = client.query(LIST, &[]).await?;
            rows.iter().map(service_client).collect()
        })
        .await
    }

    async fn revoke(&self, name: &str) -> StoreResult<bool> {
        self.within("clients.revoke", async {
            let client = self.system().await?;
            Ok(client.query_opt(REVOKE, &[&name]).await?.is_some())
        })
        .await
    }
}
