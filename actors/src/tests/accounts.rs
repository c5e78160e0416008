//! Whose account it is, which one is meant, and who may have its token.

use std::time::Duration;

use crate::{
    domain::{audit::AuditAction, error::ServiceError},
    testing::universe::{SAFE, Universe, by_user, user, wanted, wanting},
};

#[tokio::test(start_paused = true)]
async fn another_users_integration_is_not_found_like_one_that_does_not_exist() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let mut missing = id.clone();
    missing.uuid = uuid::Uuid::now_v7();
    let eve = user("eve");
    for id in [&id, &missing] {
        let not_found = ServiceError::not_found("integration");
        assert_eq!(
            universe.manager.integration(&eve, id).await.unwrap_err(),
            not_found
        );
        assert_eq!(
            universe
                .manager
                .refresh(&eve, id, by_user("eve"))
                .await
                .unwrap_err(),
            not_found
        );
        assert_eq!(
            universe
                .manager
                .revoke(&eve, id, by_user("eve"))
                .await
                .unwrap_err(),
            not_found
        );
        assert_eq!(
            universe
                .manager
                .consents(&eve, id, crate::domain::page::PageRequest::default())
                .await
                .unwrap_err(),
            not_found
        );
    }
    assert_eq!(
        universe.token("eve", SAFE).await.unwrap_err(),
        ServiceError::NotConnected
    );
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_does_not_reach_is_refused_and_recorded() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let stranger = universe.service("stranger", &["single:*"]);
    let narrow = universe.service("narrow", &["google:write"]);
    let error = universe
        .manager
        .issue_token(wanted("ada", SAFE, None), stranger.clone())
        .await
        .unwrap_err();
    assert!(matches!(error, ServiceError::Forbidden { .. }), "{error}");
    for context in [stranger, narrow] {
        let error = universe.token_by_id(&id, context).await.unwrap_err();
        assert!(matches!(error, ServiceError::Forbidden { .. }), "{error}");
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let denied = universe
        .store
        .audit_rows()
        .into_iter()
        .filter(|row| row.action == AuditAction::Denied);
    let mut actors: Vec<_> = denied.map(|row| row.context.actor.label()).collect();
    actors.dedup();
    actors.sort();
    actors.dedup();
    assert_eq!(actors, ["service:narrow", "service:stranger"]);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_feature_the_user_did_not_grant_is_named() {
    let universe = Universe::new().await;
    universe.connect("ada", SAFE).await;
    let feature = "google.write".parse().unwrap();
    let error = universe
        .manager
        .access_token(&user("ada"), &feature, Duration::ZERO)
        .await
        .unwrap_err();
    let ServiceError::InsufficientScope { missing_scopes, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(missing_scopes.to_strings(), ["write"]);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn of_several_accounts_the_one_named_is_asked_and_a_refusal_passes_on_to_the_next() {
    let universe = Universe::new().await;
    let first = universe
        .connect_as("ada", wanting(SAFE), "ada-1")
        .await
        .unwrap()
        .id;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let second = universe
        .connect_as("ada", wanting(SAFE), "ada-2")
        .await
        .unwrap()
        .id;
    assert_ne!(first, second);
    let service = universe.service("worker", &["google:*"]);
    for (account, expected) in [(None, &first), (Some("ada-2"), &second), (Some("ada-1"), &first)] {
        let grant = universe
            .manager
            .issue_token(wanted("ada", SAFE, account), service.clone())
            .await
            .unwrap();
        assert_eq!(grant.integration_id, *expected, "{account:?}");
    }
    let by_id = wanted("ada", SAFE, Some(&second.to_string()));
    assert_eq!(
        universe
            .manager
            .issue_token(by_id, service.clone())
            .await
            .unwrap()
            .integration_id,
        second
    );
    let error = universe
        .manager
        .issue_token(wanted("ada", SAFE, Some("nobody")), service.clone())
        .await
        .unwrap_err();
    assert_eq!(error, ServiceError::NotConnected);

    universe
        .manager
        .revoke(&user("ada"), &first, by_user("ada"))
        .await
        .unwrap();
    let grant = universe
        .manager
        .issue_token(wanted("ada", SAFE, None), service.clone())
        .await
        .unwrap();
    assert_eq!(grant.integration_id, second, "the next one gives it");
    universe.end().await;
}
