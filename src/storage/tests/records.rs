//! Lists, the catalogue, service clients, key checks, and a database that is away.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use oauth_manager_actors::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::{Actor, RequestContext},
        client::Policy,
        feature::{FeatureNotes, FeatureSpec, ScopeKind, ScopeSpec},
        page::PageRequest,
        provider::{BudgetKey, Provider, RefreshClass, RevocationSupport},
        scope::Scope,
    },
    ports::store::{ClientStore, IntegrationStore, RecordStore, StoreError},
};

use super::{fresh, scenario::*};
use crate::storage::{KeyCheck, Storage, StorageOptions};

#[tokio::test]
async fn paging_returns_everything_once() {
    let storage = fresh().await;
    let alice = user("alice");
    for account in 0..7 {
        connected(&storage, &alice, &account.to_string()).await;
    }
    for limit in [1, 2, 3, 7, 10] {
        let mut seen = Vec::new();
        let mut page = PageRequest { limit, after: None };
        loop {
            let got = IntegrationStore::list(&storage, &alice, &page).await.unwrap();
            assert!(got.items.len() <= limit as usize);
            seen.extend(got.items.into_iter().map(|item| (item.created_at, item.id)));
            match got.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen.len(), 7, "limit {limit}");
        assert!(seen.is_sorted_by(|a, b| a > b));
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 7);
    }
}

#[tokio::test]
async fn an_invalid_cursor_is_told() {
    let storage = fresh().await;
    let page = PageRequest {
        limit: 10,
        after: Some("' OR 1=1 --".into()),
    };
    let alice = user("alice");
    assert_eq!(
        IntegrationStore::list(&storage, &alice, &page).await,
        Err(StoreError::InvalidCursor)
    );
    assert_eq!(storage.audit(&alice, &page).await, Err(StoreError::InvalidCursor));
}

#[tokio::test]
async fn audit_rows_keep_their_circumstances_without_control_characters() {
    let storage = fresh().await;
    let alice = user("alice");
    let context = RequestContext {
        actor: Actor::User(alice.clone()),
        request_id: "req-1".into(),
        ip: Some("192.0.2.7".parse().unwrap()),
        user_agent: Some(format!("evil\r\nagent\0{}", "x".repeat(1000))),
    };
    let row = AuditEntry {
        subject: Some(alice.clone()),
        scopes: scopes(&["a", "b"]),
        count: 3,
        ..AuditEntry::new(AuditAction::TokenIssued, AuditOutcome::Success, context)
    };
    storage.append(&[row.clone(), row.clone()]).await.unwrap();
    storage.append(&[row]).await.unwrap();
    storage.append(&[]).await.unwrap();
    let page = storage.audit(&alice, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items.len(), 3);
    let view = &page.items[0];
    assert_eq!((view.actor.as_str(), view.count), ("user:alice", 3));
    assert_eq!(view.ip, Some("192.0.2.7".parse().unwrap()));
    let agent = view.user_agent.as_deref().unwrap();
    assert!(agent.starts_with("evil\u{fffd}\u{fffd}agent\u{fffd}x"));
    assert_eq!(agent.chars().count(), 256);
}

#[tokio::test]
async fn a_service_client_has_several_credentials_and_loses_all_when_revoked() {
    let storage = fresh().await;
    let policy = Policy {
        allow: vec!["google:*".parse().unwrap(), "notion:pages".parse().unwrap()],
        sessions: true,
        admin: false,
    };
    let (one, two) = (digest(), digest());
    let made = ClientStore::create(&storage, "billing", &one, &policy)
        .await
        .unwrap();
    assert_eq!(made.policy, policy);
    assert_eq!(
        ClientStore::create(&storage, "billing", &two, &policy).await,
        Err(StoreError::Exists("a service client of this name"))
    );
    assert!(storage.add_credential("billing", &two).await.unwrap());
    assert!(!storage.add_credential("nobody", &digest()).await.unwrap());
    for credential in [&one, &two] {
        let found = storage.find_by_credential(credential).await.unwrap();
        assert_eq!(found.as_ref(), Some(&made));
    }
    assert!(storage.revoke_credential(&one).await.unwrap());
    assert_eq!(storage.find_by_credential(&one).await.unwrap(), None);
    assert!(ClientStore::revoke(&storage, "billing").await.unwrap());
    assert!(!ClientStore::revoke(&storage, "billing").await.unwrap());
    assert_eq!(storage.find_by_credential(&two).await.unwrap(), None);
    let listed = ClientStore::list(&storage).await.unwrap();
    assert!(listed[0].revoked_at.is_some());
}

#[tokio::test]
async fn the_first_check_value_of_a_key_stays() {
    let storage = fresh().await;
    let check = |value| KeyCheck {
        key_id: "k1".into(),
        check_value: vec![value; 60],
    };
    assert!(storage.add_key_check(&check(1)).await.unwrap());
    assert!(!storage.add_key_check(&check(2)).await.unwrap());
    assert_eq!(storage.key_checks().await.unwrap(), [check(1)]);
}

#[tokio::test]
async fn a_database_that_is_away_is_an_error_of_the_statement_without_secrets() {
    let storage = Storage::connect(StorageOptions {
        url: "postgres://app:hunter2@127.0.0.1:1/none".into(),
        max_connections: 4,
        wait_timeout: Duration::from_secs(1),
        connect_timeout: Duration::from_secs(1),
        statement_timeout: Duration::from_secs(1),
    })
    .unwrap();
    let error = storage.ready().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)));
    let text = format!("{error} {error:?} {storage:?}");
    assert!(!text.contains("hunter2"), "{text}");
    assert!(storage.list_all(&PageRequest::default()).await.is_err());
}

#[tokio::test]
async fn a_slow_statement_is_ended_and_its_connection_serves_on() {
    let storage = fresh().await;
    let client = storage.system().await.unwrap();
    client.batch("SET statement_timeout = 50").await.unwrap();
    let error = client.query("SELECT pg_sleep(10)", &[]).await.unwrap_err();
    assert_eq!(error, StoreError::Unavailable("SQLSTATE 57014".into()));
    client.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_was_given_up_in_the_middle_is_not_returned() {
    let storage = fresh().await;
    let pid = async |storage: &Storage| -> i32 {
        let client = storage.system().await.unwrap();
        client.query("SELECT pg_backend_pid()", &[]).await.unwrap()[0].get(0)
    };
    let before = pid(&storage).await;
    assert_eq!(pid(&storage).await, before);
    let client = storage.system().await.unwrap();
    let sleep = client.query("SELECT pg_sleep(10)", &[]);
    let given_up = tokio::time::timeout(Duration::from_millis(50), sleep).await;
    assert!(given_up.is_err());
    drop(client);
    assert_ne!(pid(&storage).await, before);
}

#[tokio::test]
async fn the_catalogue_is_seeded_anew_and_forgets_what_is_gone() {
    let storage = fresh().await;
    let spec = |scope: &str| ScopeSpec {
        scope: Scope::new(scope),
        display_name: scope.into(),
        description: String::new(),
        category: "read".into(),
        required: true,
        dangerous: false,
        implied_by: scopes(&[]),
        kind: ScopeKind::default(),
    };
    let provider = |names: &[&str]| {
        Arc::new(Provider {
            key: google(),
            display_name: "Google".into(),
            configured: true,
            base_scopes: scopes(&[]),
            features: vec![FeatureSpec {
                key: "google.calendar".parse().unwrap(),
                display_name: "Calendar".into(),
                description: String::new(),
                wording_version: oauth_manager_actors::domain::consent::WordingVersion::FIRST,
                default: true,
                scopes: names.iter().map(|name| spec(name)).collect(),
                notes: FeatureNotes::default(),
            }],
            open_scopes: false,
            reports_scopes: true,
            incremental: false,
            shares_grants: false,
            refresh_class: RefreshClass::Safe,
            refresh_margin: None,
            budget: BudgetKey::new("test"),
            keep_alive: None,
            refresh_token_lifetime: None,
            max_concurrency: 1,
            narrows: false,
            rate: None,
            revocation: RevocationSupport::Supported,
        })
    };
    for names in [["a", "b", "b"].as_slice(), &["b", "c"], &[]] {
        let catalogue = [provider(names)];
        let (one, two) = tokio::join!(
            storage.seed_catalogue(&catalogue),
            storage.seed_catalogue(&catalogue)
        );
        one.and(two).unwrap();
        let client = storage.system().await.unwrap();
        let sql = "SELECT scope FROM oauth_scopes ORDER BY scope";
        let rows = client.query(sql, &[]).await.unwrap();
        let seeded: BTreeSet<&str> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(seeded, names.iter().copied().collect());
    }
    storage.ready().await.unwrap();
}
