//! The tables, and what their rows are to a reader.

use std::collections::{BTreeMap, HashMap, HashSet};

use uuid::Uuid;

use crate::domain::{
    Timestamp,
    audit::AuditEntry,
    authorization::{AuthorizationStatus, StoredAuthorization},
    client::ServiceClient,
    consent::ConsentView,
    ids::{AuthorizationId, NodeId, Subject, UserId},
    integration::StoredIntegration,
    page::{Page, PageRequest},
    provider::BudgetKey,
    reason::ReasonCode,
    sealed::Digest,
    session::{Session, SessionRequest},
};
use crate::ports::store::{FaultKind, RedirectRecord, StoreError, StoreResult};

#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) users: HashMap<Subject, UserId>,
    /// By id, which is by age: ids are UUIDv7.
    pub(super) integrations: BTreeMap<Uuid, Row>,
    pub(super) flows: HashMap<AuthorizationId, Flow>,
    pub(super) audit: Vec<(Uuid, Timestamp, AuditEntry)>,
    pub(super) consents: Vec<ConsentView>,
    pub(super) clients: Vec<(ServiceClient, Digest)>,
    /// Users whose erasure is not over, and since when nothing of theirs is left.
    pub(super) erasures: BTreeMap<Subject, Option<Timestamp>>,
    pub(super) links: HashMap<Digest, Link>,
    pub(super) sessions: HashMap<Digest, Session>,
    /// The newest generation that was reported as rejected, and what is demanded of the next sign-in.
    pub(super) rejections: HashMap<Uuid, (i64, Option<String>)>,
    pub(super) budgets: HashMap<BudgetKey, Budget>,
    /// Rows that take no new tokens.
    pub(super) refusing: HashSet<Uuid>,
}

impl Tables {
    pub(super) fn record(&mut self, entry: &AuditEntry, now: Timestamp) {
        self.audit.push((Uuid::now_v7(), now, entry.clone()));
    }
}

/// A session link, and the browsers that opened it.
#[derive(Debug, Clone)]
pub(super) struct Link {
    pub(super) id: Uuid,
    pub(super) request: SessionRequest,
    pub(super) expires_at: Timestamp,
    pub(super) dead: bool,
    /// Oldest first.
    pub(super) openings: Vec<Opening>,
}

#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) pending: Digest,
    pub(super) confirmation: Digest,
    pub(super) confirmed: bool,
    pub(super) expires_at: Timestamp,
    /// The cookie of the session it became.
    pub(super) cookie: Option<Digest>,
}

/// What all nodes know of a budget.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) open: Option<OpenBudget>,
    pub(super) next_turn_at: Option<Timestamp>,
}

#[derive(Debug, Clone)]
pub(super) struct OpenBudget {
    pub(super) fault: FaultKind,
    pub(super) reason: ReasonCode,
    pub(super) opened_at: Timestamp,
    pub(super) probe_due_at: Timestamp,
}

/// An integration. Its generation outlives its tokens.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) stored: StoredIntegration,
    pub(super) generation: i64,
    /// Whether its user was told that the refresh token ends.
    pub(super) warned: bool,
    /// Which node was given its due work, and until when.
    pub(super) dispatched: Option<(NodeId, Timestamp)>,
}

impl Row {
    pub(super) fn new(stored: StoredIntegration) -> Self {
        let generation = stored.grant.as_ref().map_or(0, |grant| grant.generation);
        Self {
            stored,
            generation,
            warned: false,
            dispatched: None,
        }
    }

    /// As read now: whether a claim has run out is seen by the database's clock.
    pub(super) fn view(&self, now: Timestamp) -> StoredIntegration {
        let mut stored = self.stored.clone();
        if let Some(claim) = stored.grant.as_mut().and_then(|grant| grant.claim.as_mut()) {
            claim.stale = claim.until <= now;
        }
        stored
    }

    /// Forgets the tokens, for good: whatever was sealed for their generation opens no more.
    pub(super) fn forget(&mut self) {
        self.stored.grant = None;
        self.generation += 1;
    }
}

/// A connect flow, with what only the database looks at.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) stored: StoredAuthorization,
    pub(super) handle: Digest,
    pub(super) redirects: Vec<Redirect>,
    /// By which of them it came back.
    pub(super) state: Option<Digest>,
    pub(super) confirmation: Option<Digest>,
}

/// One opening of a flow's link.
#[derive(Debug, Clone)]
pub(super) struct Redirect {
    pub(super) record: RedirectRecord,
    pub(super) refused: bool,
}

impl Flow {
    pub(super) fn expired(&self, now: Timestamp) -> bool {
        self.stored.expires_at <= now && !self.stored.status.is_final()
    }

    pub(super) fn view(&self, now: Timestamp) -> StoredAuthorization {
        let mut stored = self.stored.clone();
        if self.expired(now) && stored.status != AuthorizationStatus::Exchanged {
            stored.status = AuthorizationStatus::Expired;
        }
        stored
    }

    pub(super) fn redirect(&self, state: &Digest) -> Option<&Redirect> {
        let mut redirects = self.redirects.iter();
        redirects.find(|redirect| redirect.record.state == *state)
    }

    /// Ends it and drops what it held.
    pub(super) fn end(&mut self, status: AuthorizationStatus) {
        self.stored.status = status;
        self.stored.data_key = None;
        self.stored.pkce_verifier = None;
        self.stored.code = None;
        self.stored.staged = None;
        self.stored.nonce = None;
        self.confirmation = None;
    }
}

/// A page of rows that are newest first; the cursor is the id of the last.
pub(super) fn page<T>(
    request: &PageRequest,
    rows: impl Iterator<Item = T>,
    id: impl Fn(&T) -> Uuid,
) -> StoreResult<Page<T>> {
    let after = match &request.after {
        None => Uuid::max(),
        Some(cursor) => Uuid::try_parse(cursor).map_err(|_| StoreError::InvalidCursor)?,
    };
    let limit = request.limit.max(1) as usize;
    let mut items: Vec<T> = rows.filter(|row| id(row) < after).take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| id(last).to_string());
    Ok(Page { items, next })
}
