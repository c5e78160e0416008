//! Sessions: a link is opened by many, confirmed by one, and entered by the browser that was confirmed.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        audit::AuditAction,
        client::{Policy, ServiceClient},
        ids::Subject,
        reason::ReasonCode,
        sealed::Digest,
        session::SessionRequest,
    },
    ports::store::{NewOpening, OPENINGS_MAX, SessionConfirmation, SessionConfirmed, SessionStore},
};

use super::{fresh, scenario::*};
use crate::storage::Storage;

const MINUTE: Duration = Duration::from_mins(1);

fn request(subject: &Subject) -> SessionRequest {
    SessionRequest {
        client: Arc::new(ServiceClient {
            id: Uuid::from_u128(7),
            name: "calendar-app".into(),
            policy: Policy::default(),
            created_at: at(0),
            revoked_at: None,
        }),
        subject: subject.clone(),
        display_name: Some("Alice".into()),
        return_to: "https://app.example.com/".parse().unwrap(),
        features: vec!["google.calendar".parse().unwrap()],
    }
}

async fn link(storage: &Storage, subject: &Subject, lifetime: Duration) -> (Uuid, Digest) {
    let (id, link) = (Uuid::now_v7(), digest());
    let audit = entry(AuditAction::Session, subject);
    storage
        .create_link(id, &link, &request(subject), lifetime, &audit)
        .await
        .unwrap();
    (id, link)
}

fn opening(held: &[Digest]) -> NewOpening {
    NewOpening {
        id: Uuid::now_v7(),
        pending: digest(),
        held: held.to_vec(),
        confirmation: digest(),
        lifetime: MINUTE,
    }
}

async fn confirm(
    storage: &Storage,
    link_id: Uuid,
    client: u128,
    user: &Subject,
    confirmation: &Digest,
) -> SessionConfirmed {
    let confirmed = entry(AuditAction::Session, user);
    let refused = entry(AuditAction::Session, user).with_error(ReasonCode::new("binding_mismatch"));
    storage
        .confirm(SessionConfirmation {
            link_id,
            client: Uuid::from_u128(client),
            user,
            confirmation,
            lifetime: MINUTE,
            confirmed: &confirmed,
            refused: &refused,
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn only_the_confirmed_opening_of_a_link_becomes_a_session() {
    let storage = fresh().await;
    let (alice, bob) = (user("alice"), user("bob"));
    let (id, link) = link(&storage, &alice, MINUTE).await;
    let (one, two) = (opening(&[]), opening(&[]));
    for opening in [&one, &two] {
        let stored = storage.open(&link, opening).await.unwrap().unwrap();
        assert_eq!((stored.link_id, stored.pending), (id, opening.pending));
    }
    // A second tab of the first browser keeps that browser's cookie; another link's cookie is not taken over.
    let tab = opening(&[digest(), one.pending]);
    assert_eq!(
        storage.open(&link, &tab).await.unwrap().unwrap().pending,
        one.pending
    );

    for (client, who, what) in [
        (7, &alice, &digest()),
        (8, &alice, &one.confirmation),
        (7, &bob, &digest()),
    ] {
        assert_eq!(
            confirm(&storage, id, client, who, what).await,
            SessionConfirmed::Gone
        );
    }
    assert_eq!(storage.confirmed(id, &[one.pending]).await.unwrap(), None);
    for _ in 0..2 {
        assert_eq!(
            confirm(&storage, id, 7, &alice, &one.confirmation).await,
            SessionConfirmed::Done
        );
    }
    assert_eq!(storage.confirmed(id, &[two.pending]).await.unwrap(), None);
    let cookie = digest();
    let nobody = storage.enter(id, &[two.pending], &cookie, MINUTE, None).await;
    assert_eq!(nobody.unwrap(), None);
    let session = storage.enter(id, &[one.pending], &cookie, MINUTE, None).await;
    let session = session.unwrap().unwrap();
    assert_eq!(
        (session.whose(), session.application.as_str()),
        ("Alice", "calendar-app")
    );
    assert_eq!(
        SessionStore::find(&storage, &cookie).await.unwrap(),
        Some(session)
    );
    assert_eq!(SessionStore::find(&storage, &one.pending).await.unwrap(), None);

    // An answer that was lost: the same browser comes in again, and its session moves to the new cookie.
    let again = digest();
    let entered = storage
        .enter(id, &[one.pending], &again, MINUTE, Some(&cookie))
        .await;
    assert!(entered.unwrap().is_some());
    assert_eq!(SessionStore::find(&storage, &cookie).await.unwrap(), None);
    assert!(SessionStore::find(&storage, &again).await.unwrap().is_some());
    // Not after logging out.
    storage.end(&again).await.unwrap();
    assert_eq!(SessionStore::find(&storage, &again).await.unwrap(), None);
    let late = storage.enter(id, &[one.pending], &digest(), MINUTE, None).await;
    assert_eq!(late.unwrap(), None);
}

#[tokio::test]
async fn another_user_kills_a_link_and_all_that_is_pending_of_it() {
    let storage = fresh().await;
    let (alice, bob) = (user("alice"), user("bob"));
    let (id, link) = link(&storage, &alice, MINUTE).await;
    let (one, two) = (opening(&[]), opening(&[]));
    storage.open(&link, &one).await.unwrap().unwrap();
    storage.open(&link, &two).await.unwrap().unwrap();
    confirm(&storage, id, 7, &alice, &two.confirmation).await;
    assert_eq!(
        confirm(&storage, id, 7, &bob, &one.confirmation).await,
        SessionConfirmed::OtherUser
    );
    for confirmation in [&one.confirmation, &two.confirmation] {
        assert_eq!(
            confirm(&storage, id, 7, &alice, confirmation).await,
            SessionConfirmed::Gone
        );
    }
    let late = storage.enter(id, &[two.pending], &digest(), MINUTE, None).await;
    assert_eq!(late.unwrap(), None);
    assert_eq!(storage.open(&link, &opening(&[])).await.unwrap(), None);
    assert_eq!(storage.return_address(&link).await.unwrap(), None);
}

#[tokio::test]
async fn openings_of_a_link_are_bounded_and_the_newest_counts() {
    let storage = fresh().await;
    let alice = user("alice");
    let (id, link) = link(&storage, &alice, MINUTE).await;
    let openings: Vec<_> = (0..usize::from(OPENINGS_MAX) * 2).map(|_| opening(&[])).collect();
    let opened = join_all(openings.iter().map(|opening| storage.open(&link, opening))).await;
    assert!(opened.iter().all(|opened| opened.as_ref().unwrap().is_some()));
    let last = opening(&[]);
    storage.open(&link, &last).await.unwrap().unwrap();
    let client = storage.system().await.unwrap();
    let rows = client
        .query("SELECT id FROM oauth_session_openings", &[])
        .await
        .unwrap();
    assert_eq!(rows.len(), usize::from(OPENINGS_MAX));
    drop(client);
    assert_eq!(
        confirm(&storage, id, 7, &alice, &last.confirmation).await,
        SessionConfirmed::Done
    );

    let (_, old) = self::link(&storage, &alice, Duration::ZERO).await;
    assert_eq!(storage.open(&old, &opening(&[])).await.unwrap(), None);
}
