//! A user's data is that user's: in SQL, and in row-level security when SQL forgets.

use oauth_manager_actors::{
    domain::{audit::AuditAction, page::PageRequest, reason::ReasonCode},
    ports::store::{AuthorizationStore, IntegrationStore, RecordStore},
};

use super::{fresh, scenario::*};
use crate::storage::{Storage, lease::Lease};

/// Rows of any user's that this unfiltered query finds.
async fn count(client: &Lease, table: &str) -> i64 {
    let rows = client
        .query(&format!("SELECT count(*) FROM {table}"), &[])
        .await
        .unwrap();
    rows[0].get(0)
}

const TENANT_TABLES: [&str; 7] = [
    "users",
    "oauth_integrations",
    "oauth_tokens",
    "oauth_consents",
    "oauth_audit_log",
    "oauth_authorizations",
    "oauth_authorization_redirects",
];

async fn two_users() -> Storage {
    let storage = fresh().await;
    connected(&storage, &user("alice"), "1").await;
    connected(&storage, &user("bob"), "2").await;
    storage
}

#[tokio::test]
async fn another_users_data_is_not_found() {
    let storage = two_users().await;
    let (alice, bob, carol) = (user("alice"), user("bob"), user("carol"));
    let page = PageRequest::default();
    let mine = storage.list(&alice, &page).await.unwrap().items;
    assert_eq!(mine.len(), 1);
    let id = &mine[0].id;
    assert_eq!(storage.consents(&alice, id, &page).await.unwrap().items.len(), 1);

    for other in [&bob, &carol] {
        assert_eq!(IntegrationStore::find(&storage, other, id).await.unwrap(), None);
        assert_eq!(storage.consents(other, id, &page).await.unwrap().items, []);
        let audit = entry(AuditAction::Revoke, other);
        let reason = ReasonCode::new("user");
        let revoked = storage
            .revoke(Some(other), id, &reason, at(1), &audit)
            .await
            .unwrap();
        assert_eq!(revoked, None);
    }
    assert_eq!(storage.list(&carol, &page).await.unwrap().items, []);
    assert_eq!(storage.audit(&carol, &page).await.unwrap().items, []);
    assert_eq!(storage.directory(&carol, &google()).await.unwrap(), []);
    let flow = exchanged(&storage, &alice).await;
    let found = AuthorizationStore::find(&storage, &bob, flow.id).await.unwrap();
    assert_eq!(found, None);
}

#[tokio::test]
async fn rls_blocks_unfiltered_query() {
    let storage = two_users().await;
    for table in TENANT_TABLES {
        let all = count(&storage.system().await.unwrap(), table).await;
        let transaction = storage.owned_by(&user("alice")).await.unwrap();
        let rows = transaction
            .query(&format!("SELECT subject FROM {table}"), &[])
            .await
            .unwrap();
        assert!(!rows.is_empty() && (rows.len() as i64) < all, "{table}");
        assert!(rows.iter().all(|row| row.get::<_, &str>(0) == "alice"), "{table}");
        let foreign = format!("UPDATE {table} SET subject = 'alice'");
        assert!(transaction.execute(&foreign, &[]).await.is_err(), "{table}");
        transaction.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn rls_context_never_leaks_via_pool() {
    let storage = two_users().await;
    let page = PageRequest::default();
    for _ in 0..3 {
        storage.list(&user("alice"), &page).await.unwrap();
        // A transaction that was abandoned half-way.
        drop(storage.owned_by(&user("bob")).await.unwrap());
    }
    for _ in 0..8 {
        let client = Lease::take(&storage.0.pools.owners).await.unwrap();
        for table in TENANT_TABLES {
            assert_eq!(count(&client, table).await, 0, "{table}");
        }
    }
}

#[tokio::test]
async fn a_user_cannot_take_the_systems_place_by_the_owner_pool() {
    let storage = two_users().await;
    let client = Lease::take(&storage.0.pools.owners).await.unwrap();
    let rows = client
        .query("SELECT current_setting('oauth_manager.scope', true)", &[])
        .await
        .unwrap();
    assert_eq!(rows[0].get::<_, &str>(0), "");
}
