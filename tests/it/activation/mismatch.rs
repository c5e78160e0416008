//! A reconnect that comes back as another account: the owner chooses, and until then the first grant is intact.

use oauth_manager::dev::simulator::{Endpoint, Provider};
use oauth_manager_actors::ports::store::AuthorizationStore as _;
use serde_json::{Value, json};

use super::{active, begin, connect, consents, features, link, page, refresh, service, token, view};
use crate::harness::{Api, Browser, ConsentPage, End, Service, ServiceOptions, begin_on_our_page};

/// Ada's first account is to be connected again, and she comes back as another one, in a browser with her session.
async fn come_back_as_ben(service: &Service, id: &str) -> (Browser, End) {
    let provider = id.split('_').next().unwrap();
    let request = json!({ "provider": provider, "integration_id": id });
    let begun = begin(service, "ada", request).await;
    come_back(service, link(&begun)).await
}

async fn come_back(service: &Service, link: &str) -> (Browser, End) {
    // A hint would let the provider skip its page.
    let mut browser = service.browser_of("ada").await;
    let away = browser.step(link).await;
    let mut url = away.url;
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != "login_hint")
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    url.query_pairs_mut()
        .clear()
        .extend_pairs(kept)
        .append_pair("_sim_user", "ben");
    let end = browser.open(url.as_str()).await;
    if end.status == 200 {
        return ConsentPage::of(browser, end).allow_as("ben").await;
    }
    // Ben has allowed all of it before.
    (browser, end)
}

async fn flow_of(api: &Api, end: &End) -> (String, Value) {
    let path = format!("/authorizations/{}", end.query("authorization_id").unwrap());
    let flow = api.get(&path).await.expect_status(200);
    (path, flow)
}

async fn choose(api: &Api, path: &str, choice: &str) -> crate::harness::Answer {
    api.post(&format!("{path}/confirm"), json!({ "choice": choice }))
        .await
}

async fn staged(service: &Service) -> i64 {
    let count = "SELECT count(*) FROM oauth_authorizations WHERE staged IS NOT NULL";
    service.sql().await.query_one(count, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_is_asked_about_and_the_first_grant_is_intact_until_chosen() {
    for provider in ["google", "microsoft", "notion", "youtube"] {
        let service = service().await;
        let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
        let feature = match provider {
            "notion" => "notion.pages".to_owned(),
            "youtube" => "youtube.playlists".to_owned(),
            other => format!("{other}.calendar"),
        };
        let id = connect(&service, "ada", &[&feature]).await;
        let (before, held) = (view(&ada, &id).await, token(&consumer, &feature).await);

        let (_, end) = come_back_as_ben(&service, &id).await;
        assert_eq!(
            (end.query("status").as_deref(), end.query("error").as_deref()),
            (Some("failed"), Some("account_mismatch")),
            "{end:?}"
        );
        let (path, flow) = flow_of(&ada, &end).await;
        assert_eq!(flow["status"], "account_mismatch");
        assert_eq!(flow["account_mismatch"]["connected"], before["account"]);
        assert_ne!(
            flow["account_mismatch"]["returned"]["id"],
            before["account"]["id"]
        );
        assert_eq!(flow["account_mismatch"]["choices"], json!(["keep", "connect"]));
        assert!(!flow.to_string().contains("token"), "{flow:#}");
        assert_eq!(view(&ada, &id).await, before);
        assert_eq!(token(&consumer, &feature).await, held);

        // Nobody else chooses, and nothing else is a choice.
        let ben = service.user("ben");
        choose(&ben, &path, "keep").await.expect_problem(404, "not_found");
        for body in [
            json!({ "choice": "swap" }),
            json!({ "choice": "keep", "confirmation": "x" }),
            json!({}),
        ] {
            let answer = ada.post(&format!("{path}/confirm"), body).await;
            answer.expect_problem(400, "invalid_request");
        }

        let second = choose(&ada, &path, "connect").await.expect_status(200);
        assert_eq!(
            second["account"], flow["account_mismatch"]["returned"],
            "{provider}"
        );
        assert_eq!(features(&second), active(&[&feature]));
        assert_eq!(view(&ada, &id).await, before);
        let again = choose(&ada, &path, "connect").await.expect_status(200);
        assert_eq!(again["id"], second["id"]);
        choose(&ada, &path, "keep")
            .await
            .expect_problem(400, "invalid_request");
        let list = ada.get("/integrations").await.expect_status(200);
        assert_eq!(list["items"].as_array().unwrap().len(), 2, "{list:#}");
        for id in [id.as_str(), second["id"].as_str().unwrap()] {
            consumer
                .get(&format!("/integrations/{id}/token"))
                .await
                .expect_status(200);
            refresh(&ada, id).await;
            assert_eq!(consents(&ada, id).await, 1);
        }
        assert_eq!(staged(&service).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keeping_the_first_account_drops_the_other_grant_here_and_at_the_provider() {
    for (provider, feature) in [
        (Provider::Google, "google.calendar"),
        (Provider::Notion, "notion.pages"),
        (Provider::Oidc, "acme.profile"),
    ] {
        let service = service().await;
        let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
        let id = connect(&service, "ada", &[feature]).await;
        let (before, held) = (view(&ada, &id).await, token(&consumer, feature).await);
        let (_, end) = come_back_as_ben(&service, &id).await;
        let (path, _) = flow_of(&ada, &end).await;
        let told = |service: &Service| service.simulator.requests_to(provider, Endpoint::Revoke).len();
        assert_eq!(told(&service), 0);
        let kept = choose(&ada, &path, "keep").await.expect_status(200);
        assert_eq!(kept, before);
        assert!(told(&service) > 0, "{feature}: the provider was not told");
        assert_eq!(service.simulator.refusals().len(), 0);
        assert_eq!(staged(&service).await, 0);
        let (_, flow) = flow_of(&ada, &end).await;
        assert_eq!(
            (&flow["status"], &flow["error"]),
            (&json!("failed"), &json!("account_mismatch"))
        );
        // Said twice, it is so once.
        choose(&ada, &path, "keep").await.expect_status(200);
        choose(&ada, &path, "connect")
            .await
            .expect_problem(400, "invalid_request");
        assert_eq!(token(&consumer, feature).await, held);
        assert!(service.simulator.access_token_is_live(&held));
        refresh(&ada, &id).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_somebody_lives_on_is_not_ended_by_not_wanting_it() {
    let service = service().await;
    let (ada, ben) = (service.user("ada"), service.user("ben"));
    let id = connect(&service, "ada", &["google.calendar"]).await;
    // Another user has connected the very account that Ada comes back as.
    let request = json!({ "provider": "google", "features": ["google.calendar"] });
    let (_, end) = page(&service, "ben", request).await.allow_as("ben").await;
    let (_, flow) = flow_of(&ben, &end).await;
    let bens = flow["integration_id"].as_str().unwrap();
    let (_, end) = come_back_as_ben(&service, &id).await;
    let (path, _) = flow_of(&ada, &end).await;
    choose(&ada, &path, "keep").await.expect_status(200);
    refresh(&ben, bens).await;
    refresh(&ada, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_staged_grant_survives_a_restart_is_sealed_and_goes_with_its_flow() {
    let service = service().await;
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let (_, first) = come_back_as_ben(&service, &id).await;
    let (_, second) = come_back_as_ben(&service, &id).await;
    assert_eq!(staged(&service).await, 2);
    let row = "SELECT staged FROM oauth_authorizations WHERE staged IS NOT NULL LIMIT 1";
    let sealed: Vec<u8> = service.sql().await.query_one(row, &[]).await.unwrap().get(0);
    for clear in ["ya29.", "1//0g", "access_token", "ben"] {
        assert!(
            !sealed.windows(clear.len()).any(|part| part == clear.as_bytes()),
            "{clear}"
        );
    }

    let options = ServiceOptions {
        database_url: Some(service.database_url.clone()),
        ..ServiceOptions::default()
    };
    let (simulator, _) = service.stop().await;
    let service = Service::start_before(simulator, options).await;
    let ada = service.user("ada");
    let (path, _) = flow_of(&ada, &first).await;
    let connected = choose(&ada, &path, "connect").await.expect_status(200);
    assert_ne!(connected["id"], id.as_str());
    refresh(&ada, connected["id"].as_str().unwrap()).await;

    let past =
        "UPDATE oauth_authorizations SET expires_at = now() - interval '1 second' WHERE staged IS NOT NULL";
    service.sql().await.execute(past, &[]).await.unwrap();
    let (path, flow) = flow_of(&ada, &second).await;
    assert_eq!(flow["status"], "expired");
    choose(&ada, &path, "connect")
        .await
        .expect_problem(410, "expired");
    service.assembly().storage.purge().await.unwrap();
    let held = "SELECT count(*) FROM oauth_authorizations WHERE staged IS NOT NULL OR data_key IS NOT NULL";
    let held: i64 = service.sql().await.query_one(held, &[]).await.unwrap().get(0);
    assert_eq!(held, 0);
    refresh(&ada, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_confirms_hears_of_the_mismatch_and_chooses_for_its_user() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let request = json!({ "provider": "google", "features": ["google.gmail"], "integration_id": id });
    let begun = begin(&service, "ada", request).await;
    let page = ConsentPage::open_in(service.browser(), link(&begun)).await;
    let (_, end) = page.allow_as("ben").await;
    assert_eq!(
        end.query("status").as_deref(),
        Some("confirmation_required"),
        "{end:?}"
    );
    let (path, _) = flow_of(&ada, &end).await;
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    let answer = ada.post(&format!("{path}/confirm"), confirmation.clone()).await;
    let problem = answer.expect_problem(409, "account_mismatch");
    assert!(
        problem["detail"].as_str().unwrap().contains("choice"),
        "{problem:#}"
    );
    // An answer that was lost is given again.
    let answer = ada.post(&format!("{path}/confirm"), confirmation).await;
    answer.expect_problem(409, "account_mismatch");
    let second = choose(&ada, &path, "connect").await.expect_status(200);
    assert_eq!(features(&second), active(&["google.gmail"]));
    assert_eq!(features(&view(&ada, &id).await), active(&["google.calendar"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_pages_ask_with_two_buttons_that_only_they_can_press() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["google.calendar"]).await;
    let field = |body: &str, name: &str| {
        let rest = body.split(&format!("name=\"{name}\" value=\"")).nth(1);
        rest.unwrap_or_else(|| panic!("no {name} in {body}"))
            .split('"')
            .next()
            .unwrap()
            .to_owned()
    };
    // Where the application named no address to go back to, and on our own page of connections.
    for (own_page, choice) in [(false, "keep"), (true, "connect")] {
        let (mut browser, end) = if own_page {
            let (mut browser, end) = come_back_as_ben(&service, &id).await;
            let flow = end.query("authorization_id").unwrap();
            let path = format!("/connections?status=failed&error=account_mismatch&authorization_id={flow}");
            let end = browser.open(&format!("{}{path}", service.base_url)).await;
            (browser, end)
        } else {
            let request = json!({ "provider": "google", "integration_id": id });
            let mut page = service.browser_of("ada").await;
            let begun = begin_on_our_page(&service, &mut page, request).await;
            come_back(&service, link(&begun)).await
        };
        let body = end.body;
        assert!(
            body.contains("Ben Okafor") && body.contains("Ada Lindqvist"),
            "{body}"
        );
        assert!(body.contains("value=\"keep\"") && body.contains("value=\"connect\""));
        let (csrf, flow) = (field(&body, "csrf"), field(&body, "authorization_id"));
        let url = format!("{}/connections/choose", service.base_url);
        let forged = [
            ("csrf", "forged"),
            ("authorization_id", &flow),
            ("choice", choice),
        ];
        assert_eq!(browser.submit(&url, &forged).await.status, 403);
        let end = browser
            .submit(
                &url,
                &[("csrf", &csrf), ("authorization_id", &flow), ("choice", choice)],
            )
            .await;
        assert_eq!(end.status, 200, "{end:?}");
        let list = ada.get("/integrations").await.expect_status(200);
        let expected = if choice == "keep" { 1 } else { 2 };
        assert_eq!(list["items"].as_array().unwrap().len(), expected, "{choice}");
    }
}
