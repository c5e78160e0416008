//! Storing connections.

use oauth_manager_actors::{
    domain::{
        account::Account, audit::AuditAction, authorization::AuthorizationStatus, integration::Status,
        page::PageRequest, reason::ReasonCode,
    },
    ports::store::{AuthorizationStore, Commit, IntegrationStore, RecordStore},
};

use super::{fresh, scenario::*};

#[tokio::test]
async fn connecting_the_same_account_twice_keeps_the_id() {
    let storage = fresh().await;
    let alice = user("alice");
    let first = connected(&storage, &alice, "1").await;
    let second = connected(&storage, &alice, "1").await;
    assert_eq!(second.id, first.id);
    assert_eq!(second.created_at, first.created_at);
    assert_eq!(second.grant.unwrap().generation, 2);
    assert_ne!(connected(&storage, &alice, "2").await.id, first.id);
    assert_eq!(events(&storage).await, ["connected", "reconnected", "connected"]);
    let consents = storage
        .consents(&alice, &first.id, &PageRequest::default())
        .await
        .unwrap();
    assert_eq!(consents.items.len(), 2);
    let directory = storage.directory(&alice, &google()).await.unwrap();
    assert_eq!(directory.len(), 2);
    assert_eq!(directory[0].id, first.id);
    assert_eq!(
        directory[0].account.name.as_deref(),
        Some("A name\u{fffd}\u{fffd}")
    );
}

#[tokio::test]
async fn a_connection_whose_place_was_taken_meanwhile_is_fenced() {
    let storage = fresh().await;
    let alice = user("alice");
    let (one, two) = (
        exchanged(&storage, &alice).await,
        exchanged(&storage, &alice).await,
    );
    let account = Account {
        id: "1".into(),
        issuer: Some("https://accounts.google.com".into()),
        name: None,
        email: None,
    };
    let google = google();
    let place = |user| storage.reserve(user, &google, &account);
    let first = connection(&one, place(one.owner.user_id).await.unwrap(), "1");
    let second = connection(&two, place(two.owner.user_id).await.unwrap(), "1");
    assert_eq!(storage.commit_connect(&first).await.unwrap(), Commit::Done);
    assert_eq!(storage.commit_connect(&second).await.unwrap(), Commit::Fenced);
    // Nothing of it was written: the flow is still exchanging, and may find its place anew.
    let flow = AuthorizationStore::find(&storage, &alice, two.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(flow.status, AuthorizationStatus::Exchanged);
    let again = connection(&two, place(two.owner.user_id).await.unwrap(), "1");
    assert_eq!(storage.commit_connect(&again).await.unwrap(), Commit::Done);
    // And once it is connected, never again.
    let more = connection(&two, place(two.owner.user_id).await.unwrap(), "1");
    assert_eq!(storage.commit_connect(&more).await.unwrap(), Commit::Fenced);
}

#[tokio::test]
async fn a_revocation_between_reserving_and_storing_fences_the_connection() {
    let storage = fresh().await;
    let alice = user("alice");
    let present = connected(&storage, &alice, "1").await;
    let flow = exchanged(&storage, &alice).await;
    let place = storage
        .reserve(flow.owner.user_id, &google(), &present.account)
        .await
        .unwrap();
    let audit = entry(AuditAction::Revoke, &alice).with_integration(&present.id, &alice);
    storage
        .revoke(Some(&alice), &present.id, &ReasonCode::new("user"), at(1), &audit)
        .await
        .unwrap();
    let commit = connection(&flow, place, "1");
    assert_eq!(storage.commit_connect(&commit).await.unwrap(), Commit::Fenced);
    let again = storage
        .reserve(flow.owner.user_id, &google(), &present.account)
        .await
        .unwrap();
    let commit = connection(&flow, again, "1");
    assert_eq!(storage.commit_connect(&commit).await.unwrap(), Commit::Done);
    let row = storage.load(&present.id).await.unwrap().unwrap();
    assert_eq!(row.standing.status, Status::Active);
}

#[tokio::test]
async fn a_revocation_withdraws_the_consents() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let audit = entry(AuditAction::Revoke, &alice).with_integration(&id, &alice);
    storage
        .revoke(Some(&alice), &id, &ReasonCode::new("user"), at(1), &audit)
        .await
        .unwrap();
    let page = PageRequest::default();
    let consents = storage.consents(&alice, &id, &page).await.unwrap();
    assert!(consents.items[0].withdrawn_at.is_some());
    assert_eq!(storage.list(&alice, &page).await.unwrap().items, []);
    assert_eq!(storage.list_all(&page).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn data_keys_are_replaced_only_where_they_are_still_the_same() {
    use oauth_manager_actors::domain::sealed::WrappedKey;
    let storage = fresh().await;
    let alice = user("alice");
    let stored = connected(&storage, &alice, "1").await;
    let rows = storage.data_keys(uuid::Uuid::nil(), 10).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].context, stored.key_context());
    let new = WrappedKey(vec![9; 60]);
    assert_eq!(
        storage.replace_data_key(&rows[0], &new).await.unwrap(),
        Commit::Done
    );
    assert_eq!(
        storage.replace_data_key(&rows[0], &new).await.unwrap(),
        Commit::Fenced
    );
    let after = storage.load(&stored.id).await.unwrap().unwrap();
    assert_eq!(after.grant.unwrap().data_key, new);
}

#[tokio::test]
async fn a_revocation_is_heard_of_and_found_in_the_outbox() {
    use std::time::Duration;
    use tokio::sync::{mpsc, oneshot};
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let (listening, begun) = oneshot::channel();
    let (heard, mut changes) = mpsc::unbounded_channel();
    let listen = storage.listen(|| listening.send(()).unwrap(), |id| heard.send(id).unwrap());
    // As it must be to run as a task.
    let listen: std::pin::Pin<Box<dyn Future<Output = _> + Send + '_>> = Box::pin(listen);
    let revoke = async {
        begun.await.unwrap();
        let audit = entry(AuditAction::Revoke, &alice).with_integration(&id, &alice);
        let reason = ReasonCode::new("user");
        let revoked = storage.revoke(None, &id, &reason, at(1), &audit).await.unwrap();
        assert!(revoked.is_some());
        changes.recv().await
    };
    let second = Duration::from_secs(5);
    let change = tokio::time::timeout(second, async {
        tokio::select! { ended = listen => panic!("{ended:?}"), change = revoke => change }
    });
    assert_eq!(change.await.unwrap().as_ref(), Some(&id));
    let recent = storage.recent_changes(Duration::from_mins(1)).await.unwrap();
    assert_eq!(recent, [id]);
}
