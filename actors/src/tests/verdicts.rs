//! How far a verdict reaches: one account's answer and one flow's answer are nobody else's matter.

use std::time::Duration;

use crate::{
    domain::{error::ServiceError, ids::IntegrationId, integration::Status, reason::WhoMustAct},
    handle::{BreakerState, EgressView},
    ports::{oauth::FailureKind, store::FaultKind},
    testing::{
        oauth::{Call, Outcome},
        universe::{SAFE, SINGLE_USE, Universe, by_user, user, wanting},
    },
};

const MINUTE: Duration = Duration::from_secs(60);

/// Every kind but the one that is about all: as an engine may say it of one account or one flow.
const OF_ONE: &[(FailureKind, &str)] = &[
    (FailureKind::AccountThrottled, "aadsts50196"),
    (FailureKind::DeadGrant, "invalid_grant"),
    (FailureKind::Interaction, "mfa_required"),
    (FailureKind::Admin, "aadsts53003"),
    (FailureKind::Tenant, "aadsts700016"),
    (FailureKind::BadRequest, "invalid_scope"),
    (FailureKind::Unreadable, "answer_not_json"),
    (FailureKind::Refused, "http_401"),
    (FailureKind::Refused, "unauthorized_client"),
];

async fn egress(universe: &Universe, provider: &str) -> EgressView {
    let observed = universe
        .manager
        .observe(&provider.parse().unwrap())
        .await
        .unwrap();
    observed.egress.unwrap()
}

async fn refresh(universe: &Universe, owner: &str, id: &IntegrationId) -> Result<(), ServiceError> {
    let refreshed = universe.manager.refresh(&user(owner), id, by_user(owner)).await;
    refreshed.map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn one_accounts_answer_leaves_the_others_refreshing_and_new_users_connecting() {
    for provider in [SAFE, SINGLE_USE] {
        let universe = Universe::new().await;
        let healthy = universe.connect("healthy", provider).await;
        for (n, (kind, reason)) in OF_ONE.iter().enumerate() {
            let name = format!("user{n}");
            let id = universe.connect(&name, provider).await;
            // Again and again, as long as it is tried at all.
            for _ in 0..5 {
                universe
                    .provider
                    .next(provider, Call::Refresh, Outcome::Fail(*kind, reason));
                let calls = universe.provider.calls(provider, Call::Refresh);
                let answer = refresh(&universe, &name, &id).await;
                if universe.provider.calls(provider, Call::Refresh) == calls {
                    // Nothing was asked, so the answer is still to come: it is not for the others.
                    universe.provider.forget(provider, Call::Refresh);
                    break;
                }
                assert!(answer.is_err(), "{reason}");
                refresh(&universe, "healthy", &healthy).await.unwrap();
            }
            universe.connect(&format!("new{n}"), provider).await;
            let view = egress(&universe, provider).await;
            assert_eq!(view.breaker, BreakerState::Closed, "{kind:?} {reason}");
        }
        universe.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_code_exchange_leaves_the_breaker_closed_whatever_was_answered() {
    let universe = Universe::new().await;
    let healthy = universe.connect("healthy", SAFE).await;
    let outages = [
        (FailureKind::Passing, "http_429"),
        (FailureKind::OutcomeUnknown, "http_500"),
    ];
    for (kind, reason) in OF_ONE.iter().chain(&outages) {
        for n in 0..12 {
            universe
                .provider
                .next(SAFE, Call::Exchange, Outcome::Fail(*kind, reason));
            let name = format!("eve{n}");
            universe
                .connect_as(&name, wanting(SAFE), &name)
                .await
                .unwrap_err();
        }
        let view = egress(&universe, SAFE).await;
        assert_eq!(view.breaker, BreakerState::Closed, "{kind:?} {reason}");
        refresh(&universe, "healthy", &healthy).await.unwrap();
    }
    // What is about our client is everybody's.
    let unknown = Outcome::Fail(FailureKind::Operator, "invalid_client");
    universe.provider.next(SAFE, Call::Exchange, unknown);
    universe
        .connect_as("ada", wanting(SAFE), "ada")
        .await
        .unwrap_err();
    assert_eq!(egress(&universe, SAFE).await.cause, Some(FaultKind::Operator));
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_made_up_code_does_not_close_a_breaker_that_our_own_secret_opened() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let unknown = Outcome::Fail(FailureKind::Operator, "invalid_client");
    universe.provider.next(SAFE, Call::Refresh, unknown);
    refresh(&universe, "ada", &id).await.unwrap_err();
    let departed = universe.depart("eve", wanting(SAFE)).await;
    let confirmation = universe.agree(&departed, "eve").await;
    // Long enough for a probe, which is the flow's.
    universe.provider.always(
        SAFE,
        Call::Refresh,
        Outcome::Fail(FailureKind::Operator, "invalid_client"),
    );
    universe.provider.next(
        SAFE,
        Call::Exchange,
        Outcome::Fail(FailureKind::DeadGrant, "invalid_grant"),
    );
    tokio::time::sleep(Duration::from_secs(31)).await;
    let confirmed = universe
        .manager
        .confirm_authorization(
            user("eve"),
            departed.authorization_id,
            confirmation,
            by_user("eve"),
        )
        .await;
    assert!(confirmed.is_err());
    assert_eq!(
        universe.provider.calls(SAFE, Call::Exchange),
        2,
        "it was the probe"
    );
    assert_eq!(egress(&universe, SAFE).await.cause, Some(FaultKind::Operator));
    universe.end().await;
}

async fn refused_by(universe: &Universe, tenants: &[&'static str], kind: FailureKind) -> Vec<IntegrationId> {
    let mut ids = Vec::new();
    for n in 0..tenants.len() {
        ids.push(universe.connect(&format!("user{n}"), SAFE).await);
    }
    for (n, tenant) in tenants.iter().enumerate() {
        let refused = Outcome::FailAt(tenant, kind, "aadsts700016");
        universe.provider.next(SAFE, Call::Refresh, refused);
        let _ = refresh(universe, &format!("user{n}"), &ids[n]).await;
    }
    ids
}

#[tokio::test(start_paused = true)]
async fn one_organisations_accounts_are_paused_for_its_administrator_and_keep_their_tokens() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let ids = refused_by(&universe, &["one"; 6], FailureKind::Tenant).await;
    for id in &ids {
        let row = universe.store.row(id);
        assert_eq!(
            (row.standing.status, row.standing.who_must_act),
            (Status::Paused, Some(WhoMustAct::Admin))
        );
    }
    assert_eq!(egress(&universe, SAFE).await.breaker, BreakerState::Closed);
    // The administrator puts it right; nobody does anything else.
    tokio::time::sleep(MINUTE * 90).await;
    for id in &ids {
        assert_eq!(universe.store.row(id).standing.status, Status::Active);
    }
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn several_organisations_that_refuse_alike_while_none_is_served_name_the_operator() {
    for kind in [FailureKind::Tenant, FailureKind::Refused, FailureKind::BadRequest] {
        let universe = Universe::new().await;
        refused_by(&universe, &["one", "one", "two", "three"], kind).await;
        let view = egress(&universe, SAFE).await;
        assert_eq!(view.cause, Some(FaultKind::Operator), "{kind:?}");
        universe.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_placed_names_the_operator_and_comes_to_an_end() {
    let universe = Universe::tuned(|settings| settings.idle_after = None).await;
    let id = universe.connect("ada", SAFE).await;
    let odd = Outcome::Fail(FailureKind::Refused, "errcode_40030");
    universe.provider.always(SAFE, Call::Refresh, odd);
    let error = refresh(&universe, "ada", &id).await.unwrap_err();
    assert_eq!(error.who_must_act(), WhoMustAct::Operator, "{error}");
    let standing = universe.store.row(&id).standing;
    assert_eq!(
        (standing.status, standing.who_must_act),
        (Status::Degraded, Some(WhoMustAct::Operator))
    );
    tokio::time::sleep(MINUTE * 30).await;
    let standing = universe.store.row(&id).standing;
    assert_eq!(
        (standing.status, standing.who_must_act),
        (Status::ReauthRequired, Some(WhoMustAct::User))
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_with_our_request_never_asks_a_user_to_reconnect() {
    for (kind, reason) in [
        (FailureKind::BadRequest, "invalid_scope"),
        (FailureKind::Unreadable, "answer_not_json"),
    ] {
        let universe = Universe::tuned(|settings| settings.idle_after = None).await;
        let (ada, bob) = (
            universe.connect("ada", SAFE).await,
            universe.connect("bob", SAFE).await,
        );
        for _ in 0..6 {
            universe
                .provider
                .next(SAFE, Call::Refresh, Outcome::Fail(kind, reason));
            refresh(&universe, "ada", &ada).await.unwrap_err();
            refresh(&universe, "bob", &bob).await.unwrap();
        }
        let standing = universe.store.row(&ada).standing;
        assert_eq!(
            (standing.status, standing.who_must_act),
            (Status::Degraded, Some(WhoMustAct::Operator)),
            "{reason}"
        );
        // And it heals by itself.
        tokio::time::sleep(MINUTE * 16).await;
        assert_eq!(universe.store.row(&ada).standing.status, Status::Active);
        universe.end().await;
    }
}
