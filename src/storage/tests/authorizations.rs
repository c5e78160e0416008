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
    ports::store::{
        AuthorizationStore, Commit, ConfirmationOutcome, NewAuthorization, RedirectRecord, Refused,
        StateOutcome,
    },
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

fn redirect() -> RedirectRecord {
    RedirectRecord {
        state: digest(),
        browser: digest(),
        nonce: "another".into(),
        data_key: oauth_manager_actors::domain::sealed::WrappedKey(vec![1; 60]),
        pkce_verifier: Sealed(vec![7; 60]),
    }
}

/// Whether the database still holds a verifier of this flow's redirects.
async fn holds_verifiers(storage: &Storage, flow: &StoredAuthorization) -> bool {
    let count = "SELECT count(*) FROM oauth_authorization_redirects
        WHERE authorization_id = $1 AND (pkce_verifier IS NOT NULL OR data_key IS NOT NULL OR nonce IS NOT NULL)";
    let client = storage.system().await.unwrap();
    let rows = client.query(count, &[&flow.id.0]).await.unwrap();
    rows[0].get::<_, i64>(0) > 0
}

#[tokio::test]
async fn each_redirect_has_its_own_state_and_the_first_to_come_back_uses_up_all() {
    let storage = fresh().await;
    let (flow, first) = redirected(&storage, &user("alice")).await;
    let second = redirect();
    assert_eq!(storage.redirect(flow.id, &second, 3).await.unwrap(), Commit::Done);
    let browsers = storage.browsers(flow.id).await.unwrap();
    assert!(browsers.len() == 2 && browsers.contains(&second.browser));
    let states = [first, second.state];
    let outcomes = join_all((0..32).map(|n| storage.consume_state(&states[n % 2]))).await;
    let mut consumed = outcomes.into_iter().filter_map(|outcome| match outcome.unwrap() {
        StateOutcome::Consumed(flow) => Some(flow),
        StateOutcome::Used(_) => None,
        other => panic!("{other:?}"),
    });
    let won = consumed.next().unwrap();
    assert_eq!(consumed.next(), None);
    let is_second = won.browser == Some(second.browser);
    assert_eq!(
        won.pkce_verifier,
        Some(Sealed(vec![if is_second { 7 } else { 2 }; 60]))
    );
    assert!(!holds_verifiers(&storage, &flow).await);
    for (state, came_back) in [(first, !is_second), (second.state, is_second)] {
        let found = storage.find_by_state(&state).await.unwrap().unwrap();
        assert_eq!((found.came_back, found.refused), (came_back, false));
        assert_eq!(found.flow.browser, won.browser);
    }
    assert_eq!(
        storage.redirect(flow.id, &redirect(), 9).await.unwrap(),
        Commit::Fenced
    );
}

#[tokio::test]
async fn a_link_is_opened_so_often_and_no_more_also_at_once() {
    let storage = fresh().await;
    let (flow, _) = redirected(&storage, &user("alice")).await;
    let records: Vec<_> = (0..16).map(|_| redirect()).collect();
    let opened = join_all(records.iter().map(|record| storage.redirect(flow.id, record, 5))).await;
    let done = opened
        .into_iter()
        .filter(|outcome| *outcome.as_ref().unwrap() == Commit::Done);
    assert_eq!(done.count(), 4);
}

#[tokio::test]
async fn a_flow_ends_with_its_last_redirect_or_when_its_user_says_no() {
    let storage = fresh().await;
    let alice = user("alice");
    let (failed, denied) = (AuthorizationStatus::Failed, AuthorizationStatus::Denied);
    let error = ReasonCode::new("server_error");
    let audit = entry(AuditAction::Callback, &alice);
    let refuse = |id, refused, to| storage.refuse(id, refused, to, &error, &audit);

    let (flow, first) = redirected(&storage, &alice).await;
    let second = redirect();
    storage.redirect(flow.id, &second, 3).await.unwrap();
    let one = Refused::Redirect(&first);
    assert_eq!(refuse(flow.id, one, failed).await.unwrap(), Commit::Done);
    assert_eq!(refuse(flow.id, one, failed).await.unwrap(), Commit::Fenced);
    assert_eq!(status(&storage, &flow).await, AuthorizationStatus::Redirected);
    assert!(matches!(
        storage.consume_state(&first).await.unwrap(),
        StateOutcome::Used(_)
    ));
    assert!(storage.find_by_state(&first).await.unwrap().unwrap().refused);
    let other = Refused::Redirect(&second.state);
    assert_eq!(refuse(flow.id, other, failed).await.unwrap(), Commit::Done);
    assert_eq!(status(&storage, &flow).await, failed);
    assert!(!holds_verifiers(&storage, &flow).await);

    let (flow, _) = redirected(&storage, &alice).await;
    storage.redirect(flow.id, &second_of(&second), 3).await.unwrap();
    let awaited = storage
        .awaited(&google(), &[second.browser, digest()])
        .await
        .unwrap();
    assert_eq!(awaited.iter().map(|flow| flow.id).collect::<Vec<_>>(), [flow.id]);
    let elsewhere = "notion".parse().unwrap();
    assert_eq!(storage.awaited(&elsewhere, &[second.browser]).await.unwrap(), []);
    assert_eq!(
        refuse(flow.id, Refused::Flow, denied).await.unwrap(),
        Commit::Done
    );
    assert_eq!(
        refuse(flow.id, Refused::Flow, denied).await.unwrap(),
        Commit::Fenced
    );
    assert_eq!(status(&storage, &flow).await, denied);
    assert!(!holds_verifiers(&storage, &flow).await);
    assert_eq!(storage.awaited(&google(), &[second.browser]).await.unwrap(), []);

    // One that is being exchanged is nobody's to refuse any more.
    let (flow, state) = redirected(&storage, &alice).await;
    storage.consume_state(&state).await.unwrap();
    for refused in [Refused::Flow, Refused::Redirect(&state)] {
        assert_eq!(refuse(flow.id, refused, denied).await.unwrap(), Commit::Fenced);
    }
    let audited = audited(&storage, &alice).await;
    assert_eq!(audited.iter().filter(|action| *action == "callback").count(), 3);
}

/// The same browser, with another state.
fn second_of(record: &RedirectRecord) -> RedirectRecord {
    RedirectRecord {
        browser: record.browser,
        ..redirect()
    }
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
