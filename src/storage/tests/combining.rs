//! Claims and commits that go together: each row has its own fences, its own records and its own troubles.

use std::time::Duration;

use futures_util::{future::join_all, poll};

use oauth_manager_actors::{
    domain::{audit::AuditAction, integration::StoredIntegration, page::PageRequest, reason::ReasonCode},
    ports::store::{
        ClaimOutcome, ClaimRequest, Concluded, IntegrationStore, RecordStore, RefreshCommit, StoreError,
    },
};

use super::{
    database, fresh,
    postgres::{Cut, connect},
    scenario::*,
    storage as connected_to,
};
use crate::storage::{Storage, lease::Transaction};

const OWNER: &str = "alice";

/// So many accounts of one user.
async fn accounts(storage: &Storage, count: usize) -> Vec<StoredIntegration> {
    let owner = user(OWNER);
    let mut accounts = Vec::new();
    for n in 0..count {
        accounts.push(connected(storage, &owner, &n.to_string()).await);
    }
    accounts
}

/// So many accounts that were claimed, and what is to be committed for each: its own scopes, token and plan.
async fn answered(storage: &Storage, count: usize) -> Vec<RefreshCommit> {
    let mut commits = Vec::new();
    for (n, account) in accounts(storage, count).await.iter().enumerate() {
        let claim = claimed(storage, &account.id, 1).await;
        let mut commit = refreshed(&claim, &user(OWNER));
        let of_its_own: Vec<_> = (0..n)
            .map(|scope| format!("scope, \"{n}\" {{{scope}}}"))
            .collect();
        commit.scopes = of_its_own.iter().collect();
        commit.audit.scopes = of_its_own.iter().rev().take(n / 2).collect();
        commit.access_token.0.push(u8::try_from(n).unwrap());
        commit.next_refresh_at = (n % 2 == 0).then(|| at(6000 + i64::try_from(n).unwrap()));
        commits.push(commit);
    }
    commits
}

async fn commit_all(storage: &Storage, commits: &[RefreshCommit]) -> Vec<Result<Concluded, StoreError>> {
    join_all(commits.iter().map(|commit| storage.commit_refresh(commit))).await
}

/// In how many transactions the refreshes on record were written.
async fn transactions(storage: &Storage) -> i64 {
    const COUNT: &str = "SELECT count(DISTINCT xmin::text) FROM oauth_audit_log WHERE action = 'refresh'";
    let client = storage.system().await.unwrap();
    client.query_opt(COUNT, &[]).await.unwrap().unwrap().get(0)
}

/// Generations made, refreshes audited and events of them, of this account.
async fn books(storage: &Storage, commit: &RefreshCommit) -> (i64, i64, i64) {
    const BOOKS: &str = "SELECT
        (SELECT generation - 1 FROM oauth_tokens WHERE integration_id = $1),
        (SELECT count(*) FROM oauth_audit_log WHERE integration_id = $1 AND action = 'refresh'),
        (SELECT count(*) FROM oauth_events WHERE integration_id = $1 AND kind = 'refreshed')";
    let client = storage.system().await.unwrap();
    let row = client
        .query_opt(BOOKS, &[&commit.id.uuid])
        .await
        .unwrap()
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

/// Takes a row's lock and keeps it until the transaction ends.
async fn lock(storage: &Storage, table: &str, column: &str, commit: &RefreshCommit) -> Transaction {
    let transaction = storage.system().await.unwrap().begin().await.unwrap();
    let sql = format!("SELECT 1 FROM {table} WHERE {column} = $1 FOR UPDATE");
    transaction.query(&sql, &[&commit.id.uuid]).await.unwrap();
    transaction
}

/// Waits until some statement waits for a lock.
async fn somebody_waits(storage: &Storage) {
    const WAITS: &str = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let client = storage.system().await.unwrap();
    loop {
        let waiting: i64 = client.query_opt(WAITS, &[]).await.unwrap().unwrap().get(0);
        if waiting > 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn commits_that_come_at_one_time_are_one_transaction_and_each_row_gets_its_own() {
    let storage = fresh().await;
    let commits = answered(&storage, 9).await;
    let concluded = commit_all(&storage, &commits).await;
    assert_eq!(transactions(&storage).await, 1);
    let page = storage
        .audit(&user(OWNER), &PageRequest::default())
        .await
        .unwrap();
    for (commit, concluded) in commits.iter().zip(concluded) {
        let row = storage.load(&commit.id).await.unwrap().unwrap();
        assert_eq!(concluded.unwrap(), Concluded::Stored(Box::new(row.clone())));
        assert_eq!(row.scopes, commit.scopes);
        assert_eq!(row.standing, commit.standing);
        assert!(row.last_refreshed_at.is_some());
        let grant = row.grant.unwrap();
        assert_eq!(grant.generation, 2);
        assert_eq!(grant.claim, None);
        assert_eq!(grant.access_token, commit.access_token);
        assert_eq!(grant.refresh_token, commit.refresh_token);
        assert_eq!(grant.expires_at, commit.expires_at);
        assert_eq!(grant.next_refresh_at, commit.next_refresh_at);
        assert_eq!(books(&storage, commit).await, (1, 1, 1));
        let record = page
            .items
            .iter()
            .find(|record| record.action == "refresh" && record.integration_id.as_ref() == Some(&commit.id));
        assert_eq!(record.unwrap().scopes, commit.audit.scopes);
    }
}

#[tokio::test]
async fn claims_that_come_at_one_time_are_told_each_of_its_own_row() {
    let storage = fresh().await;
    let owner = user(OWNER);
    let accounts = accounts(&storage, 5).await;
    let [free, held, moved, gone, stale] = accounts.as_slice() else {
        panic!("five")
    };
    claimed(&storage, &held.id, 1).await;
    let claim = claimed(&storage, &moved.id, 1).await;
    storage.commit_refresh(&refreshed(&claim, &owner)).await.unwrap();
    let audit = entry(AuditAction::Revoke, &owner).with_integration(&gone.id, &owner);
    let reason = ReasonCode::new("user");
    storage
        .revoke(None, &gone.id, &reason, at(1), &audit)
        .await
        .unwrap();
    let vanished = claim_request(&stale.id, 1, Duration::from_millis(1));
    storage.claim(&vanished).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;

    let requests: Vec<ClaimRequest> = accounts
        .iter()
        .map(|account| claim_request(&account.id, 1, LEASE))
        .collect();
    let outcomes = join_all(requests.iter().map(|request| storage.claim(request))).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    match outcomes.as_slice() {
        [
            ClaimOutcome::Claimed {
                integration: first,
                stale: None,
            },
            ClaimOutcome::Held(second),
            ClaimOutcome::Moved(third),
            ClaimOutcome::Gone,
            ClaimOutcome::Claimed {
                integration: last,
                stale: Some(left),
            },
        ] => {
            assert_eq!(
                [&first.id, &second.id, &third.id, &last.id],
                [&free.id, &held.id, &moved.id, &stale.id]
            );
            let attempt = |row: &StoredIntegration| row.grant.clone().unwrap().claim.unwrap().attempt;
            assert_eq!(attempt(first), requests[0].attempt);
            assert_eq!(attempt(last), requests[4].attempt);
            assert_eq!(left.attempt, vanished.attempt);
            assert_eq!(
                first.grant.as_ref().unwrap().next_refresh_at,
                free.grant.as_ref().unwrap().next_refresh_at
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_batch_in_which_one_row_lost_its_claim_commits_the_others() {
    let storage = fresh().await;
    let owner = user(OWNER);
    let commits = answered(&storage, 6).await;
    let audit = entry(AuditAction::Revoke, &owner).with_integration(&commits[2].id, &owner);
    let reason = ReasonCode::new("user");
    storage
        .revoke(None, &commits[2].id, &reason, at(1), &audit)
        .await
        .unwrap();
    for (n, concluded) in commit_all(&storage, &commits).await.into_iter().enumerate() {
        assert_eq!(concluded.unwrap() == Concluded::Fenced, n == 2, "{n}");
        let written = i64::from(n != 2);
        assert_eq!(books(&storage, &commits[n]).await, (written, written, written));
    }
    assert_eq!(transactions(&storage).await, 1);
}

#[tokio::test]
async fn what_the_database_refuses_of_one_row_is_one_callers_error() {
    let storage = fresh().await;
    let mut commits = answered(&storage, 5).await;
    commits[3].token_type = "x".repeat(65);
    for (n, concluded) in commit_all(&storage, &commits).await.into_iter().enumerate() {
        let written = i64::from(n != 3);
        assert_eq!(books(&storage, &commits[n]).await, (written, written, written));
        match concluded {
            Ok(Concluded::Stored(row)) => assert_eq!((row.id, n != 3), (commits[n].id.clone(), true)),
            Err(StoreError::Refused { table, .. }) => assert_eq!((table, n), ("oauth_tokens", 3)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_row_that_somebody_locks_keeps_nobody_else_waiting() {
    let storage = fresh().await;
    let commits = answered(&storage, 4).await;
    let locked = lock(&storage, "oauth_tokens", "integration_id", &commits[1]).await;
    let waits = storage.commit_refresh(&commits[1]);
    tokio::pin!(waits);
    let others: Vec<_> = [0, 2, 3].map(|n| storage.commit_refresh(&commits[n])).into();
    // Half as long as a lock is waited for.
    let others = tokio::time::timeout(Duration::from_secs(5), join_all(others));
    tokio::select! {
        biased;
        early = &mut waits => panic!("it is locked: {early:?}"),
        stored = others => assert!(stored.unwrap().iter().all(|one| matches!(one, Ok(Concluded::Stored(_))))),
    }
    locked.commit().await.unwrap();
    assert!(matches!(waits.await, Ok(Concluded::Stored(_))));
    assert_eq!(books(&storage, &commits[1]).await, (1, 1, 1));
}

#[tokio::test]
async fn who_gave_up_before_the_batch_began_gets_nothing_done() {
    let storage = fresh().await;
    let accounts = accounts(&storage, 2).await;
    let requests: Vec<_> = accounts
        .iter()
        .map(|account| claim_request(&account.id, 1, LEASE))
        .collect();
    let mut given_up = Box::pin(storage.claim(&requests[0]));
    assert!(poll!(&mut given_up).is_pending());
    drop(given_up);
    let claimed = storage.claim(&requests[1]).await.unwrap();
    assert!(matches!(claimed, ClaimOutcome::Claimed { .. }));
    let row = storage.load(&accounts[0].id).await.unwrap().unwrap();
    assert_eq!(row.grant.unwrap().claim, None);
}

#[tokio::test]
async fn a_batch_during_which_the_connection_dies_leaves_each_caller_an_error_and_no_half_row() {
    let database = database().await;
    let beside = connected_to(&database);
    let commits = answered(&beside, 5).await;
    let cut = Cut::before(&database.url).await;
    let storage = connect(&cut.url, 4);
    // One account's row is locked, so that the batch is half done when its connection dies.
    let locked = lock(&beside, "oauth_integrations", "id", &commits[2]).await;
    let cutting = async {
        somebody_waits(&beside).await;
        cut.now();
    };
    let (outcomes, ()) = tokio::join!(commit_all(&storage, &commits), cutting);
    for outcome in &outcomes {
        assert!(matches!(outcome, Err(StoreError::Unavailable(_))), "{outcome:?}");
    }
    for commit in &commits {
        assert_eq!(books(&beside, commit).await, (0, 0, 0));
    }
    locked.commit().await.unwrap();
    // Whether the server carried it out behind the dead connection is unknown to the callers: they try again, and find out.
    let again = commit_all(&beside, &commits).await;
    for (commit, outcome) in commits.iter().zip(again) {
        assert!(
            matches!(outcome, Ok(Concluded::Stored(_) | Concluded::Fenced)),
            "{outcome:?}"
        );
        assert_eq!(books(&beside, commit).await, (1, 1, 1));
    }
}

#[tokio::test]
async fn rows_that_are_read_at_one_time_are_told_apart_and_to_everybody_who_asked() {
    let storage = fresh().await;
    let [one, other] = accounts(&storage, 2).await.try_into().unwrap();
    let mut nobody = one.id.clone();
    nobody.uuid = uuid::Uuid::now_v7();
    let mut elsewhere = one.id.clone();
    elsewhere.provider = "microsoft".parse().unwrap();
    let asked = [&one.id, &other.id, &nobody, &one.id, &elsewhere];
    let found = join_all(asked.map(|id| storage.load(id))).await;
    let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
    assert_eq!(found, [Some(one.clone()), Some(other), None, Some(one), None]);
}
