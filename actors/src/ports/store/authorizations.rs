//! Connect flows.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;

use super::{Commit, StoreResult};
use crate::domain::{
    audit::AuditEntry,
    authorization::{AuthorizationStatus, StoredAuthorization},
    consent::Wording,
    feature::FeatureKey,
    ids::{AuthorizationId, IntegrationId, ProviderKey, Subject},
    reason::ReasonCode,
    scope::ScopeSet,
    sealed::{Digest, Sealed, WrappedKey},
};

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
    /// The words its user is shown before leaving.
    pub wordings: Vec<Wording>,
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

/// What an opened link stores: everything the callback is checked against. A flow has one for each time it was opened.
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

/// A redirect, as its state finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRedirect {
    /// Its flow.
    pub flow: StoredAuthorization,
    /// Digest of the cookie of the browser that was sent away with this state.
    pub browser: Digest,
    /// Whether it came back before, and nothing could come of it.
    pub refused: bool,
    /// Whether it is the one that the flow came back by.
    pub came_back: bool,
}

/// What ends with a callback that nothing can come of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'a> {
    /// The redirect with this state; the flow too if no other is out.
    Redirect(&'a Digest),
    /// The flow with all of its redirects.
    Flow,
}

/// What a consumed state was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateOutcome {
    /// It was good, and its flow is `returned` by it: no other state of the flow is good any more.
    Consumed(Box<StoredAuthorization>),
    /// It was used before, or another of its flow was.
    Used(Box<StoredAuthorization>),
    /// Its flow took too long.
    Expired(Box<StoredAuthorization>),
    /// Never issued.
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

    /// Stores a further redirect, if the flow is `created` or `redirected`, not expired, and has fewer than `most`.
    async fn redirect(&self, id: AuthorizationId, record: &RedirectRecord, most: u32) -> StoreResult<Commit>;

    /// The browsers that this flow was opened in.
    async fn browsers(&self, id: AuthorizationId) -> StoreResult<Vec<Digest>>;

    /// The redirect with this state.
    async fn find_by_state(&self, state: &Digest) -> StoreResult<Option<StoredRedirect>>;

    /// Flows at this provider that wait for one of these browsers to come back; of many, two.
    async fn awaited(
        &self,
        provider: &ProviderKey,
        browsers: &[Digest],
    ) -> StoreResult<Vec<StoredAuthorization>>;

    /// Refuses what came back to a flow that is `redirected`: ends the redirect or the flow, and drops what that held.
    async fn refuse(
        &self,
        id: AuthorizationId,
        refused: Refused<'_>,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit>;

    /// Uses up a state in one statement, by the database's clock: of any number of callers, with whichever states of one
    /// flow, one gets `Consumed`.
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

    /// Keeps a grant for another account than expected, sealed, until the owner has chosen or `patience` is over:
    /// `exchanged` becomes `account_mismatch`.
    async fn stage(
        &self,
        id: AuthorizationId,
        grant: &Sealed,
        patience: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<Commit>;

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
