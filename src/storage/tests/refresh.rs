//! Claims, commits and their fences.

use std::time::Duration;

use futures_util::future::join_all;

use oauth_manager_actors::{
    domain::{
        audit::AuditAction,
        ids::IntegrationId,
        integration::{Claim, Standing, Status},
        reason::{ANSWER_LATE, ReasonCode, WhoMustAct},
        token::ProviderRevocation,
    },
    ports::store::{
        ClaimOutcome, ClaimRequest, ClaimReturn, Commit, Concluded, FailureCommit, IntegrationStore, Replayed,
    },
};

use super::{fresh, scenario::*};
use crate::storage::Storage;

fn failed(claim: &ClaimRequest, status: Status) -> FailureCommit {
    let owner = user("alice");
    FailureCommit {
        id: claim.id.clone(),
        generation: claim.generation,
        attempt: claim.attempt,
        standing: Standing::because(status, ReasonCode::new("server_error"), WhoMustAct::Nobody),
        failures: 1,
        next_refresh_at: Some(at(3100)),
        forget_tokens: false,
        keep_claim: false,
        audit: entry(AuditAction::Refresh, &owner).with_integration(&claim.id, &owner),
    }
}

#[tokio::test]
async fn of_64_parallel_claims_one_wins() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    let requests: Vec<ClaimRequest> = (0..64).map(|_| claim_request(&id, 1, LEASE)).collect();
    let outcomes = join_all(requests.iter().map(|request| storage.claim(request))).await;
    let mut winners = 0;
    for outcome in outcomes {
        match outcome.unwrap() {
            ClaimOutcome::Claimed { integration, stale } => {
                winners += 1;
                assert_eq!(stale, None);
                assert!(!integration.grant.unwrap().claim.unwrap().stale);
            }
            ClaimOutcome::Held(row) => assert!(row.grant.unwrap().claim.is_some()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn a_refresh_is_committed_with_its_audit_row_and_event() {
    let storage = fresh().await;
    let alice = user("alice");
    let before = connected(&storage, &alice, "1").await;
    let claim = claimed(&storage, &before.id, 1).await;
    let commit = refreshed(&claim, &alice);
    let Concluded::Stored(concluded) = storage.commit_refresh(&commit).await.unwrap() else {
        panic!("it is stored")
    };

    let after = storage.load(&before.id).await.unwrap().unwrap();
    assert_eq!(*concluded, after, "what it returns is the row as it is read");
    let grant = after.grant.unwrap();
    assert_eq!(grant.generation, 2);
    assert_eq!(grant.access_token, commit.access_token);
    assert_eq!(grant.refresh_token, commit.refresh_token);
    assert_eq!(grant.expires_at, commit.expires_at);
    assert_eq!(grant.claim, None);
    assert_eq!(after.scopes, commit.scopes);
    assert!(after.last_refreshed_at.is_some());
    assert_eq!(
        audited(&storage, &alice).await,
        ["authorize", "connect", "refresh"]
    );
    assert_eq!(events(&storage).await, ["connected", "refreshed"]);
}

#[tokio::test]
async fn a_late_commit_with_a_stale_claim_is_fenced() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let late = claim_request(&id, 1, Duration::from_millis(1));
    storage.claim(&late).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;

    let second = claim_request(&id, 1, LEASE);
    let ClaimOutcome::Claimed {
        stale: Some(stale), ..
    } = storage.claim(&second).await.unwrap()
    else {
        panic!("the claim that ran out was not reported");
    };
    assert_eq!((stale.attempt, stale.stale), (late.attempt, true));

    let fenced = storage.commit_refresh(&refreshed(&late, &alice)).await.unwrap();
    assert_eq!(fenced, Concluded::Fenced);
    let fenced = storage
        .commit_failure(&failed(&late, Status::Degraded))
        .await
        .unwrap();
    assert_eq!(fenced, Concluded::Fenced);
    assert_eq!(audited(&storage, &alice).await, ["authorize", "connect"]);

    let done = storage.commit_refresh(&refreshed(&second, &alice)).await.unwrap();
    assert!(matches!(done, Concluded::Stored(_)));
    // The same commit again finds another generation.
    let again = storage.commit_refresh(&refreshed(&second, &alice)).await.unwrap();
    assert_eq!(again, Concluded::Fenced);
    assert_eq!(events(&storage).await, ["connected", "refreshed"]);
}

/// A claim that holds implies its generation; the commit does not rely on it.
#[tokio::test]
async fn an_answer_to_another_generation_is_fenced_although_its_claim_holds() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let claim = claimed(&storage, &id, 1).await;
    let before = storage.load(&id).await.unwrap();
    for generation in [0, 2] {
        let mistaken = ClaimRequest {
            generation,
            ..claim.clone()
        };
        let refreshed = storage.commit_refresh(&refreshed(&mistaken, &alice)).await;
        assert_eq!(refreshed.unwrap(), Concluded::Fenced);
        let failed = storage.commit_failure(&failed(&mistaken, Status::Degraded)).await;
        assert_eq!(failed.unwrap(), Concluded::Fenced);
    }
    assert_eq!(storage.load(&id).await.unwrap(), before);
    assert_eq!(audited(&storage, &alice).await, ["authorize", "connect"]);

    let done = storage.commit_refresh(&refreshed(&claim, &alice)).await.unwrap();
    assert!(matches!(done, Concluded::Stored(_)));
}

#[tokio::test]
async fn a_claim_on_another_generation_shows_the_present_row() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let claim = claimed(&storage, &id, 1).await;
    storage.commit_refresh(&refreshed(&claim, &alice)).await.unwrap();
    match storage.claim(&claim_request(&id, 1, LEASE)).await.unwrap() {
        ClaimOutcome::Moved(row) => assert_eq!(row.grant.unwrap().generation, 2),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_commit_after_a_revocation_is_fenced_and_resurrects_nothing() {
    let storage = fresh().await;
    let alice = user("alice");
    let before = connected(&storage, &alice, "1").await;
    let claim = claimed(&storage, &before.id, 1).await;
    let audit = entry(AuditAction::Revoke, &alice).with_integration(&before.id, &alice);
    let reason = ReasonCode::new("user");
    let revoked = storage
        .revoke(Some(&alice), &before.id, &reason, at(1), &audit)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(revoked.standing.status, Status::Revoked);

    let commit = storage.commit_refresh(&refreshed(&claim, &alice)).await.unwrap();
    assert_eq!(commit, Concluded::Fenced);
    let late = storage.replay_refresh(&refreshed(&claim, &alice)).await.unwrap();
    assert_eq!(late, Replayed::Fenced);
    let now = storage.load(&before.id).await.unwrap().unwrap();
    assert_eq!(now.standing.status, Status::Revoked);
    let grant = now.grant.unwrap();
    assert_eq!(grant.generation, 1);
    assert_eq!(grant.next_refresh_at, Some(at(1)));
    let outcome = storage.claim(&claim_request(&before.id, 1, LEASE)).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::Gone);
    let again = storage
        .revoke(None, &before.id, &reason, at(1), &audit)
        .await
        .unwrap();
    assert_eq!(again, None);
    make_due(&storage, &before.id, 60).await;
    let told = dispatched(&storage, &taking(1, 10)).await;
    assert_eq!(
        told,
        std::slice::from_ref(&before.id),
        "the provider is still to be told"
    );

    let disconnect = entry(AuditAction::Disconnect, &alice).with_integration(&before.id, &alice);
    let postponed = storage
        .postpone_revocation(&before.id, 1, 1, at(5))
        .await
        .unwrap();
    assert_eq!(postponed, Commit::Done);
    let outcome = ProviderRevocation::Confirmed;
    let finished = storage
        .finish_revocation(&before.id, 1, outcome, &disconnect)
        .await
        .unwrap();
    assert_eq!(finished, Commit::Done);
    let again = storage
        .finish_revocation(&before.id, 1, outcome, &disconnect)
        .await
        .unwrap();
    assert_eq!(again, Commit::Fenced);
    assert_eq!(storage.load(&before.id).await.unwrap().unwrap().grant, None);
    assert_eq!(dispatched(&storage, &taking(2, 10)).await, []);
    assert_eq!(events(&storage).await, ["connected", "revoked", "disconnected"]);
}

#[tokio::test]
async fn revoking_while_refreshing_never_resurrects() {
    let storage = fresh().await;
    let alice = user("alice");
    for round in 0..50 {
        let id = connected(&storage, &alice, &round.to_string()).await.id;
        let claim = claimed(&storage, &id, 1).await;
        let commit = refreshed(&claim, &alice);
        let audit = entry(AuditAction::Revoke, &alice).with_integration(&id, &alice);
        let reason = ReasonCode::new("user");
        let (committed, revoked) = tokio::join!(
            storage.commit_refresh(&commit),
            storage.revoke(Some(&alice), &id, &reason, at(1), &audit)
        );
        let row = storage.load(&id).await.unwrap().unwrap();
        assert!(revoked.unwrap().is_some());
        assert_eq!(row.standing.status, Status::Revoked);
        let generation = row.grant.unwrap().generation;
        assert_eq!(generation == 2, committed.unwrap() != Concluded::Fenced);
    }
}

#[tokio::test]
async fn a_failure_gives_the_claim_back_and_tells_of_a_change_once() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    for _ in 0..2 {
        let claim = claimed(&storage, &id, 1).await;
        let done = storage
            .commit_failure(&failed(&claim, Status::Degraded))
            .await
            .unwrap();
        assert!(matches!(done, Concluded::Stored(_)));
    }
    let row = storage.load(&id).await.unwrap().unwrap();
    assert_eq!(row.standing.status, Status::Degraded);
    assert_eq!(row.grant.unwrap().claim, None);
    assert_eq!(events(&storage).await, ["connected", "status_changed"]);
}

#[tokio::test]
async fn an_unknown_outcome_leaves_a_stale_claim_and_a_dead_grant_leaves_none() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let claim = claimed(&storage, &id, 1).await;
    let unknown = FailureCommit {
        keep_claim: true,
        ..failed(&claim, Status::Degraded)
    };
    let concluded = storage.commit_failure(&unknown).await.unwrap();
    assert!(matches!(concluded, Concluded::Stored(_)));
    let kept = storage
        .load(&id)
        .await
        .unwrap()
        .unwrap()
        .grant
        .unwrap()
        .claim
        .unwrap();
    assert_eq!((kept.attempt, kept.stale), (claim.attempt, true));

    let claim = claimed(&storage, &id, 1).await;
    let dead = FailureCommit {
        forget_tokens: true,
        next_refresh_at: None,
        ..failed(&claim, Status::ReauthRequired)
    };
    let concluded = storage.commit_failure(&dead).await.unwrap();
    assert!(matches!(concluded, Concluded::Stored(_)));
    let row = storage.load(&id).await.unwrap().unwrap();
    assert_eq!(row.standing.status, Status::ReauthRequired);
    assert_eq!(row.grant, None);
    let outcome = storage.claim(&claim_request(&id, 1, LEASE)).await.unwrap();
    assert_eq!(outcome, ClaimOutcome::Gone);
    // Connected again: the same integration, and a generation that never was before.
    let again = connected(&storage, &alice, "1").await;
    assert_eq!(again.id, id);
    assert_eq!(again.standing.status, Status::Active);
    assert_eq!(again.grant.unwrap().generation, 3);
}

#[tokio::test]
async fn a_late_answer_whose_own_claim_is_still_there_is_like_any_other() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let late = claimed(&storage, &id, 1).await;
    let answer = refreshed(&late, &alice);
    let Replayed::Stored(row) = storage.replay_refresh(&answer).await.unwrap() else {
        panic!("nothing is in its way")
    };
    assert_eq!(row.standing, Standing::active());
    assert_eq!(row.grant.unwrap().next_refresh_at, answer.next_refresh_at);
}

#[tokio::test]
async fn a_late_answer_is_stored_unless_the_row_moved_on_or_somebody_is_at_it() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let late = claim_request(&id, 1, Duration::from_millis(1));
    storage.claim(&late).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = claimed(&storage, &id, 1).await;
    let answer = refreshed(&late, &alice);
    assert_eq!(storage.replay_refresh(&answer).await.unwrap(), Replayed::Held);
    let unknown = FailureCommit {
        keep_claim: true,
        ..failed(&second, Status::Degraded)
    };
    storage.commit_failure(&unknown).await.unwrap();

    let Replayed::Stored(row) = storage.replay_refresh(&answer).await.unwrap() else {
        panic!("nothing is in its way")
    };
    assert_eq!(*row, storage.load(&id).await.unwrap().unwrap());
    // The second may have presented the same refresh token: whether the new ones are good is found out at once.
    let in_doubt = Standing::because(Status::Degraded, ReasonCode::new(ANSWER_LATE), WhoMustAct::Nobody);
    assert_eq!(row.standing, in_doubt);
    let grant = row.grant.unwrap();
    assert_eq!((grant.generation, grant.claim), (2, None));
    assert_eq!(grant.refresh_token, answer.refresh_token);
    assert_eq!(grant.next_refresh_at, Some(row.updated_at));
    // Others hear of it, and it is on record once.
    let changes = storage.recent_changes(Duration::from_secs(60)).await.unwrap();
    assert_eq!(changes, [id]);
    assert_eq!(storage.replay_refresh(&answer).await.unwrap(), Replayed::Fenced);
    let records = audited(&storage, &alice).await;
    assert_eq!(
        records.iter().filter(|action| *action == "refresh").count(),
        2,
        "{records:?}"
    );
}

/// Claims it for so long; the claim as the row has it then.
async fn claim_of(storage: &Storage, id: &IntegrationId, generation: i64, lease: Duration) -> Claim {
    let request = claim_request(id, generation, lease);
    match storage.claim(&request).await.unwrap() {
        ClaimOutcome::Claimed { integration, .. } => integration.grant.unwrap().claim.unwrap(),
        other => panic!("it is free: {other:?}"),
    }
}

#[tokio::test]
async fn who_takes_over_learns_since_when_the_refresh_token_may_be_out() {
    let storage = fresh().await;
    let alice = user("alice");
    let id = connected(&storage, &alice, "1").await.id;
    let short = Duration::from_millis(1);
    let first = claim_of(&storage, &id, 1, short).await;
    assert_eq!(first.unsettled_since, first.since);
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let next = claim_of(&storage, &id, 1, short).await;
        assert!(next.since > first.since);
        assert_eq!(next.unsettled_since, first.since);
    }
    // Found out and written down, and claimed again: the same.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let found = claimed(&storage, &id, 1).await;
    let unknown = FailureCommit {
        keep_claim: true,
        ..failed(&found, Status::Degraded)
    };
    storage.commit_failure(&unknown).await.unwrap();
    let last = claimed(&storage, &id, 1).await;
    let row = storage.load(&id).await.unwrap().unwrap();
    assert_eq!(row.grant.unwrap().claim.unwrap().unsettled_since, first.since);
    // An answer settles it.
    storage.commit_refresh(&refreshed(&last, &alice)).await.unwrap();
    let settled = claim_of(&storage, &id, 2, LEASE).await;
    assert_eq!(settled.unsettled_since, settled.since);
}

#[tokio::test]
async fn a_claim_given_back_leaves_the_row_as_it_was_found() {
    let storage = fresh().await;
    let id = connected(&storage, &user("alice"), "1").await.id;
    let before = storage.load(&id).await.unwrap();
    let claim = claimed(&storage, &id, 1).await;
    let given_back = ClaimReturn {
        id: id.clone(),
        attempt: claim.attempt,
        stale: None,
        planned_at: before.as_ref().unwrap().grant.as_ref().unwrap().next_refresh_at,
    };
    assert_eq!(storage.return_claim(&given_back).await.unwrap(), Commit::Done);
    assert_eq!(storage.load(&id).await.unwrap(), before);
    assert_eq!(storage.return_claim(&given_back).await.unwrap(), Commit::Fenced);

    // A claim that ran out goes on saying that an outcome is unknown.
    let vanished = claim_request(&id, 1, Duration::from_millis(1));
    storage.claim(&vanished).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    let second = claim_request(&id, 1, LEASE);
    let ClaimOutcome::Claimed { stale, .. } = storage.claim(&second).await.unwrap() else {
        panic!("it is free")
    };
    let given_back = ClaimReturn {
        id: id.clone(),
        attempt: second.attempt,
        stale: stale.clone(),
        planned_at: None,
    };
    assert_eq!(storage.return_claim(&given_back).await.unwrap(), Commit::Done);
    let grant = storage.load(&id).await.unwrap().unwrap().grant.unwrap();
    assert_eq!(grant.claim, stale);
}
