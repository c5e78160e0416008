//! Steps that tests share: a flow from its beginning to a connection, a claim, a commit.

use std::{collections::BTreeSet, time::Duration};

use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        account::Account,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::StoredAuthorization,
        caller::RequestContext,
        consent::{NewConsent, WordingVersion},
        ids::{AttemptId, AuthorizationId, IntegrationId, NodeId, ProviderKey, Subject},
        integration::{Standing, StoredIntegration},
        page::PageRequest,
        scope::ScopeSet,
        sealed::{Digest, Sealed, WrappedKey},
    },
    ports::store::{
        AuthorizationStore, ClaimOutcome, ClaimRequest, Commit, ConnectCommit, DispatchRequest,
        IntegrationStore, NewAuthorization, RecordStore, RedirectRecord, RefreshCommit, Reservation,
        StateOutcome,
    },
};

use crate::storage::Storage;

pub(super) const LEASE: Duration = Duration::from_secs(30);

pub(super) fn google() -> ProviderKey {
    "google".parse().unwrap()
}

pub(super) fn user(name: &str) -> Subject {
    name.parse().unwrap()
}

pub(super) fn scopes(names: &[&str]) -> ScopeSet {
    names.iter().collect()
}

pub(super) fn digest() -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    Digest(bytes)
}

pub(super) fn entry(action: AuditAction, subject: &Subject) -> AuditEntry {
    AuditEntry {
        subject: Some(subject.clone()),
        provider: Some(google()),
        ..AuditEntry::new(action, AuditOutcome::Success, RequestContext::system())
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

pub(super) fn new_authorization(subject: &Subject) -> NewAuthorization {
    NewAuthorization {
        id: AuthorizationId(Uuid::now_v7()),
        subject: subject.clone(),
        provider: google(),
        handle: digest(),
        features: BTreeSet::from(["google.calendar".parse().unwrap()]),
        requested_scopes: scopes(&["openid", "calendar"]),
        wordings: Vec::new(),
        redirect_uri: "https://oauth.example.com/api/v1/oauth/callback/google"
            .parse()
            .unwrap(),
        return_to: Some("https://app.example.com/done".parse().unwrap()),
        integration_id: None,
        login_hint: None,
        lifetime: Duration::from_mins(10),
        pending_max: 20,
        audit: entry(AuditAction::Authorize, subject),
    }
}

/// A flow whose browser is at the provider, and its state.
pub(super) async fn redirected(storage: &Storage, subject: &Subject) -> (StoredAuthorization, Digest) {
    redirected_for(storage, new_authorization(subject)).await
}

pub(super) async fn redirected_for(
    storage: &Storage,
    new: NewAuthorization,
) -> (StoredAuthorization, Digest) {
    let flow = AuthorizationStore::create(storage, &new).await.unwrap().unwrap();
    let record = RedirectRecord {
        state: digest(),
        browser: digest(),
        nonce: "nonce".into(),
        data_key: WrappedKey(vec![1; 60]),
        pkce_verifier: Sealed(vec![2; 60]),
    };
    let stored = storage.redirect(flow.id, &record, 3).await.unwrap();
    assert_eq!(stored, Commit::Done);
    (flow, record.state)
}

/// A flow that may store its connection.
pub(super) async fn exchanged(storage: &Storage, subject: &Subject) -> StoredAuthorization {
    let (flow, state) = redirected(storage, subject).await;
    let outcome = storage.consume_state(&state).await.unwrap();
    assert!(matches!(outcome, StateOutcome::Consumed(_)));
    assert_eq!(storage.begin_exchange(flow.id).await.unwrap(), Commit::Done);
    flow
}

/// What a finished flow stores.
pub(super) fn connection(
    flow: &StoredAuthorization,
    reservation: Reservation,
    account: &str,
) -> ConnectCommit {
    let subject = flow.owner.subject.clone();
    let audit = entry(AuditAction::Connect, &subject).with_integration(&reservation.id, &subject);
    ConnectCommit {
        authorization: flow.id,
        reservation,
        user_id: flow.owner.user_id,
        subject,
        account: Account {
            id: account.into(),
            issuer: Some("https://accounts.google.com".into()),
            name: Some("A name\r\n".into()),
            email: None,
        },
        metadata: serde_json::json!({"workspace": "w"}),
        scopes: scopes(&["openid", "calendar"]),
        features: flow.features.clone(),
        data_key: WrappedKey(vec![3; 60]),
        access_token: Sealed(vec![4; 60]),
        refresh_token: Some(Sealed(vec![5; 60])),
        token_type: "Bearer".into(),
        issued_at: at(0),
        expires_at: Some(at(3600)),
        refresh_token_expires_at: None,
        next_refresh_at: Some(at(3000)),
        consents: vec![NewConsent {
            requested_scopes: scopes(&["openid", "calendar"]),
            granted_scopes: scopes(&["openid", "calendar"]),
            features: flow.features.clone(),
            wording_version: WordingVersion::FIRST,
            wording_hash: "0".repeat(64),
            ip: Some("2001:db8::1".parse().unwrap()),
            user_agent: Some("agent".into()),
            expires_at: None,
        }],
        audit,
    }
}

/// A connected account.
pub(super) async fn connected(storage: &Storage, subject: &Subject, account: &str) -> StoredIntegration {
    let flow = exchanged(storage, subject).await;
    let of = Account {
        id: account.into(),
        issuer: Some("https://accounts.google.com".into()),
        name: None,
        email: None,
    };
    let reservation = storage.reserve(flow.owner.user_id, &google(), &of).await.unwrap();
    let id = reservation.id.clone();
    let commit = connection(&flow, reservation, account);
    assert_eq!(storage.commit_connect(&commit).await.unwrap(), Commit::Done);
    storage.load(&id).await.unwrap().unwrap()
}

pub(super) fn claim_request(id: &IntegrationId, generation: i64, lease: Duration) -> ClaimRequest {
    ClaimRequest {
        id: id.clone(),
        generation,
        attempt: AttemptId(Uuid::new_v4()),
        node: NodeId(Uuid::from_u128(1)),
        lease,
    }
}

/// A claim that succeeds.
pub(super) async fn claimed(storage: &Storage, id: &IntegrationId, generation: i64) -> ClaimRequest {
    let request = claim_request(id, generation, LEASE);
    let outcome = storage.claim(&request).await.unwrap();
    assert!(matches!(outcome, ClaimOutcome::Claimed { .. }), "{outcome:?}");
    request
}

/// New tokens for a claim.
pub(super) fn refreshed(claim: &ClaimRequest, owner: &Subject) -> RefreshCommit {
    RefreshCommit {
        id: claim.id.clone(),
        generation: claim.generation,
        attempt: claim.attempt,
        access_token: Sealed(vec![6; 60]),
        refresh_token: Some(Sealed(vec![7; 60])),
        token_type: "Bearer".into(),
        issued_at: at(3000),
        expires_at: Some(at(6600)),
        refresh_token_expires_at: None,
        next_refresh_at: Some(at(6000)),
        scopes: scopes(&["openid"]),
        standing: Standing::active(),
        refreshed: true,
        failures: 0,
        audit: entry(AuditAction::Refresh, owner).with_integration(&claim.id, owner),
    }
}

/// The actions in a user's audit, oldest first.
pub(super) async fn audited(storage: &Storage, subject: &Subject) -> Vec<String> {
    let page = storage.audit(subject, &PageRequest::default()).await.unwrap();
    page.items.into_iter().rev().map(|row| row.action).collect()
}

/// The kinds of events, oldest first.
pub(super) async fn events(storage: &Storage) -> Vec<String> {
    let client = storage.system().await.unwrap();
    let rows = client
        .query("SELECT kind FROM oauth_events ORDER BY at, id", &[])
        .await
        .unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Makes a row's work due this many seconds ago.
pub(super) async fn make_due(storage: &Storage, id: &IntegrationId, seconds_ago: i32) {
    let sql = "UPDATE oauth_tokens SET next_refresh_at = now() - $2 * interval '1 second' WHERE integration_id = $1";
    let client = storage.system().await.unwrap();
    let touched = client
        .execute(sql, &[&id.uuid, &f64::from(seconds_ago)])
        .await
        .unwrap();
    assert_eq!(touched, 1);
}

/// What the node of this number asks for.
pub(super) fn taking(node: u128, room: u32) -> DispatchRequest {
    DispatchRequest {
        provider: google(),
        node: NodeId(Uuid::from_u128(node)),
        room,
        hold: Duration::from_secs(10),
        overdue: Duration::ZERO,
    }
}

/// What it is given.
pub(super) async fn dispatched(storage: &Storage, request: &DispatchRequest) -> Vec<IntegrationId> {
    let rows = storage.dispatch(request).await.unwrap();
    rows.into_iter().map(|row| row.id).collect()
}
