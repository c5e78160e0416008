//! Integrations: reading. The writes are in `refresh.rs` (claim and commits) and `connections.rs` (connect and revoke).

use async_trait::async_trait;
use uuid::Uuid;

use super::{MemoryStore, Op, constraints, tables};
use crate::{
    domain::{
        Timestamp,
        account::Account,
        audit::AuditEntry,
        ids::{IntegrationId, NodeId, ProviderKey, Subject, UserId},
        integration::{Status, StoredIntegration},
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

#[async_trait]
impl IntegrationStore for MemoryStore {
    async fn load(&self, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>> {
        let find = |tables: &mut tables::Tables, now| {
            let row = tables
                .integrations
                .get(&id.uuid)
                .filter(|row| row.stored.id == *id);
            Ok(row.map(|row| row.view(now)))
        };
        self.run(Op::Load, find).await
    }

    async fn find(&self, owner: &Subject, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>> {
        self.run(Op::FindIntegration, |tables, now| {
            let row = tables.integrations.get(&id.uuid);
            let row = row.filter(|row| row.stored.id == *id && row.stored.owner.subject == *owner);
            Ok(row.map(|row| row.view(now)))
        })
        .await
    }

    async fn list(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<StoredIntegration>> {
        self.run(Op::List, |tables, now| {
            let rows = tables.integrations.values().rev().filter(|row| {
                row.stored.owner.subject == *owner && row.stored.standing.status != Status::Revoked
            });
            tables::page(page, rows.map(|row| row.view(now)), |row| row.id.uuid)
        })
        .await
    }

    async fn sharing(&self, grant: &UpstreamGrant) -> StoreResult<Vec<StoredIntegration>> {
        self.run(Op::List, |tables, now| {
            let rows = tables.integrations.values().filter(|row| {
                let stored = &row.stored;
                stored.standing.status != Status::Revoked
                    && grant.providers.contains(&stored.id.provider)
                    && stored.account.issuer == grant.issuer
                    && stored.account.subject(&stored.metadata) == grant.subject
            });
            Ok(rows.map(|row| row.view(now)).collect())
        })
        .await
    }

    async fn list_all(&self, page: &PageRequest) -> StoreResult<Page<StoredIntegration>> {
        self.run(Op::List, |tables, now| {
            let rows = tables.integrations.values().rev().map(|row| row.view(now));
            tables::page(page, rows, |row| row.id.uuid)
        })
        .await
    }

    async fn directory(&self, owner: &Subject, provider: &ProviderKey) -> StoreResult<Vec<DirectoryEntry>> {
        self.run(Op::Directory, |tables, _| {
            let rows = tables.integrations.values().map(|row| &row.stored).filter(|row| {
                row.owner.subject == *owner
                    && row.id.provider == *provider
                    && row.standing.status != Status::Revoked
            });
            Ok(rows
                .map(|row| DirectoryEntry {
                    id: row.id.clone(),
                    account: row.account.clone(),
                    created_at: row.created_at,
                })
                .collect())
        })
        .await
    }

    async fn dispatch(&self, request: &DispatchRequest) -> StoreResult<Vec<StoredIntegration>> {
        self.run(Op::Dispatch, |tables, now| Ok(tables.dispatch(request, now)))
            .await
    }

    async fn hand_back(&self, node: NodeId, integrations: &[Uuid]) -> StoreResult<()> {
        self.run(Op::HandBack, |tables, _| {
            for id in integrations {
                let row = tables.integrations.get_mut(id);
                if let Some(row) = row.filter(|row| row.dispatched.is_some_and(|(to, _)| to == node)) {
                    row.dispatched = None;
                }
            }
            Ok(())
        })
        .await
    }

    async fn claim(&self, request: &ClaimRequest) -> StoreResult<ClaimOutcome> {
        let request = request.clone();
        self.write(Op::Claim, move |tables, now| Ok(tables.claim(&request, now)))
            .await
    }

    async fn commit_refresh(&self, commit: &RefreshCommit) -> StoreResult<Concluded> {
        let commit = commit.clone();
        self.write(Op::CommitRefresh, move |tables, now| {
            tables.takes(&commit)?;
            Ok(tables.commit_refresh(&commit, now))
        })
        .await
    }

    async fn replay_refresh(&self, commit: &RefreshCommit) -> StoreResult<Replayed> {
        let commit = commit.clone();
        self.write(Op::ReplayRefresh, move |tables, now| {
            tables.takes(&commit)?;
            Ok(tables.replay_refresh(&commit, now))
        })
        .await
    }

    async fn return_claim(&self, claim: &ClaimReturn) -> StoreResult<Commit> {
        let claim = claim.clone();
        self.write(Op::ReturnClaim, move |tables, _| Ok(tables.return_claim(&claim)))
            .await
    }

    async fn commit_failure(&self, commit: &FailureCommit) -> StoreResult<Concluded> {
        let commit = commit.clone();
        self.write(Op::CommitFailure, move |tables, now| {
            Ok(tables.commit_failure(&commit, now))
        })
        .await
    }

    async fn reserve(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
    ) -> StoreResult<Reservation> {
        self.run(Op::Reserve, |tables, now| {
            Ok(tables.reserve(user, provider, account, now))
        })
        .await
    }

    async fn commit_connect(&self, commit: &ConnectCommit) -> StoreResult<Commit> {
        let commit = commit.clone();
        self.write(Op::CommitConnect, move |tables, now| {
            constraints::connect(&commit)?;
            Ok(tables.commit_connect(&commit, now))
        })
        .await
    }

    async fn switch_feature(&self, switch: &FeatureSwitch) -> StoreResult<Option<StoredIntegration>> {
        let switch = switch.clone();
        self.write(Op::SwitchFeature, move |tables, now| {
            Ok(tables.switch_feature(&switch, now))
        })
        .await
    }

    async fn revoke(
        &self,
        owner: Option<&Subject>,
        id: &IntegrationId,
        reason: &ReasonCode,
        retry_at: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Option<StoredIntegration>> {
        let (owner, id, reason, audit) = (owner.cloned(), id.clone(), reason.clone(), audit.clone());
        self.write(Op::Revoke, move |tables, now| {
            Ok(tables.revoke(owner.as_ref(), &id, &reason, retry_at, &audit, now))
        })
        .await
    }

    async fn finish_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        _outcome: ProviderRevocation,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.run(Op::FinishRevocation, |tables, now| {
            let Some(row) = tables.revoked(id, generation) else {
                return Ok(Commit::Fenced);
            };
            row.forget();
            row.stored.updated_at = now;
            tables.record(audit, now);
            Ok(Commit::Done)
        })
        .await
    }

    async fn report_rejection(&self, report: &RejectionReport) -> StoreResult<Reported> {
        self.store_rejection(report).await
    }

    async fn claims_wanted(&self, id: &IntegrationId) -> StoreResult<Option<String>> {
        self.claims_of(id).await
    }

    async fn postpone_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        failures: u32,
        retry_at: Timestamp,
    ) -> StoreResult<Commit> {
        self.run(Op::PostponeRevocation, |tables, _| {
            let grant = tables
                .revoked(id, generation)
                .and_then(|row| row.stored.grant.as_mut());
            let Some(grant) = grant else {
                return Ok(Commit::Fenced);
            };
            grant.failures = failures;
            grant.next_refresh_at = Some(retry_at);
            Ok(Commit::Done)
        })
        .await
    }
}
