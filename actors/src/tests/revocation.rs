//! Taking back: refused from that moment on, in every order of events.

use std::time::Duration;

use crate::{
    domain::{
        error::ServiceError,
        ids::IntegrationId,
        integration::Status,
        token::{ProviderRevocation, RevocationReport},
    },
    handle::ServiceResult,
    ports::oauth::FailureKind,
    testing::{
        gate::Gate,
        oauth::{Call, Outcome},
        store::Op,
        universe::{SINGLE_USE, Universe, by_user, user},
    },
};

async fn revoke(universe: &Universe, owner: &str, id: &IntegrationId) -> ServiceResult<RevocationReport> {
    universe.manager.revoke(&user(owner), id, by_user(owner)).await
}

#[tokio::test(start_paused = true)]
async fn a_revoked_account_is_refused_its_tokens_forgotten_and_the_provider_told() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    let token = universe.token("ada", SINGLE_USE).await.unwrap().access_token;
    let report = revoke(&universe, "ada", &id).await.unwrap();
    assert_eq!(report.provider_revocation, ProviderRevocation::Confirmed);
    assert_eq!(
        universe.token("ada", SINGLE_USE).await.unwrap_err(),
        ServiceError::NotConnected
    );
    assert!(!universe.provider.accepts(SINGLE_USE, &token));
    assert!(universe.store.row(&id).grant.is_none());
    assert_eq!(
        revoke(&universe, "ada", &id).await.unwrap_err(),
        ServiceError::not_found("integration")
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn it_is_denied_first_and_the_provider_told_for_as_long_as_it_takes() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.provider.always(
        SINGLE_USE,
        Call::Revoke,
        Outcome::Fail(FailureKind::Passing, "http_503"),
    );
    let report = revoke(&universe, "ada", &id).await.unwrap();
    assert_eq!(report.provider_revocation, ProviderRevocation::Pending);
    assert_eq!(
        universe.token("ada", SINGLE_USE).await.unwrap_err(),
        ServiceError::NotConnected
    );
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(
        universe.store.row(&id).grant.is_some(),
        "kept, sealed, to tell the provider with"
    );
    universe
        .provider
        .always(SINGLE_USE, Call::Revoke, Outcome::Answer);
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert!(universe.store.row(&id).grant.is_none());
    let calls = universe.provider.calls(SINGLE_USE, Call::Revoke);
    assert!((4..=40).contains(&calls), "{calls} attempts in two hours");
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn with_the_database_away_nothing_is_revoked_and_said_to_be() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    universe.store.away(true);
    let error = revoke(&universe, "ada", &id).await.unwrap_err();
    assert!(matches!(error, ServiceError::Overloaded { .. }), "{error}");
    universe.store.away(false);
    universe.token("ada", SINGLE_USE).await.unwrap();
    revoke(&universe, "ada", &id).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_revoked_account_can_be_connected_again() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    revoke(&universe, "ada", &id).await.unwrap();
    assert_eq!(
        universe.connect("ada", SINGLE_USE).await,
        id,
        "the same account, the same id"
    );
    let token = universe.token("ada", SINGLE_USE).await.unwrap().access_token;
    assert!(universe.provider.accepts(SINGLE_USE, &token));
    universe.end().await;
}

/// A refresh is held at this place while the account is revoked, then goes on.
async fn revoked_while_refreshing_at(place: &str, hold: impl FnOnce(&Universe) -> Gate) {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SINGLE_USE).await;
    universe.token("ada", SINGLE_USE).await.unwrap();
    let gate = hold(&universe);
    let telling = universe.provider.hold(SINGLE_USE, Call::Revoke);
    let owner = user("ada");
    let refreshing = universe.manager.refresh(&owner, &id, by_user("ada"));
    let story = async {
        gate.arrived(1).await;
        let revoking = revoke(&universe, "ada", &id);
        let late = async {
            telling.arrived(1).await;
            gate.open();
            // The provider is still being told: long enough for whatever the refresh has to say.
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(10)).await;
                let error = universe.token("ada", SINGLE_USE).await.expect_err(place);
                assert_eq!(error, ServiceError::NotConnected, "{place}");
            }
            telling.open();
        };
        let (report, ()) = tokio::join!(revoking, late);
        report.expect(place);
    };
    let (_refreshed, ()) = tokio::join!(refreshing, story);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(
        universe.token("ada", SINGLE_USE).await.unwrap_err(),
        ServiceError::NotConnected,
        "{place}"
    );
    let row = universe.store.row(&id);
    assert_eq!(
        (row.standing.status, row.grant),
        (Status::Revoked, None),
        "{place}"
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_during_a_refresh_is_never_undone() {
    revoked_while_refreshing_at("before the claim", |it| it.store.hold_before(Op::Claim)).await;
    revoked_while_refreshing_at("after the claim", |it| it.store.hold_after(Op::Claim)).await;
    revoked_while_refreshing_at("at the provider", |it| {
        it.provider.hold(SINGLE_USE, Call::Refresh)
    })
    .await;
    revoked_while_refreshing_at("before the commit", |it| it.store.hold_before(Op::CommitRefresh)).await;
    revoked_while_refreshing_at("after the commit", |it| it.store.hold_after(Op::CommitRefresh)).await;
}

#[tokio::test(start_paused = true)]
async fn a_revocation_during_a_failing_refresh_is_never_undone() {
    let dead = Outcome::Fail(FailureKind::DeadGrant, "invalid_grant");
    for outcome in [
        dead.clone(),
        Outcome::Fail(FailureKind::Passing, "http_503"),
        Outcome::Garbled,
        Outcome::LostAnswer,
    ] {
        // What is salvaged is committed as a refresh. Of a dead grant nothing is left to revoke once that is stored; before
        // it is, the row is read once more.
        let op = match outcome {
            Outcome::Garbled => Op::CommitRefresh,
            Outcome::Fail(FailureKind::DeadGrant, _) => Op::Load,
            _ => Op::CommitFailure,
        };
        revoked_while_refreshing_at(&format!("{outcome:?}"), |it| {
            it.provider.next(SINGLE_USE, Call::Refresh, outcome.clone());
            it.store.hold_after(op)
        })
        .await;
    }
}
