//! Connect flows: each secret works once, in time, for its owner.

use std::time::Duration;

use futures_util::future::join_all;

use oauth_manager_actors::{
    domain::{
        audit::AuditAction,
        authorization::{AuthorizationStatus, StoredAuthorization},
        ids::Subject,
        reason::ReasonCode,
        sealed::{Digest, Sealed},
    },
    ports::store::{AuthorizationStore, Commit, ConfirmationOutcome, NewAuthorization, StateOutcome},
};

use super::{fresh, scenario::*};
use crate::storage::Storage;

async fn status(storage: &Storage, flow: &StoredAuthorization) -> AuthorizationStatus {
    let found = AuthorizationStore::find(storage, &flow.owner.subject, flow.id).await;
    found.unwrap().unwrap().status
}

/// A flow whose code waits, and its confirmation.
async fn waiting(storage: &Storage, owner: &Subject) -> (StoredAuthorization, Digest) {
    let (flow, state) = redirected(storage, owner).await;
    storage.consume_state(&state).await.unwrap();
    let confirmation = digest();
    let held = storage
        .hold_code(
            flow.id,
            &Sealed(vec![8; 60]),
            &confirmation,
            &entry(AuditAction::Callback, owner),
        )
        .await
        .unwrap();
    assert_eq!(held, Commit::Done);
    (flow, confirmation)
}

#[tokio::test]
async fn a_state_is_consumed_once_under_64_parallel_callbacks() {
    let storage = fresh().await;
    let (_, state) = redirected(&storage, &user("alice")).await;
    let outcomes = join_all((0..64).map(|_| storage.consume_state(&state))).await;
    let consumed = outcomes
        .into_iter()
        .filter(|outcome| match outcome.as_ref().unwrap() {
            StateOutcome::Consumed(flow) => {
                assert_eq!(flow.status, AuthorizationStatus::Returned);
                assert!(flow.pkce_verifier.is_some());
                true
            }
            StateOutcome::Used(_) => false,
            other => panic!("{other:?}"),
        })
        .count();
    assert_eq!(consumed, 1);
    let unknown = storage.consume_state(&digest()).await.unwrap();
    assert_eq!(unknown, StateOutcome::Unknown);
}

#[tokio::test]
async fn a_state_past_its_time_is_expired_before_and_after_it_is_purged() {
    let storage = fresh().await;
    let new = NewAuthorization {
        lifetime: Duration::from_millis(300),
        ..new_authorization(&user("alice"))
    };
    let (flow, state) = redirected_for(&storage, new).await;
    tokio::time::sleep(Duration::from_millis(320)).await;
    for purged in [1, 0] {
        let outcome = storage.consume_state(&state).await.unwrap();
        assert!(matches!(outcome, StateOutcome::Expired(_)), "{outcome:?}");
        assert_eq!(status(&storage, &flow).await, AuthorizationStatus::Expired);
        assert_eq!(storage.purge().await.unwrap(), purged);
    }
    let StateOutcome::Expired(flow) = storage.consume_state(&state).await.unwrap() else {
        panic!("it was expired before");
    };
    assert_eq!((flow.pkce_verifier, flow.data_key), (None, None));
}

#[tokio::test]
async fn a_second_redirect_voids_the_state_of_the_first() {
    let storage = fresh().await;
    let (flow, first) = redirected(&storage, &user("alice")).await;
    let record = oauth_manager_actors::ports::store::RedirectRecord {
        state: digest(),
        browser: digest(),
        nonce: "another".into(),
        data_key: oauth_manager_actors::domain::sealed::WrappedKey(vec![1; 60]),
        pkce_verifier: Sealed(vec![2; 60]),
    };
    assert_eq!(storage.redirect(flow.id, &record).await.unwrap(), Commit::Done);
    assert_eq!(
        storage.consume_state(&first).await.unwrap(),
        StateOutcome::Unknown
    );
    let outcome = storage.consume_state(&record.state).await.unwrap();
    assert!(matches!(outcome, StateOutcome::Consumed(_)));
    assert_eq!(storage.redirect(flow.id, &record).await.unwrap(), Commit::Fenced);
}

#[tokio::test]
async fn too_many_pending_flows_of_one_user_are_refused_also_at_once() {
    let storage = fresh().await;
    let alice = user("alice");
    let new = || NewAuthorization {
        pending_max: 3,
        ..new_authorization(&alice)
    };
    let flows: Vec<NewAuthorization> = (0..10).map(|_| new()).collect();
    let begun = join_all(
        flows
            .iter()
            .map(|flow| AuthorizationStore::create(&storage, flow)),
    )
    .await;
    assert_eq!(
        begun
            .into_iter()
            .filter(|f| f.as_ref().unwrap().is_some())
            .count(),
        3
    );
    let bob = new_authorization(&user("bob"));
    assert!(
        AuthorizationStore::create(&storage, &bob)
            .await
            .unwrap()
            .is_some()
    );
    let found = storage.find_by_handle(&bob.handle).await.unwrap().unwrap();
    assert_eq!(found.id, bob.id);
    assert_eq!(audited(&storage, &alice).await.len(), 3);
}

#[tokio::test]
async fn the_owner_takes_the_code_once() {
    let storage = fresh().await;
    let alice = user("alice");
    let (flow, confirmation) = waiting(&storage, &alice).await;
    let refusal = entry(AuditAction::Callback, &alice);
    let wrong = storage
        .confirm(&alice, flow.id, &digest(), &refusal)
        .await
        .unwrap();
    assert_eq!(wrong, ConfirmationOutcome::Wrong);
    let tries = join_all((0..16).map(|_| storage.confirm(&alice, flow.id, &confirmation, &refusal))).await;
    let mut taken = 0;
    for outcome in tries {
        match outcome.unwrap() {
            ConfirmationOutcome::Taken(flow) => {
                taken += 1;
                assert_eq!(flow.code, Some(Sealed(vec![8; 60])));
                assert_eq!(flow.status, AuthorizationStatus::Exchanged);
            }
            ConfirmationOutcome::NotWaiting(flow) => assert_eq!(flow.code, None),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn a_confirmation_by_another_user_drops_the_code() {
    let storage = fresh().await;
    let (alice, mallory) = (user("alice"), user("mallory"));
    let (flow, confirmation) = waiting(&storage, &alice).await;
    let refusal = entry(AuditAction::Denied, &alice);
    let guess = storage
        .confirm(&mallory, flow.id, &digest(), &refusal)
        .await
        .unwrap();
    assert_eq!(guess, ConfirmationOutcome::Unknown);
    assert_eq!(
        status(&storage, &flow).await,
        AuthorizationStatus::AwaitingConfirmation
    );

    let refused = storage
        .confirm(&mallory, flow.id, &confirmation, &refusal)
        .await
        .unwrap();
    assert_eq!(refused, ConfirmationOutcome::OtherUser);
    let found = AuthorizationStore::find(&storage, &alice, flow.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.status, AuthorizationStatus::Failed);
    assert_eq!(found.error, Some(ReasonCode::new("binding_mismatch")));
    assert_eq!(
        (found.code, found.pkce_verifier, found.data_key),
        (None, None, None)
    );
    let late = storage
        .confirm(&alice, flow.id, &confirmation, &refusal)
        .await
        .unwrap();
    assert!(matches!(late, ConfirmationOutcome::NotWaiting(_)), "{late:?}");
    assert_eq!(
        audited(&storage, &alice).await,
        ["authorize", "callback", "denied"]
    );
}

#[tokio::test]
async fn a_flow_ends_once() {
    let storage = fresh().await;
    let alice = user("alice");
    let (flow, _) = redirected(&storage, &alice).await;
    let error = ReasonCode::new("access_denied");
    let audit = entry(AuditAction::Callback, &alice);
    let end = || storage.finish(flow.id, AuthorizationStatus::Denied, &error, &audit);
    assert_eq!(end().await.unwrap(), Commit::Done);
    assert_eq!(end().await.unwrap(), Commit::Fenced);
    assert_eq!(status(&storage, &flow).await, AuthorizationStatus::Denied);
}
