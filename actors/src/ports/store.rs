//! The database as the actors see it: one trait per noun, one method per statement that matters. Every write carries
//! its audit entry and is one transaction; every read of a user's data takes its owner.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::{
    Timestamp,
    account::Account,
    audit::{AuditEntry, AuditView},
    authorization::{AuthorizationStatus, StoredAuthorization},
    client::{Policy, ServiceClient},
    consent::{ConsentView, NewConsent},
    feature::FeatureKey,
    ids::{AttemptId, AuthorizationId, IntegrationId, NodeId, ProviderKey, Subject, UserId},
    integration::{Standing, StoredIntegration},
    page::{Page, PageRequest},
    provider::Provider,
    reason::ReasonCode,
    scope::ScopeSet,
    sealed::{Digest, Sealed, WrappedKey},
    session::Session,
    token::ProviderRevocation,
};

/// What the database can fail with. The variants say what the caller does next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, is too slow, or refuses writes: try again later.
    #[error("the database is not available: {0}")]
    Unavailable(String),
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

/// Work that falls due for an integration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Which integration.
    pub id: IntegrationId,
    /// When it is (or was) due.
    pub at: Timestamp,
}

/// A wish to refresh: the write-ahead intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimRequest {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation the caller knows; another one refuses the claim.
    pub generation: i64,
    /// The attempt: the fence of the writes that follow.
    pub attempt: AttemptId,
    /// Where it runs.
    pub node: NodeId,
    /// How long it keeps others off, by the database's clock.
    pub lease: Duration,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimOutcome {
    /// Held, and durable. The row is as it was claimed; `stale` is the claim that had run out before, if any: the
    /// outcome of that attempt is unknown.
    Claimed {
        /// The row, its grant with this claim.
        integration: Box<StoredIntegration>,
        /// The attempt that vanished.
        stale: Option<crate::domain::integration::Claim>,
    },
    /// Somebody else holds it; the row says who and until when.
    Held(Box<StoredIntegration>),
    /// The row has moved on: this is how it is now.
    Moved(Box<StoredIntegration>),
    /// There is nothing to refresh any more.
    Gone,
}

/// New tokens on their way into the row.
#[derive(Debug, Clone)]
pub struct RefreshCommit {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation the tokens were refreshed from; the row's must be equal.
    pub generation: i64,
    /// The claim that must still be in the row.
    pub attempt: AttemptId,
    /// The access token, sealed for `generation + 1`.
    pub access_token: Sealed,
    /// The refresh token to keep, sealed for `generation + 1`.
    pub refresh_token: Option<Sealed>,
    /// `Bearer`.
    pub token_type: String,
    /// When the access token was obtained.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When the refresh token ends, if the provider said; `None`: unchanged.
    pub refresh_token_expires_at: Option<Timestamp>,
    /// When the next refresh falls due.
    pub next_refresh_at: Option<Timestamp>,
    /// Granted scopes from now on.
    pub scopes: ScopeSet,
    /// How the integration stands afterwards.
    pub standing: Standing,
    /// Whether an access token was really obtained (a salvaged refresh token alone is none): sets `last_refreshed_at`.
    pub refreshed: bool,
    /// Failures in a row from now on.
    pub failures: u32,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}

/// A failed attempt on its way into the row; gives the claim back.
#[derive(Debug, Clone)]
pub struct FailureCommit {
    /// Which integration.
    pub id: IntegrationId,
    /// The generation that was tried; the row's must be equal.
    pub generation: i64,
    /// The claim that must still be in the row.
    pub attempt: AttemptId,
    /// How the integration stands afterwards.
    pub standing: Standing,
    /// Failures in a row.
    pub failures: u32,
    /// When it is tried again; `None`: not by itself.
    pub next_refresh_at: Option<Timestamp>,
    /// Whether the tokens are forgotten: the provider said for good that they are dead.
    pub forget_tokens: bool,
    /// Whether the claim stays in the row as a stale one: the outcome is unknown and must be remembered.
    pub keep_claim: bool,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
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
    /// The flow; its row must be `exchanged` and becomes `connected`.
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
    /// Who agreed to what.
    pub consent: NewConsent,
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

    /// Work due until `before`, soonest first, at most `limit`: refreshes, and revocations the provider still has to be
    /// told of. Rows under a live claim are left out.
    async fn due(&self, before: Timestamp, limit: u32) -> StoreResult<Vec<Due>>;

    /// Claims a refresh in one statement, by the database's clock, conditional on generation and no live claim.
    async fn claim(&self, request: &ClaimRequest) -> StoreResult<ClaimOutcome>;

    /// Stores refreshed tokens, conditional on generation and claim; audit and event in the same transaction.
    async fn commit_refresh(&self, commit: &RefreshCommit) -> StoreResult<Commit>;

    /// Stores a failed attempt, conditional on generation and claim; audit (and event on a change) in the same transaction.
    async fn commit_failure(&self, commit: &FailureCommit) -> StoreResult<Commit>;

    /// Finds where this account's connection belongs.
    async fn reserve(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
    ) -> StoreResult<Reservation>;

    /// Stores a connection, conditional on the reservation's generation and the flow's state.
    async fn commit_connect(&self, commit: &ConnectCommit) -> StoreResult<Commit>;

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

/// A flow on its way into storage.
#[derive(Debug, Clone)]
pub struct NewAuthorization {
    /// Its id.
    pub id: AuthorizationId,
    /// Who begins it.
    pub subject: Subject,
    /// At which provider.
    pub provider: ProviderKey,
    /// Digest of its link's handle.
    pub handle: Digest,
    /// Asked-for features.
    pub features: BTreeSet<FeatureKey>,
    /// Asked-for scopes, base scopes included.
    pub requested_scopes: ScopeSet,
    /// The redirect URI.
    pub redirect_uri: url::Url,
    /// Where the browser goes afterwards.
    pub return_to: Option<url::Url>,
    /// The integration it reconnects or widens.
    pub integration_id: Option<IntegrationId>,
    /// Account to suggest.
    pub login_hint: Option<String>,
    /// How long it may take, by the database's clock.
    pub lifetime: Duration,
    /// Most pending flows of one user; more are refused.
    pub pending_max: u32,
    /// The audit row of the same transaction.
    pub audit: AuditEntry,
}

/// What an opened link stores: everything the callback is checked against.
#[derive(Debug, Clone)]
pub struct RedirectRecord {
    /// Digest of the state.
    pub state: Digest,
    /// Digest of the browser's cookie.
    pub browser: Digest,
    /// OpenID Connect nonce.
    pub nonce: String,
    /// The flow's data key.
    pub data_key: WrappedKey,
    /// The PKCE verifier, sealed.
    pub pkce_verifier: Sealed,
}

/// What a consumed state was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateOutcome {
    /// It was good, and is used up now: the flow is `returned`.
    Consumed(Box<StoredAuthorization>),
    /// It was used before.
    Used(Box<StoredAuthorization>),
    /// Its flow took too long.
    Expired(Box<StoredAuthorization>),
    /// Never issued, or replaced by a later redirect of the same flow.
    Unknown,
}

/// What a confirmation was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfirmationOutcome {
    /// It was the owner's and right: the flow is `exchanged`, and the code in this row is gone from the database.
    Taken(Box<StoredAuthorization>),
    /// Right value, wrong user: the flow is `failed`, its code is gone.
    OtherUser,
    /// The owner's flow, but the wrong value.
    Wrong,
    /// The owner's flow, but it does not wait for a confirmation (any more).
    NotWaiting(Box<StoredAuthorization>),
    /// It took too long; the code is gone.
    Expired,
    /// No such flow for this user.
    Unknown,
}

/// Connect flows.
#[async_trait]
pub trait AuthorizationStore: Send + Sync {
    /// Stores a new flow, making the user's row if there is none. `None`: too many are pending.
    async fn create(&self, new: &NewAuthorization) -> StoreResult<Option<StoredAuthorization>>;

    /// The flow of this link.
    async fn find_by_handle(&self, handle: &Digest) -> StoreResult<Option<StoredAuthorization>>;

    /// The flow if it is this owner's.
    async fn find(&self, owner: &Subject, id: AuthorizationId) -> StoreResult<Option<StoredAuthorization>>;

    /// Stores a redirect, if the flow is `created` or `redirected` and not expired; an earlier redirect's state is void.
    async fn redirect(&self, id: AuthorizationId, record: &RedirectRecord) -> StoreResult<Commit>;

    /// Uses up a state in one statement, by the database's clock: of any number of callers one gets `Consumed`.
    async fn consume_state(&self, state: &Digest) -> StoreResult<StateOutcome>;

    /// Keeps the code, sealed, until the owner confirms: `returned` becomes `awaiting_confirmation`.
    async fn hold_code(
        &self,
        id: AuthorizationId,
        code: &Sealed,
        confirmation: &Digest,
        audit: &AuditEntry,
    ) -> StoreResult<Commit>;

    /// Goes straight to the exchange: `returned` becomes `exchanged`.
    async fn begin_exchange(&self, id: AuthorizationId) -> StoreResult<Commit>;

    /// Takes a held code out, in one transaction, if the confirmation is right and the caller owns the flow. `refusal` is
    /// the audit row written if it is right and the caller does not.
    async fn confirm(
        &self,
        caller: &Subject,
        id: AuthorizationId,
        confirmation: &Digest,
        refusal: &AuditEntry,
    ) -> StoreResult<ConfirmationOutcome>;

    /// Ends a flow that came to nothing and drops what it held.
    async fn finish(
        &self,
        id: AuthorizationId,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit>;

    /// Drops the secrets of flows past their time and the rows of those long past; returns how many it touched.
    async fn purge(&self) -> StoreResult<u64>;
}

/// Consents and the audit.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// The consents of this owner's integration, newest first.
    async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: &PageRequest,
    ) -> StoreResult<Page<ConsentView>>;

    /// This owner's audit, newest first.
    async fn audit(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<AuditView>>;

    /// Writes audit rows that stand alone (hand-outs, refusals), all or none.
    async fn append(&self, entries: &[AuditEntry]) -> StoreResult<()>;

    /// Writes the providers' catalogue into `oauth_scopes`; a row that is gone from the catalogue goes.
    async fn seed_catalogue(&self, providers: &[std::sync::Arc<Provider>]) -> StoreResult<()>;

    /// Whether the database answers and its schema is the one this program knows.
    async fn ready(&self) -> StoreResult<()>;
}

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

/// Sessions of browsers with us.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Stores a one-time link.
    async fn create_link(
        &self,
        id: Uuid,
        link: &Digest,
        session: &Session,
        lifetime: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<()>;

    /// Uses a link up and opens the session it stands for; `None`: unknown, used or expired.
    async fn open(&self, link: &Digest, cookie: &Digest, lifetime: Duration) -> StoreResult<Option<Session>>;

    /// The session of this cookie, unless it is over.
    async fn find(&self, cookie: &Digest) -> StoreResult<Option<Session>>;

    /// Ends a session.
    async fn end(&self, cookie: &Digest) -> StoreResult<()>;
}
