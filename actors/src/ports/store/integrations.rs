//! Integrations and their tokens.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use super::{
    ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, FailureCommit, RefreshCommit,
    RejectionReport, Replayed, Reported, StoreResult,
};
use crate::domain::{
    Timestamp,
    account::Account,
    audit::AuditEntry,
    consent::{NewConsent, Wording},
    feature::FeatureKey,
    ids::{AuthorizationId, IntegrationId, NodeId, ProviderKey, Subject, UserId},
    integration::StoredIntegration,
    page::{Page, PageRequest},
    reason::ReasonCode,
    scope::ScopeSet,
    sealed::{Sealed, WrappedKey},
    token::ProviderRevocation,
};

/// One of a user's accounts at a provider, as the provider's supervisor keeps it in its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Which integration.
    pub id: IntegrationId,
    /// The account at the provider.
    pub account: Account,
    /// When it was first connected.
    pub created_at: Timestamp,
}

/// A wish for due work of one provider: refreshes, and revocations the provider still has to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DispatchRequest {
    /// Of which provider.
    pub provider: ProviderKey,
    /// Who takes it.
    pub node: NodeId,
    /// How much at the most.
    pub room: u32,
    /// How long other nodes leave it alone, by the database's clock.
    pub hold: Duration,
    /// How long it must be overdue: whoever has such an account awake begins by its own timer.
    pub overdue: Duration,
}

/// Where a connection will be stored: known before sealing, because sealing binds to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reservation {
    /// The integration: the present one of this account, or a fresh id.
    pub id: IntegrationId,
    /// The present row's generation, 0 if there is none.
    pub generation: i64,
    /// The row as it is, if there is one.
    pub present: Option<Box<StoredIntegration>>,
}

/// A finished connect flow on its way into storage: integration, tokens, consent, audit, event, the flow's own row.
#[derive(Debug, Clone)]
pub struct ConnectCommit {
    /// The flow; its row must be `exchanged`, or `account_mismatch` and not expired, and becomes `connected`.
    pub authorization: AuthorizationId,
    /// Where to.
    pub reservation: Reservation,
    /// Whose.
    pub user_id: UserId,
    /// Whose, as the application says.
    pub subject: Subject,
    /// The account at the provider.
    pub account: Account,
    /// What the dialect needs later.
    pub metadata: serde_json::Value,
    /// Granted scopes.
    pub scopes: ScopeSet,
    /// Switched-on features: those of the flow, added to those present.
    pub features: BTreeSet<FeatureKey>,
    /// The integration's data key, wrapped: the present row's, or a new one.
    pub data_key: WrappedKey,
    /// Sealed for the reservation's `generation + 1`.
    pub access_token: Sealed,
    /// Sealed for the reservation's `generation + 1`; the present one, sealed anew, where the provider sent none.
    pub refresh_token: Option<Sealed>,
    /// `Bearer`.
    pub token_type: String,
    /// When the tokens were obtained.
    pub issued_at: Timestamp,
    /// When the access token ends.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// When the first refresh falls due.
    pub next_refresh_at: Option<Timestamp>,
    /// Who agreed to what: one for each feature that came of it, or one for the scopes if there is none.
    pub consents: Vec<NewConsent>,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}

/// A grant at a provider, which several connections may share: of several users, and of several providers of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamGrant {
    /// The providers of ours that are one client there.
    pub providers: Vec<ProviderKey>,
    /// The issuer that vouches for the account.
    pub issuer: Option<String>,
    /// The person, see [`Account::subject`].
    pub subject: String,
}

/// What becomes of an integration's features.
#[derive(Debug, Clone)]
pub enum FeatureChange {
    /// One is switched on.
    On {
        /// Which.
        feature: FeatureKey,
        /// What its user agrees to by that.
        consent: Box<NewConsent>,
        /// In which words.
        wording: Box<Wording>,
        /// Whether they agree anew: it may be on already.
        renews: bool,
    },
    /// These are switched off, and every consent is withdrawn of which no feature is left.
    Off {
        /// Which.
        features: BTreeSet<FeatureKey>,
        /// Whether consents to scopes asked for by name are withdrawn too.
        scopes: bool,
    },
}

/// A wish of its owner about the features of an integration, on its way into storage.
#[derive(Debug, Clone)]
pub struct FeatureSwitch {
    /// Of which integration.
    pub id: IntegrationId,
    /// Must own it.
    pub owner: Subject,
    /// What becomes of them.
    pub change: FeatureChange,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}

/// Integrations and their tokens.
#[async_trait]
pub trait IntegrationStore: Send + Sync {
    /// The row, whoever owns it: for the system's own work.
    async fn load(&self, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>>;

    /// The row if it is this owner's.
    async fn find(&self, owner: &Subject, id: &IntegrationId) -> StoreResult<Option<StoredIntegration>>;

    /// This owner's rows, newest first; revoked ones are left out.
    async fn list(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<StoredIntegration>>;

    /// Every row, newest first: for the operator's command line.
    async fn list_all(&self, page: &PageRequest) -> StoreResult<Page<StoredIntegration>>;

    /// This owner's accounts at this provider that are not revoked, oldest first.
    async fn directory(&self, owner: &Subject, provider: &ProviderKey) -> StoreResult<Vec<DirectoryEntry>>;

    /// Every connection that lives on this grant and is not revoked, whoever owns it, oldest first.
    async fn sharing(&self, grant: &UpstreamGrant) -> StoreResult<Vec<StoredIntegration>>;

    /// Takes due work, soonest first: in one statement, by the database's clock, and never what another node was given
    /// or has claimed. A mark and no claim: it keeps nodes from waking the same accounts, and fences nothing.
    async fn dispatch(&self, request: &DispatchRequest) -> StoreResult<Vec<StoredIntegration>>;

    /// Gives back what this node was given and has not done, so that others may take it at once.
    async fn hand_back(&self, node: NodeId, integrations: &[Uuid]) -> StoreResult<()>;

    /// Claims a refresh in one statement, by the database's clock, conditional on generation and no live claim.
    async fn claim(&self, request: &ClaimRequest) -> StoreResult<ClaimOutcome>;

    /// Stores refreshed tokens, conditional on generation and claim; audit and event in the same transaction.
    async fn commit_refresh(&self, commit: &RefreshCommit) -> StoreResult<Concluded>;

    /// Stores refreshed tokens that come late (out of the spool, or from an attempt that lost its claim), conditional on
    /// the generation and on no other attempt's *live* claim; audit in the same transaction, and an event of a change, so
    /// that whoever holds the row hears of it.
    async fn replay_refresh(&self, commit: &RefreshCommit) -> StoreResult<Replayed>;

    /// Gives a claim back whose call was never begun; the row is as if it had not been claimed.
    async fn return_claim(&self, claim: &ClaimReturn) -> StoreResult<Commit>;

    /// Stores a failed attempt, conditional on generation and claim; audit (and event on a change) in the same transaction.
    async fn commit_failure(&self, commit: &FailureCommit) -> StoreResult<Concluded>;

    /// Takes note that a token was rejected, if it is of the row's generation; audit in the same transaction. Forgotten when
    /// the account is connected again.
    async fn report_rejection(&self, report: &RejectionReport) -> StoreResult<Reported>;

    /// What the provider demands of the next sign-in of this account, by the last report that said so.
    async fn claims_wanted(&self, id: &IntegrationId) -> StoreResult<Option<String>>;

    /// Finds where this account's connection belongs.
    async fn reserve(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
    ) -> StoreResult<Reservation>;

    /// Stores a connection, conditional on the reservation's generation and the flow's state.
    async fn commit_connect(&self, commit: &ConnectCommit) -> StoreResult<Commit>;

    /// Switches features on or off, with their consents, audit and event, and returns the row as it is then. What stands as
    /// wished already is neither changed nor recorded. `None`: there is no such row of this owner, or it is revoked.
    async fn switch_feature(&self, switch: &FeatureSwitch) -> StoreResult<Option<StoredIntegration>>;

    /// Denies first: marks it revoked, withdraws its consents, plans telling the provider at `retry_at`. The tokens stay,
    /// sealed, until [`finish_revocation`](Self::finish_revocation). `owner`: must own it, unless `None` (the operator).
    /// Returns the row as it is now; `None`: there is no such row, or it is revoked already.
    async fn revoke(
        &self,
        owner: Option<&Subject>,
        id: &IntegrationId,
        reason: &ReasonCode,
        retry_at: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Option<StoredIntegration>>;

    /// Forgets the tokens of a revoked integration, conditional on the generation the provider was told about.
    async fn finish_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        outcome: ProviderRevocation,
        audit: &AuditEntry,
    ) -> StoreResult<Commit>;

    /// Plans the next attempt to tell the provider of a revocation.
    async fn postpone_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        failures: u32,
        retry_at: Timestamp,
    ) -> StoreResult<Commit>;
}
