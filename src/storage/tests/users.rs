//! Erasing a user, step by step.

use std::time::Duration;

use oauth_manager_actors::{
    domain::{
        audit::AuditAction, erasure::ErasureStatus, page::PageRequest, reason::ReasonCode,
        token::ProviderRevocation,
    },
    ports::store::{IntegrationStore, UserStore},
};

use super::{fresh, scenario::*};

const QUIET: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_user_is_erased_when_no_provider_has_to_be_told_and_forgotten_when_nothing_can_come_late() {
    let storage = fresh().await;
    let (alice, bob) = (user("alice"), user("bob"));
    let id = connected(&storage, &alice, "1").await.id;
    connected(&storage, &bob, "2").await;
    // Without a wish nothing is erased.
    assert_eq!(storage.erase(&alice, QUIET).await.unwrap(), ErasureStatus::Erased);
    assert!(storage.load(&id).await.unwrap().is_some());

    let wish = entry(AuditAction::EraseRequested, &alice);
    for _ in 0..2 {
        storage.begin_erasure(&alice, &wish).await.unwrap();
        assert_eq!(
            storage.unfinished_erasures(QUIET, 10).await.unwrap(),
            std::slice::from_ref(&alice)
        );
        assert_eq!(
            storage.erase(&alice, QUIET).await.unwrap(),
            ErasureStatus::Pending
        );
    }
    let audit = entry(AuditAction::Revoke, &alice).with_integration(&id, &alice);
    let revoked = ReasonCode::new("erased");
    storage
        .revoke(Some(&alice), &id, &revoked, at(0), &audit)
        .await
        .unwrap();
    assert_eq!(
        storage.erase(&alice, QUIET).await.unwrap(),
        ErasureStatus::Pending
    );
    storage
        .finish_revocation(&id, 1, ProviderRevocation::Confirmed, &audit)
        .await
        .unwrap();
    assert_eq!(storage.erase(&alice, QUIET).await.unwrap(), ErasureStatus::Erased);
    assert_eq!(storage.load(&id).await.unwrap(), None);
    assert_eq!(audited(&storage, &alice).await, [""; 0]);

    // Not yet forgotten, and not looked for before its time: what comes late is swept then.
    assert_eq!(storage.unfinished_erasures(QUIET, 10).await.unwrap(), [][..]);
    let late = entry(AuditAction::TokenIssued, &alice);
    storage.append_audit(&[late]).await.unwrap();
    assert_eq!(
        storage.unfinished_erasures(Duration::ZERO, 10).await.unwrap(),
        std::slice::from_ref(&alice)
    );
    assert_eq!(
        storage.erase(&alice, Duration::ZERO).await.unwrap(),
        ErasureStatus::Erased
    );
    assert_eq!(audited(&storage, &alice).await, [""; 0]);
    assert_eq!(
        storage.unfinished_erasures(Duration::ZERO, 10).await.unwrap(),
        [][..]
    );
    let page = storage.export(&alice, &PageRequest::default()).await.unwrap();
    assert_eq!(page.items, [serde_json::Value::Null; 0]);
    assert_eq!(audited(&storage, &bob).await, ["authorize", "connect"]);
}
