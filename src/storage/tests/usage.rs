//! Use is known to the hour, and costs a write only that often.

use oauth_manager_actors::{
    domain::{
        Timestamp,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        ids::IntegrationId,
        integration::Standing,
        reason::{REFRESH_TOKEN_ENDING, ReasonCode, WhoMustAct},
    },
    ports::store::{Concluded, IntegrationStore, RecordStore, RefreshCommit},
};

use super::{fresh, scenario::*};
use crate::storage::Storage;

fn handed_out(id: &IntegrationId) -> AuditEntry {
    entry(AuditAction::TokenIssued, &user("alice")).with_integration(id, &user("alice"))
}

/// One hand-out of each, as often as makes Postgres try a plan that fits any accounts.
pub(super) async fn hand_out(storage: &Storage, accounts: &[IntegrationId]) {
    let records: Vec<_> = accounts.iter().map(handed_out).collect();
    for _ in 0..12 {
        storage.append(&records).await.unwrap();
    }
}

async fn used(storage: &Storage, id: &IntegrationId) -> Timestamp {
    storage
        .load(id)
        .await
        .unwrap()
        .unwrap()
        .grant
        .unwrap()
        .last_used_at
}

async fn last_used(storage: &Storage, id: &IntegrationId, minutes_ago: i32) {
    let sql =
        "UPDATE oauth_tokens SET last_used_at = now() - $2 * interval '1 minute' WHERE integration_id = $1";
    let client = storage.system().await.unwrap();
    client
        .execute(sql, &[&id.uuid, &f64::from(minutes_ago)])
        .await
        .unwrap();
}

#[tokio::test]
async fn a_hand_out_marks_its_account_as_used_once_an_hour_and_a_refusal_does_not() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    let connected_at = used(&storage, &id).await;
    storage.append(&[handed_out(&id)]).await.unwrap();
    assert_eq!(used(&storage, &id).await, connected_at, "connecting is use");

    last_used(&storage, &id, 61).await;
    let long_ago = used(&storage, &id).await;
    let refused = AuditEntry {
        action: AuditAction::Denied,
        outcome: AuditOutcome::Denied,
        ..handed_out(&id)
    };
    storage.append(&[refused]).await.unwrap();
    assert_eq!(used(&storage, &id).await, long_ago);
    storage.append(&[handed_out(&id), handed_out(&id)]).await.unwrap();
    assert!(used(&storage, &id).await > connected_at);
}

/// A refresh that says this of the refresh token.
async fn refresh(storage: &Storage, id: &IntegrationId, end: Option<Timestamp>, ending: bool) {
    let generation = storage.load(id).await.unwrap().unwrap().grant.unwrap().generation;
    let claim = claimed(storage, id, generation).await;
    let mut commit = RefreshCommit {
        refresh_token_expires_at: end,
        ..refreshed(&claim, &user("alice"))
    };
    if ending {
        commit.standing = Standing {
            reason: Some(ReasonCode::new(REFRESH_TOKEN_ENDING)),
            who_must_act: Some(WhoMustAct::User),
            ..Standing::active()
        };
    }
    assert!(matches!(
        storage.commit_refresh(&commit).await.unwrap(),
        Concluded::Stored(_)
    ));
}

async fn warnings(storage: &Storage) -> (usize, usize) {
    let count = |all: Vec<String>, what: &str| all.iter().filter(|one| *one == what).count();
    (
        count(audited(storage, &user("alice")).await, "warn"),
        count(events(storage).await, "refresh_token_ending"),
    )
}

#[tokio::test]
async fn the_user_is_told_once_that_a_refresh_token_ends_until_one_comes_that_lives_longer() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    refresh(&storage, &id, Some(at(90_000)), false).await;
    assert_eq!(warnings(&storage).await, (0, 0));
    for _ in 0..3 {
        refresh(&storage, &id, None, true).await;
        assert_eq!(warnings(&storage).await, (1, 1));
    }
    let row = storage.load(&id).await.unwrap().unwrap();
    assert_eq!(row.standing.reason.unwrap().as_str(), REFRESH_TOKEN_ENDING);
    refresh(&storage, &id, Some(at(900_000)), false).await;
    refresh(&storage, &id, None, true).await;
    assert_eq!(warnings(&storage).await, (2, 2));
}

#[tokio::test]
async fn the_life_of_a_refresh_token_begins_anew_only_when_its_end_is_put_off() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    let life = async |end| {
        refresh(&storage, &id, end, false).await;
        let grant = storage.load(&id).await.unwrap().unwrap().grant.unwrap();
        (grant.refresh_token_since, grant.refresh_token_expires_at)
    };
    // Every commit of these tests says that it was issued at 3000.
    assert_eq!(life(Some(at(90_000))).await, (Some(at(3000)), Some(at(90_000))));
    let client = storage.system().await.unwrap();
    client
        .execute("UPDATE oauth_tokens SET refresh_token_since = $1", &[&at(1)])
        .await
        .unwrap();
    assert_eq!(life(None).await, (Some(at(1)), Some(at(90_000))));
    assert_eq!(life(Some(at(90_001))).await, (Some(at(1)), Some(at(90_001))));
    assert_eq!(life(Some(at(95_000))).await, (Some(at(3000)), Some(at(95_000))));
}
