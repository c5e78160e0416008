//! Connect flows: who finishes is who began, and nothing is exchanged before that is proved.

use crate::{
    domain::{
        authorization::{AuthorizationStatus, CallbackBrowser, CallbackParams, CallbackResult, Choice},
        error::ServiceError,
        reason::ReasonCode,
        secret::{AuthorizationCode, BrowserBinding, State},
    },
    ports::oauth::CallbackIssuer,
    testing::{
        oauth::Call,
        store::Op,
        universe::{Departed, SAFE, SINGLE_USE, Universe, by_user, user, wanting},
    },
};

/// What is wrong with a callback: a change to what would have been right.
type Wrong = fn(&Universe, &mut Departed, &mut CallbackParams, &mut CallbackBrowser);

fn issuer() -> CallbackIssuer {
    CallbackIssuer {
        issuer: "https://google.example.com".into(),
        required: true,
    }
}

const WRONG: &[(&str, Wrong)] = &[
    ("state_missing", |_, _, params, _| params.state = None),
    ("state_unknown", |_, _, params, _| {
        params.state = Some(State::new("guessed"));
    }),
    ("provider_mismatch", |_, departed, _, _| {
        departed.provider = SINGLE_USE.into();
    }),
    ("browser_mismatch", |_, _, _, browser| browser.bindings.clear()),
    ("browser_mismatch", |_, _, _, browser| {
        browser.bindings = vec![BrowserBinding::new("other")];
    }),
    ("binding_mismatch", |_, _, _, browser| {
        browser.session = Some(user("eve"));
    }),
    ("conflicting_parameters", |_, _, params, _| {
        params.conflicting = true;
    }),
    ("issuer_mismatch", |it, _, params, _| {
        it.provider.set_issuer(SAFE, Some(issuer()));
        params.issuer = Some("https://evil.example.com".into());
    }),
    ("issuer_mismatch", |it, _, _, _| {
        it.provider.set_issuer(SAFE, Some(issuer()));
    }),
    ("code_missing", |_, _, params, _| params.code = None),
    ("access_denied", |_, _, params, _| {
        params.code = None;
        params.error = Some(ReasonCode::new("access_denied"));
    }),
    ("server_error", |_, _, params, _| {
        params.error = Some(ReasonCode::new("server_error"));
    }),
];

#[tokio::test(start_paused = true)]
async fn a_callback_with_anything_wrong_exchanges_nothing_and_is_audited() {
    for (expected, wrong) in WRONG {
        let universe = Universe::new().await;
        let mut departed = universe.depart("ada", wanting(SAFE)).await;
        let code = universe.provider.consent(SAFE, &departed.location, "ada");
        let mut params = departed.with_code(code);
        let mut browser = departed.own_browser();
        wrong(&universe, &mut departed, &mut params, &mut browser);
        let outcome = universe.come_back(&departed, params, browser).await.unwrap();
        let (CallbackResult::Failed(reason) | CallbackResult::Denied(reason)) = outcome.result else {
            panic!("{expected}: {:?}", outcome.result);
        };
        assert_eq!(reason.as_str(), *expected);
        assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 0, "{expected}");
        let audited = universe
            .store
            .audit_rows()
            .into_iter()
            .filter_map(|row| row.error);
        assert!(
            audited.into_iter().any(|error| error == reason),
            "{expected} is not audited"
        );
        universe.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_is_used_once_and_its_browser_is_told_the_same_again() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let first = universe.agree(&departed, "ada").await;
    let again = || departed.with_code(AuthorizationCode::new("code-again"));
    let own = universe
        .come_back(&departed, again(), departed.own_browser())
        .await;
    let CallbackResult::ConfirmationRequired(second) = own.unwrap().result else {
        panic!("its browser is not led on");
    };
    assert_eq!(first.expose(), second.expose());
    // Any other learns nothing, whatever else it holds.
    let strangers = [
        CallbackBrowser::default(),
        CallbackBrowser {
            bindings: vec![BrowserBinding::new("other")],
            session: Some(user("ada")),
        },
        CallbackBrowser {
            session: Some(user("eve")),
            ..departed.own_browser()
        },
    ];
    for stranger in strangers {
        let outcome = universe.come_back(&departed, again(), stranger).await.unwrap();
        assert!(outcome.authorization_id.is_none() && outcome.return_to.is_none());
        assert!(matches!(outcome.result, CallbackResult::Failed(_)));
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 0);
    universe.end().await;
}

/// The browser shows the answer to the last of several requests: both are told how the one exchange ended.
#[tokio::test(start_paused = true)]
async fn two_callbacks_at_once_exchange_once_and_are_told_the_same() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let code = universe.provider.consent(SAFE, &departed.location, "ada");
    let browser = CallbackBrowser {
        session: Some(user("ada")),
        ..departed.own_browser()
    };
    let arrive = || universe.come_back(&departed, departed.with_code(code.clone()), browser.clone());
    let (one, two, three) = tokio::join!(arrive(), arrive(), arrive());
    for outcome in [one, two, three] {
        let result = outcome.unwrap().result;
        assert!(matches!(result, CallbackResult::Connected(_)), "{result:?}");
    }
    assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_flow_that_took_too_long_is_over() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let code = universe.provider.consent(SAFE, &departed.location, "ada");
    tokio::time::sleep(std::time::Duration::from_secs(601)).await;
    let outcome = universe
        .come_back(&departed, departed.with_code(code), departed.own_browser())
        .await;
    assert!(matches!(outcome.unwrap().result, CallbackResult::Failed(_)));
    assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 0);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_owners_own_session_connects_at_once() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let code = universe.provider.consent(SAFE, &departed.location, "ada");
    let browser = CallbackBrowser {
        session: Some(user("ada")),
        ..departed.own_browser()
    };
    let outcome = universe
        .come_back(&departed, departed.with_code(code), browser)
        .await
        .unwrap();
    assert!(matches!(outcome.result, CallbackResult::Connected(_)));
    universe.token("ada", SAFE).await.unwrap();
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_user_who_confirms_is_refused_and_the_code_is_dropped() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let confirmation = universe.agree(&departed, "ada").await;
    let id = departed.authorization_id;
    let by_eve = universe
        .manager
        .confirm_authorization(user("eve"), id, confirmation.clone(), by_user("eve"))
        .await;
    assert_eq!(by_eve.unwrap_err(), ServiceError::BindingMismatch);
    let by_ada = universe
        .manager
        .confirm_authorization(user("ada"), id, confirmation, by_user("ada"))
        .await;
    assert!(by_ada.is_err());
    assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 0);
    let view = universe.manager.authorization(&user("ada"), id).await.unwrap();
    assert_eq!(view.status, AuthorizationStatus::Failed);
    let audited = universe
        .store
        .audit_rows()
        .into_iter()
        .filter_map(|row| row.error);
    assert!(
        audited
            .into_iter()
            .any(|error| error.as_str() == "binding_mismatch")
    );
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn confirming_twice_connects_once() {
    let universe = Universe::new().await;
    let departed = universe.depart("ada", wanting(SAFE)).await;
    let confirmation = universe.agree(&departed, "ada").await;
    let confirm = || {
        let id = departed.authorization_id;
        universe
            .manager
            .confirm_authorization(user("ada"), id, confirmation.clone(), by_user("ada"))
    };
    let first = confirm().await.unwrap();
    assert_eq!(confirm().await.unwrap().id, first.id);
    assert_eq!(universe.provider.calls(SAFE, Call::Exchange), 1);
    universe.end().await;
}

#[tokio::test(start_paused = true)]
async fn reconnecting_as_another_account_is_refused_and_the_first_grant_stays() {
    let universe = Universe::new().await;
    let id = universe.connect("ada", SAFE).await;
    let before = universe.grant(&id);
    // The database keeps the new grant, and its answer is lost.
    universe.store.tear_next(Op::Stage, 1);
    let again = crate::domain::authorization::AuthorizationRequest {
        integration_id: Some(id.clone()),
        ..wanting(SAFE)
    };
    let error = universe
        .connect_as("ada", again, "somebody-else")
        .await
        .unwrap_err();
    assert_eq!(error, ServiceError::AccountMismatch);
    assert_eq!(universe.grant(&id), before);
    universe.token("ada", SAFE).await.unwrap();
    assert_eq!(universe.provider.calls(SAFE, Call::Revoke), 0);
    let flows = universe.store.audit_rows().into_iter();
    let flow = flows.filter_map(|row| row.authorization_id).next_back().unwrap();
    let view = universe.manager.authorization(&user("ada"), flow).await.unwrap();
    assert_eq!(view.status, AuthorizationStatus::AccountMismatch);
    assert_eq!(view.account_mismatch.unwrap().returned.id, "somebody-else");

    // Both at once: one of them is it.
    let choose = |choice| {
        let context = by_user("ada");
        universe
            .manager
            .choose_account(user("ada"), flow, choice, context)
    };
    let (kept, connected) = tokio::join!(choose(Choice::Keep), choose(Choice::Connect));
    assert_ne!(kept.is_ok(), connected.is_ok(), "{kept:?} {connected:?}");
    assert_eq!(universe.grant(&id), before);
    universe.end().await;
}
