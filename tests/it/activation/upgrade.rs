//! One feature more.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::json;

use super::{GMAIL, active, begin, connect, consents, features, link, page, refresh, service, token, view};
use crate::harness::ConsentPage;

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_lists_only_the_addition_and_ends_as_one_account_with_two_features_and_two_consents() {
    for (first, second, addition) in [
        ("google.calendar", "google.gmail", GMAIL),
        ("microsoft.calendar", "microsoft.mail", "Mail.Read"),
    ] {
        let service = service().await;
        let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
        let id = connect(&service, "ada", &[first]).await;
        assert_eq!(consents(&ada, &id).await, 1);
        let provider = first.split('.').next().unwrap();
        let request = json!({ "provider": provider, "features": [second], "integration_id": id });
        let page = page(&service, "ada", request).await;
        assert_eq!(page.listed, [addition], "{provider}");
        let (_, end) = page.allow().await;
        assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");

        let list = ada.get("/integrations").await.expect_status(200);
        assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list:#}");
        // The refresh token, too, is good for both.
        for _ in 0..2 {
            assert_eq!(
                features(&view(&ada, &id).await),
                active(&[first, second]),
                "{provider}"
            );
            token(&consumer, first).await;
            token(&consumer, second).await;
            refresh(&ada, &id).await;
        }
        assert_eq!(consents(&ada, &id).await, 2);
        let audit = ada.get("/audit?limit=200").await.expect_status(200).to_string();
        assert_eq!(audit.matches("\"upgrade\"").count(), 1, "{audit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_missing_is_requested_where_the_provider_adds_it_to_what_it_granted() {
    let service = service().await;
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let more = json!({ "provider": "google", "features": ["google.gmail"], "integration_id": id });
    let begun = begin(&service, "ada", more).await;
    assert_eq!(
        begun["requested_scopes"],
        json!(["email", GMAIL, "openid", "profile"])
    );
    // Nothing is missing: the account is connected again, and nobody is asked anything.
    let again = json!({ "provider": "google", "integration_id": id });
    let begun = begin(&service, "ada", again).await;
    let end = service.browser_of("ada").await.open(link(&begun)).await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");

    // Elsewhere a new grant is only what was asked for with it.
    let id = connect(&service, "ada", &["acme.profile"]).await;
    let more = json!({ "provider": "acme", "features": ["acme.notes"], "integration_id": id });
    let begun = begin(&service, "ada", more).await;
    assert_eq!(
        begun["requested_scopes"],
        json!(["notes.read", "offline_access", "openid", "profile"])
    );
    let page = ConsentPage::open(&service, "ada", link(&begun)).await;
    page.allow().await;
    let ada = service.user("ada");
    assert_eq!(
        features(&view(&ada, &id).await),
        active(&["acme.notes", "acme.profile"])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_is_denied_abandoned_unticked_or_fails_leaves_everything_as_it_was() {
    for (first, second) in [
        ("google.calendar", "google.gmail"),
        ("microsoft.calendar", "microsoft.mail"),
    ] {
        let service = service().await;
        let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
        let id = connect(&service, "ada", &[first]).await;
        let (before, held) = (view(&ada, &id).await, token(&consumer, first).await);
        let provider = Provider::from_key(first.split('.').next().unwrap()).unwrap();
        for end in ["denied", "abandoned", "unticked", "failed", "lost"] {
            let request = json!({ "provider": provider.key(), "features": [second], "integration_id": id });
            let page = page(&service, "ada", request).await;
            let came_back = match end {
                "abandoned" => None,
                "denied" => Some(page.deny().await),
                "unticked" => Some(page.tick(&[]).await),
                _ => {
                    let fault = match end {
                        "failed" => Fault::Error {
                            code: "invalid_grant".to_owned(),
                        },
                        _ => Fault::ServerError { status: 500 },
                    };
                    service.simulator.inject(provider, Endpoint::Exchange, fault, 1);
                    Some(page.allow().await)
                }
            };
            if let Some((_, came_back)) = came_back {
                let told = match end {
                    "denied" | "unticked" => "denied",
                    _ => "failed",
                };
                assert_eq!(
                    came_back.query("status").as_deref(),
                    Some(told),
                    "{end}: {came_back:?}"
                );
            }
            assert_eq!(view(&ada, &id).await, before, "{end}");
            assert_eq!(token(&consumer, first).await, held, "{end}");
            assert!(service.simulator.access_token_is_live(&held), "{end}");
            assert_eq!(consents(&ada, &id).await, 1, "{end}");
            let refused = consumer.get(&format!("/users/ada/token?feature={second}")).await;
            refused.expect_problem(403, "insufficient_scope");
        }
        // What the account holds can still be refreshed.
        refresh(&ada, &id).await;
        token(&consumer, first).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_confirms_an_upgrade_of_which_nothing_was_granted_hears_what_is_missing() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let before = view(&ada, &id).await;
    let request = json!({ "provider": "google", "features": ["google.gmail"], "integration_id": id });
    let begun = begin(&service, "ada", request).await;
    let page = ConsentPage::open_in(service.browser(), link(&begun)).await;
    let (_, end) = page.tick(&[]).await;
    let path = format!("/authorizations/{}", end.query("authorization_id").unwrap());
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    let problem = ada.post(&format!("{path}/confirm"), confirmation).await;
    let problem = problem.expect_problem(403, "insufficient_scope");
    assert_eq!(problem["missing_scopes"], json!([GMAIL]));
    assert_eq!(problem["upgrade"]["integration_id"], id.as_str());
    let flow = ada.get(&path).await.expect_status(200);
    assert_eq!(
        (&flow["status"], &flow["error"]),
        (&json!("denied"), &json!("nothing_granted"))
    );
    assert_eq!(view(&ada, &id).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_additions_the_one_that_is_ticked_is_active_and_the_other_is_missing_scopes() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let request =
        json!({ "provider": "google", "features": ["google.gmail", "google.tasks"], "integration_id": id });
    let page = page(&service, "ada", request).await;
    assert_eq!(page.listed.len(), 2, "{:?}", page.listed);
    page.tick(&["gmail.readonly"]).await;
    let mut expected = active(&["google.calendar", "google.gmail"]);
    expected.push(("google.tasks".to_owned(), "missing_scopes".to_owned()));
    assert_eq!(features(&view(&ada, &id).await), expected);
    assert_eq!(consents(&ada, &id).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_switched_off_or_taken_back_is_not_asked_for_again() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar", "google.gmail"]).await;
    ada.delete(&format!("/integrations/{id}/features/google.gmail"))
        .await
        .expect_status(200);
    let again = json!({ "provider": "google", "integration_id": id });
    let asked = |begun: &serde_json::Value| begun["requested_scopes"].to_string();
    let begun = begin(&service, "ada", again.clone()).await;
    assert!(!asked(&begun).contains("gmail"), "{begun:#}");
    assert!(asked(&begun).contains("calendar"), "{begun:#}");
    // Nor by a flow that began while it was on.
    ada.send(
        reqwest::Method::PUT,
        &format!("/integrations/{id}/features/google.gmail"),
        None,
    )
    .await
    .expect_status(200);
    let begun = begin(&service, "ada", again.clone()).await;
    assert!(asked(&begun).contains("gmail"), "{begun:#}");
    ada.delete(&format!("/integrations/{id}/features/google.gmail"))
        .await
        .expect_status(200);
    let end = service.browser_of("ada").await.open(link(&begun)).await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
    assert_eq!(features(&view(&ada, &id).await), active(&["google.calendar"]));
    // The whole grant is dead: all that is on is asked for, what is off is not.
    let dead = "UPDATE oauth_integrations SET status = 'reauth_required', status_reason = 'invalid_grant', \
                who_must_act = 'user'";
    service.sql().await.execute(dead, &[]).await.unwrap();
    service.simulator.revoke(Provider::Google, None);
    let begun = begin(&service, "ada", again.clone()).await;
    assert!(!asked(&begun).contains("gmail"), "{begun:#}");
    ConsentPage::open(&service, "ada", link(&begun))
        .await
        .allow()
        .await;
    assert_eq!(features(&view(&ada, &id).await), active(&["google.calendar"]));

    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    let tasks = json!({ "provider": "google", "features": ["google.tasks"], "integration_id": id });
    let begun = begin(&service, "ada", tasks).await;
    let asked = asked(&begun);
    assert!(!asked.contains("gmail") && !asked.contains("calendar"), "{asked}");
    ConsentPage::open(&service, "ada", link(&begun))
        .await
        .allow()
        .await;
    assert_eq!(features(&view(&ada, &id).await), active(&["google.tasks"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_the_same_account_for_something_else_does_not_narrow_what_it_holds() {
    let service = service().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    let id = connect(&service, "ada", &["acme.profile"]).await;
    let (before, held) = (view(&ada, &id).await, token(&consumer, "acme.profile").await);
    // Nobody said that it was this account, and this provider forgets what is not asked for again.
    let notes = json!({ "provider": "acme", "features": ["acme.notes"] });
    let (_, end) = page(&service, "ada", notes).await.allow().await;
    assert_eq!(
        (end.query("status").as_deref(), end.query("error").as_deref()),
        (Some("failed"), Some("would_narrow"))
    );
    assert_eq!(view(&ada, &id).await, before);
    assert_eq!(token(&consumer, "acme.profile").await, held);

    // At providers that remember it is simply one feature more.
    for (first, second) in [
        ("google.calendar", "google.gmail"),
        ("microsoft.calendar", "microsoft.mail"),
    ] {
        let id = connect(&service, "ada", &[first]).await;
        assert_eq!(connect(&service, "ada", &[second]).await, id);
        refresh(&ada, &id).await;
        assert_eq!(features(&view(&ada, &id).await), active(&[first, second]));
    }
}
