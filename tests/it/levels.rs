//! Features and their levels: what the catalogue says, who receives what, and what makes no sense.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Api, Service, eventually};

const CALENDAR: &str = "https://www.googleapis.com/auth/calendar.readonly";
const EVENTS: &str = "https://www.googleapis.com/auth/calendar.events";
const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";

async fn connect(service: &Service, provider: &str, features: &[&str]) -> String {
    let request = json!({ "provider": provider, "features": features });
    let view = service.connect_with("ada", request).await;
    view["id"].as_str().unwrap().to_owned()
}

/// Walks the link of an answer, and comes back.
async fn grant(service: &Service, begun: &Value) {
    let url = begun["authorization_url"].as_str().unwrap();
    service.browser_of("ada").await.open(url).await;
}

fn keys(view: &Value) -> Vec<&str> {
    let features = view["features"].as_array().unwrap();
    features
        .iter()
        .map(|state| state["key"].as_str().unwrap())
        .collect()
}

fn refused_as_too_wide(answer: Answer, beyond: &str) {
    let problem = answer.expect_problem(403, "forbidden");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(beyond) && detail.contains("google:*"), "{detail}");
    assert!(problem.get("access_token").is_none(), "{problem:#}");
}

async fn ask(api: &Api, path: &str) -> Answer {
    api.get(path).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_for_the_calendar_never_receives_a_token_for_mail() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let calendar = service.service(&["google:calendar"]).await;
    let both = service.service(&["google:calendar", "google:gmail"]).await;
    let any = service.service(&["google:*"]).await;
    let node = service.second_node().await;
    let elsewhere = Api::new(
        service.http.clone(),
        &node.base_url,
        Some(calendar.token().to_owned()),
    );
    let id = connect(&service, "google", &["google.calendar"]).await;
    let for_calendar = [
        "/users/ada/token?feature=google.calendar".to_owned(),
        "/users/ada/token?provider=google".to_owned(),
        format!("/users/ada/token?scopes={CALENDAR}"),
        format!("/users/ada/token?provider=google&account={id}"),
        format!("/integrations/{id}/token"),
    ];
    let for_mail = [
        "/users/ada/token?feature=google.gmail".to_owned(),
        "/users/ada/token?feature=google.gmail.write".to_owned(),
        format!("/users/ada/token?scopes={GMAIL}"),
        format!("/users/ada/token?scopes={CALENDAR}+{GMAIL}"),
    ];
    for path in &for_calendar {
        // Twice: asked of the account, and found on the shelf.
        calendar.get(path).await.expect_status(200);
        calendar.get(path).await.expect_status(200);
        elsewhere.get(path).await.expect_status(200);
    }
    for path in &for_mail {
        calendar.get(path).await.expect_problem(403, "forbidden");
    }

    // The same account, widened by mail: no token of it is for the calendar alone any more.
    let begun = ada
        .send(
            Method::PUT,
            &format!("/integrations/{id}/features/google.gmail"),
            None,
        )
        .await;
    grant(&service, &begun.expect_status(202)).await;
    for api in [&calendar, &elsewhere] {
        // Until an account has read its row, the token of before is served: it opens no mail.
        eventually("every node has heard of it", || async {
            let answer = api.get(&for_calendar[0]).await;
            (answer.status == 403).then_some(())
        })
        .await;
    }
    for _ in 0..2 {
        for path in &for_calendar {
            refused_as_too_wide(ask(&calendar, path).await, GMAIL);
            refused_as_too_wide(ask(&elsewhere, path).await, GMAIL);
            both.get(path).await.expect_status(200);
            any.get(path).await.expect_status(200);
        }
        for path in &for_mail {
            calendar.get(path).await.expect_problem(403, "forbidden");
            elsewhere.get(path).await.expect_problem(403, "forbidden");
        }
    }
    // Switched off is not taken back: the token still opens the mail.
    ada.delete(&format!("/integrations/{id}/features/google.gmail"))
        .await
        .expect_status(200);
    for path in &for_calendar {
        refused_as_too_wide(ask(&calendar, path).await, GMAIL);
        any.get(path).await.expect_status(200);
    }
    let by_name = any.get(&format!("/users/ada/token?scopes={GMAIL}")).await;
    let problem = by_name.expect_problem(403, "insufficient_scope");
    assert_eq!(
        (&problem["reason"], &problem["upgrade"]["feature"]),
        (&json!("feature_off"), &json!("google.gmail"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_is_a_feature_that_includes_what_it_widens() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let id = connect(&service, "google", &["google.calendar"]).await;
    let path = |feature: &str| format!("/integrations/{id}/features/{feature}");
    let token = |feature: &str| format!("/users/ada/token?feature={feature}");
    let reader = service.service(&["google:calendar.read"]).await;
    let writer = service.service(&["google:calendar.write"]).await;
    let whole = service.service(&["google:calendar"]).await;
    for api in [&reader, &writer, &whole] {
        api.get(&token("google.calendar")).await.expect_status(200);
    }
    reader
        .get(&token("google.calendar.write"))
        .await
        .expect_problem(403, "forbidden");
    let problem = writer
        .get(&token("google.calendar.write"))
        .await
        .expect_problem(403, "insufficient_scope");
    assert_eq!(
        (&problem["missing_scopes"], &problem["reason"]),
        (&json!([EVENTS]), &json!("not_granted"))
    );

    let begun = ada
        .send(Method::PUT, &path("google.calendar.write"), None)
        .await
        .expect_status(202);
    assert!(
        begun["requested_scopes"].to_string().contains(EVENTS),
        "{begun:#}"
    );
    grant(&service, &begun).await;
    let view = ada.get(&format!("/integrations/{id}")).await.expect_status(200);
    assert_eq!(keys(&view), ["google.calendar", "google.calendar.write"]);
    for api in [&writer, &whole] {
        api.get(&token("google.calendar.write")).await.expect_status(200);
        api.get(&token("google.calendar")).await.expect_status(200);
    }
    // Whoever may only look does not receive what can write.
    refused_as_too_wide(ask(&reader, &token("google.calendar")).await, EVENTS);

    let off = ada
        .delete(&path("google.calendar.write"))
        .await
        .expect_status(200);
    assert_eq!(keys(&off), ["google.calendar"]);
    for wanted in [
        token("google.calendar.write"),
        format!("/users/ada/token?scopes={EVENTS}"),
    ] {
        let problem = whole.get(&wanted).await.expect_problem(403, "insufficient_scope");
        assert_eq!(
            (&problem["reason"], &problem["upgrade"]["feature"]),
            (&json!("feature_off"), &json!("google.calendar.write"))
        );
    }
    whole.get(&token("google.calendar")).await.expect_status(200);
    // With what it widens, the level goes, and whoever does not say what for receives nothing either.
    ada.send(Method::PUT, &path("google.calendar.write"), None)
        .await
        .expect_status(200);
    let off = ada.delete(&path("google.calendar")).await.expect_status(200);
    assert!(keys(&off).is_empty(), "{off:#}");
    for wanted in [
        token("google.calendar.write"),
        token("google.calendar"),
        "/users/ada/token?provider=google".to_owned(),
        format!("/users/ada/token?scopes={CALENDAR}"),
        format!("/integrations/{id}/token"),
    ] {
        for api in [&whole, &writer] {
            let problem = api.get(&wanted).await.expect_problem(403, "insufficient_scope");
            assert_eq!(problem["reason"], "feature_off", "{wanted}: {problem:#}");
        }
    }
    // With the level, what it widens comes back.
    let on = ada
        .send(Method::PUT, &path("google.calendar.write"), None)
        .await
        .expect_status(200);
    assert_eq!(keys(&on), ["google.calendar", "google.calendar.write"]);

    // A level from the start, and one that its scopes name.
    for request in [
        json!({ "provider": "microsoft", "features": ["microsoft.mail.write"] }),
        json!({ "provider": "microsoft", "scopes": ["Mail.ReadWrite", "Mail.Send"] }),
    ] {
        let view = service.connect_with("ben", request).await;
        assert_eq!(keys(&view), ["microsoft.mail", "microsoft.mail.write"]);
        assert!(
            !view["scopes"].to_string().contains("\"Mail.Read\""),
            "the wider one includes it: {view:#}"
        );
        whole_of(&service, "microsoft", "/users/ben/token?feature=microsoft.mail").await;
    }
}

async fn whole_of(service: &Service, provider: &str, path: &str) {
    let consumer = service.service(&[&format!("{provider}:*")]).await;
    consumer.get(path).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalogue_says_what_a_feature_does_needs_and_risks() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let list = ada.get("/features").await.expect_status(200);
    let feature = |key: &str| {
        let items = list["items"].as_array().unwrap();
        items
            .iter()
            .find(|item| item["key"] == key)
            .unwrap_or_else(|| panic!("no {key}"))
            .clone()
    };
    let write = feature("google.calendar.write");
    assert_eq!(
        (&write["level"], &write["level_of"]),
        (&json!("write"), &json!("google.calendar"))
    );
    assert!(write["danger"].as_str().unwrap().contains("deleted"), "{write:#}");
    assert_eq!(feature("google.calendar")["level"], "read");
    assert_eq!(feature("microsoft.teams")["work_account_only"], true);
    assert_eq!(feature("microsoft.mail")["work_account_only"], false);
    for key in ["youtube.history", "youtube.recommendations"] {
        assert!(feature(key)["no_longer_offered"].is_string());
        assert!(
            feature(key)["description"]
                .as_str()
                .unwrap()
                .to_lowercase()
                .contains("instead")
        );
    }
    let scopes = ada.get("/providers/notion/scopes").await.expect_status(200);
    assert!(
        scopes["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["kind"] == "capability")
    );
    let scopes = ada.get("/providers/google/scopes").await.expect_status(200);
    let of_level: Vec<_> = scopes["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|item| item["feature"] == "google.calendar.write")
        .collect();
    assert!(
        of_level
            .iter()
            .all(|item| item["required"] == true && item["kind"] == "scope"),
        "{of_level:#?}"
    );
    assert_eq!(of_level.len(), 2);

    // `oauth_scopes` holds the same, row by row.
    let seeded =
        "SELECT provider, feature, scope, required FROM oauth_scopes WHERE provider = 'google' ORDER BY 2, 3";
    let rows = service.sql().await.query(seeded, &[]).await.unwrap();
    let mut listed: Vec<(String, String, bool)> = scopes["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["feature"].as_str().unwrap().into(),
                item["scope"].as_str().unwrap().into(),
                item["required"] == true,
            )
        })
        .collect();
    listed.sort();
    let mut stored: Vec<(String, String, bool)> = rows
        .iter()
        .map(|row| (row.get(1), row.get(2), row.get(3)))
        .collect();
    stored.sort();
    assert_eq!(stored, listed);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_itself_is_refused_in_words() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    for (body, word) in [
        (
            json!({ "provider": "google", "features": [] }),
            "features is empty",
        ),
        (json!({ "provider": "google", "scopes": [] }), "scopes is empty"),
        (
            json!({ "provider": "google", "features": [], "scopes": [GMAIL] }),
            "features is empty",
        ),
        (
            json!({ "provider": "google", "features": ["google.calendar"], "scopes": [GMAIL] }),
            GMAIL,
        ),
        (
            json!({ "provider": "google", "features": ["microsoft.mail"] }),
            "no such feature",
        ),
        (
            json!({ "provider": "google", "features": ["google.calendar.read"] }),
            "no such feature",
        ),
        (
            json!({ "provider": "google", "features": ["google.calendar"], "scopes": ["Mail.Read"] }),
            "no such scope",
        ),
    ] {
        let problem = ada
            .post("/authorizations", body.clone())
            .await
            .expect_problem(400, "invalid_request");
        assert!(
            problem["detail"].as_str().unwrap().contains(word),
            "{body}: {problem:#}"
        );
    }
    let contradiction = json!({ "provider": "google", "features": ["google.calendar"], "scopes": [GMAIL] });
    let problem = ada
        .post("/authorizations", contradiction)
        .await
        .expect_problem(400, "invalid_request");
    assert_eq!(
        problem["known"],
        json!(["google.gmail"]),
        "the features it belongs to"
    );
    // Together they make sense: the feature, and more of it.
    let more = json!({
        "provider": "google", "features": ["google.calendar"], "scopes": [EVENTS],
        "return_to": crate::harness::APPLICATION,
    });
    let begun = ada.post("/authorizations", more).await.expect_status(201);
    assert!(begun["requested_scopes"].to_string().contains(EVENTS));
    for query in [
        format!("feature=google.calendar&scopes={GMAIL}"),
        "feature=google.calendar&provider=microsoft".to_owned(),
        "feature=".to_owned(),
        "scopes=".to_owned(),
        "provider=google&scopes=Mail.Read".to_owned(),
    ] {
        consumer
            .get(&format!("/users/ada/token?{query}"))
            .await
            .expect_problem(400, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_personal_account_cannot_have_what_needs_an_organisation() {
    let service = Service::start().await;
    let personal = json!({ "provider": "microsoft", "login_hint": "chiyo@microsoft.example" });
    let id = service.connect_with("ada", personal).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (ada, before) = (service.user("ada"), service.simulator.requests().len());
    for feature in [
        "microsoft.teams",
        "microsoft.sharepoint",
        "microsoft.teams.write",
        "microsoft.directory",
    ] {
        let answers = [
            ada.send(
                Method::PUT,
                &format!("/integrations/{id}/features/{feature}"),
                None,
            )
            .await,
            ada.post(
                "/authorizations",
                json!({
                    "provider": "microsoft", "features": [feature], "integration_id": id,
                    "return_to": crate::harness::APPLICATION,
                }),
            )
            .await,
        ];
        for answer in answers {
            let problem = answer.expect_problem(400, "invalid_request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains(feature) && detail.contains("work or school account"),
                "{detail}"
            );
        }
    }
    assert_eq!(
        service.simulator.requests().len(),
        before,
        "nobody was sent there in vain"
    );
    let mail = ada
        .send(
            Method::PUT,
            &format!("/integrations/{id}/features/microsoft.mail"),
            None,
        )
        .await;
    mail.expect_status(202);
    // The same features for an account at work.
    let request = json!({ "provider": "microsoft", "features": ["microsoft.teams"], "login_hint": "ben@microsoft.example" });
    assert_eq!(
        keys(&service.connect_with("ben", request).await),
        ["microsoft.teams"]
    );
}
