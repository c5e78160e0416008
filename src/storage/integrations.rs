//! Integrations: reads, and the port. The conditional writes are in `refresh`, `connect` and `revocation`.

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        account::Account,
        audit::AuditEntry,
        ids::{IntegrationId, NodeId, ProviderKey, Subject, UserId},
        integration::StoredIntegration,
        page::{Page, PageRequest},
        reason::ReasonCode,
        token::ProviderRevocation,
    },
    ports::store::{
        ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, ConnectCommit, DirectoryEntry,
        DispatchRequest, FailureCommit, FeatureSwitch, IntegrationStore, RefreshCommit, RejectionReport,
        Replayed, Reported, Reservation, StoreResult, UpstreamGrant,
    },
};

use super::{
    Storage,
    cursor::{self, Cursor},
    row::{self, Record, integration_columns},
};

const LOAD: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.id = $1 AND i.provider = $2"
);
const FIND: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.id = $1 AND i.provider = $2 AND i.subject = $3"
);
const LIST: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.subject = $1 AND i.status <> 'revoked' AND (i.created_at, i.id) < ($2, $3) \
     ORDER BY i.created_at DESC, i.id DESC LIMIT $4"
);
/// By the index `oauth_integrations_newest`; see [`begin_listing`](super::lease::Lease::begin_listing).
pub(super) const LIST_ALL: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE (i.created_at, i.id) < ($1, $2) \
     ORDER BY i.created_at DESC, i.id DESC LIMIT $3"
);
/// For the supervisor's directory: asked once per user and provider, then kept by the actors.
const DIRECTORY: &str = "\
SELECT i.id, i.provider, i.provider_user_id, i.provider_issuer, i.account_name, i.account_email, i.created_at
FROM oauth_integrations i
WHERE i.subject = $1 AND i.provider = $2 AND i.status <> 'revoked'
ORDER BY i.created_at, i.id";
impl Storage {
    pub(super) async fn load_integration(
        &self,
        id: &IntegrationId,
    ) -> StoreResult<Option<StoredIntegration>> {
        if let Some(answer) = self.0.loads.ask(self, id.clone()).await? {
            return Ok(answer);
        }
        let client = self.system().await?;
        let row = client.query_opt(LOAD, &[&id.uuid, &id.provider.as_str()]).await?;
        row.as_ref().map(row::integration).transpose()
    }

    pub(super) async fn find_integration(
        &self,
        owner: &Subject,
        id: &IntegrationId,
    ) -> StoreResult<Option<StoredIntegration>> {
        let transaction = self.owned_by(owner).await?;
        let row = transaction
            .query_opt(FIND, &[&id.uuid, &id.provider.as_str(), &owner.as_str()])
            .await?;
        transaction.commit().await?;
        row.as_ref().map(row::integration).transpose()
    }

    async fn list_integrations(
        &self,
        owner: &Subject,
        page: &PageRequest,
    ) -> StoreResult<Page<StoredIntegration>> {
        let after = Cursor::of(page)?;
        let transaction = self.owned_by(owner).await?;
        let rows = transaction
            .query(
                LIST,
                &[&owner.as_str(), &after.at, &after.id, &cursor::rows_wanted(page)],
            )
            .await?;
        transaction.commit().await?;
        integrations_page(page, &rows)
    }

    async fn list_all_integrations(&self, page: &PageRequest) -> StoreResult<Page<StoredIntegration>> {
        let after = Cursor::of(page)?;
        let transaction = self.system().await?.begin_listing().await?;
        let rows = transaction
            .query(LIST_ALL, &[&after.at, &after.id, &cursor::rows_wanted(page)])
            .await?;
        transaction.commit().await?;
        integrations_page(page, &rows)
    }

    async fn directory_of(
        &self,
        owner: &Subject,
        provider: &ProviderKey,
    ) -> StoreResult<Vec<DirectoryEntry>> {
        let transaction = self.owned_by(owner).await?;
        let rows = transaction
            .query(DIRECTORY, &[&owner.as_str(), &provider.as_str()])
            .await?;
        transaction.commit().await?;
        rows.iter().map(directory_entry).collect()
    }
}

fn integrations_page(page: &PageRequest, rows: &[Row]) -> StoreResult<Page<StoredIntegration>> {
    let items = rows
        .iter()
        .map(row::integration)
        .collect::<StoreResult<Vec<_>>>()?;
    Ok(cursor::page(page, items, |item| Cursor {
        at: item.created_at,
        id: item.id.uuid,
    }))
}

fn directory_entry(row: &Row) -> StoreResult<DirectoryEntry> {
    let record = Record::of("oauth_integrations", row)?;
    Ok(DirectoryEntry {
        id: IntegrationId::new(record.parse("provider")?, record.id()),
        account: Account {
            id: record.get("provider_user_id")?,
            issuer: record.get("provider_issuer")?,
            name: record.get("account_name")?,
            email: record.get("account_email")?,
        },
        created_at: record.get("created_at")?,
    })
}

// === impl IntegrationStore ===

#[async_trait]
impl IntegrationStore for Storage {
    async fn load(&self, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>> {
        self.within("integrations.load", self.load_integration(id)).await
    }

    async fn find(&self, owner: &Subject, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>> {
        self.within("integrations.find", self.find_integration(owner, id))
            .await
    }

    async fn list(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<StoredIntegration>> {
        self.within("integrations.list", self.list_integrations(owner, page))
            .await
    }

    async fn list_all(&self, page: &PageRequest) -> StoreResult<Page<StoredIntegration>> {
        self.within("integrations.list_all", self.list_all_integrations(page))
            .await
    }

    async fn directory(&self, owner: &Subject, provider: &ProviderKey) -> StoreResult<Vec<DirectoryEntry>> {
        self.within("integrations.directory", self.directory_of(owner, provider))
            .await
    }

    async fn dispatch(&self, request: &DispatchRequest) -> StoreResult<Vec<StoredIntegration>> {
        self.within("integrations.dispatch", self.dispatch_due(request))
            .await
    }

    async fn hand_back(&self, node: NodeId, integrations: &[Uuid]) -> StoreResult<()> {
        self.within("integrations.hand_back", self.hand_back_due(node, integrations))
            .await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<ClaimOutcome> {
        self.within("integrations.claim", self.claim_refresh(request))
            .await
    }

    async fn commit_refresh(&self, commit: &RefreshCommit) -> StoreResult<Concluded> {
        self.within("integrations.commit_refresh", self.store_refresh(commit))
            .await
    }

    async fn replay_refresh(&self, commit: &RefreshCommit) -> StoreResult<Replayed> {
        self.within("integrations.replay_refresh", self.store_late_refresh(commit))
            .await
    }

    async fn return_claim(&self, claim: &ClaimReturn) -> StoreResult<Commit> {
        self.within("integrations.return_claim", self.give_claim_back(claim))
            .await
    }

    async fn commit_failure(&self, commit: &FailureCommit) -> StoreResult<Concluded> {
        self.within("integrations.commit_failure", self.store_failure(commit))
            .await
    }

    async fn reserve(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
    ) -> StoreResult<Reservation> {
        self.within(
            "integrations.reserve",
            self.reserve_place(user, provider, account),
        )
        .await
    }

    async fn commit_connect(&self, commit: &ConnectCommit) -> StoreResult<Commit> {
        self.within("integrations.commit_connect", self.store_connection(commit))
            .await
    }

    async fn switch_feature(&self, switch: &FeatureSwitch) -> StoreResult<Option<StoredIntegration>> {
        self.within("integrations.switch_feature", self.store_switch(switch))
            .await
    }

    async fn sharing(&self, grant: &UpstreamGrant) -> StoreResult<Vec<StoredIntegration>> {
        self.within("integrations.sharing", self.on_grant(grant)).await
    }

    async fn revoke(
        &self,
        owner: Option<&Subject>,
        id: &IntegrationId,
        reason: &ReasonCode,
        retry_at: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Option<StoredIntegration>> {
        self.within(
            "integrations.revoke",
            self.mark_revoked(owner, id, reason, retry_at, audit),
        )
        .await
    }

    async fn finish_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        outcome: ProviderRevocation,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.within(
            "integrations.finish_revocation",
            self.forget_revoked(id, generation, outcome, audit),
        )
        .await
    }

    async fn report_rejection(&self, report: &RejectionReport) -> StoreResult<Reported> {
        self.within("integrations.report_rejection", self.store_rejection(report))
            .await
    }

    async fn claims_wanted(&self, id: &IntegrationId) -> StoreResult<Option<String>> {
        self.within("integrations.claims_wanted", self.claims_of(id))
            .await
    }

    async fn postpone_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        failures: u32,
        retry_at: Timestamp,
    ) -> StoreResult<Commit> {
        self.within(
            "integrations.postpone_revocation",
            self.retry_revocation(id, generation, failures, retry_at),
        )
        .await
    }
}
