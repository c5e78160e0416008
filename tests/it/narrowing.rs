//! Where a provider gives narrower tokens, a service receives one of what its policy reaches, and nothing else of the account.

use std::collections::BTreeSet;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::Service;

async fn connected(service: &Service) -> String {
    let features = ["microsoft.calendar", "microsoft.mail"];
    let request = json!({ "provider": "microsoft", "features": features });
    let view = service.connect_with("ada", request).await;
    view["id"].as_str().unwrap().to_owned()
}

fn refreshes(service: &Service) -> usize {
    let requests = service.simulator.requests();
    requests
        .iter()
        .filter(|request| request.endpoint == Endpoint::Refresh)
        .count()
}

fn carries(token: &Value, scope: &str) -> bool {
    token["scopes"].as_array().unwrap().iter().any(|one| one == scope)
}

/// What the provider says to this token there.
async fn opens(service: &Service, token: &Value, path: &str) -> u16 {
    let url = format!("{}{path}", service.simulator.provider_url(Provider::Microsoft));
    let request = service
        .http
        .get(url)
        .bearer_auth(token["access_token"].as_str().unwrap());
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_receives_a_token_of_what_its_policy_reaches_and_nothing_else() {
    let service = Service::start().await;
    let id = connected(&service).await;
    let calendar = service.service(&["microsoft:calendar"]).await;
    let mail = service.service(&["microsoft:mail"]).await;
    let any = service.service(&["microsoft:*"]).await;
    let wide = any
        .get("/users/ada/token?provider=microsoft")
        .await
        .expect_status(200);
    assert!(carries(&wide, "Mail.Read") && carries(&wide, "Calendars.Read"));
    assert_eq!(refreshes(&service), 0);

    let mut tokens = BTreeSet::new();
    for path in [
        "/users/ada/token?feature=microsoft.calendar".to_owned(),
        "/users/ada/token?provider=microsoft".to_owned(),
        "/users/ada/token?scopes=Calendars.Read".to_owned(),
        format!("/integrations/{id}/token"),
    ] {
        let token = calendar.get(&path).await.expect_status(200);
        assert!(
            carries(&token, "Calendars.Read") && !carries(&token, "Mail.Read"),
            "{path}: {token:#}"
        );
        assert_eq!(opens(&service, &token, "/v1.0/me/calendars").await, 200);
        assert_eq!(opens(&service, &token, "/v1.0/me/messages").await, 403);
        tokens.insert(token["access_token"].to_string());
    }
    assert_eq!(
        (tokens.len(), refreshes(&service)),
        (1, 1),
        "fetched once, and kept"
    );
    calendar
        .get("/users/ada/token?feature=microsoft.mail")
        .await
        .expect_problem(403, "forbidden");
    let token = mail
        .get("/users/ada/token?feature=microsoft.mail")
        .await
        .expect_status(200);
    assert!(!carries(&token, "Calendars.Read"));
    assert_eq!(opens(&service, &token, "/v1.0/me/messages").await, 200);
    assert_eq!(refreshes(&service), 2);
    // The account's own token is as it was.
    let still = any
        .get("/users/ada/token?provider=microsoft")
        .await
        .expect_status(200);
    assert_eq!(still["access_token"], wide["access_token"]);

    // It does not outlive the token it was fetched beside, the feature, or the account.
    let ada = service.user("ada");
    ada.post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);
    let path = "/users/ada/token?feature=microsoft.calendar";
    let anew = calendar.get(path).await.expect_status(200);
    assert!(!tokens.contains(&anew["access_token"].to_string()));
    let switch = format!("/integrations/{id}/features/microsoft.calendar");
    ada.delete(&switch).await.expect_status(200);
    let problem = calendar.get(path).await.expect_problem(403, "insufficient_scope");
    assert_eq!(problem["reason"], "feature_off");
    calendar
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_problem(403, "insufficient_scope");
    ada.send(Method::PUT, &switch, None).await.expect_status(200);
    calendar.get(path).await.expect_status(200);
    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    calendar.get(path).await.expect_problem(404, "not_connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_the_same_narrower_token_share_one_call() {
    let service = Service::start().await;
    connected(&service).await;
    let calendar = service.service(&["microsoft:calendar"]).await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let calendar = calendar.clone();
        asking.spawn(async move {
            let token = calendar.get("/users/ada/token?feature=microsoft.calendar").await;
            token.expect_status(200)["access_token"].to_string()
        });
    }
    let tokens: BTreeSet<String> = asking.join_all().await.into_iter().collect();
    assert_eq!((tokens.len(), refreshes(&service)), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_gives_more_than_was_asked_for_gives_nobody_more() {
    let service = Service::start().await;
    let id = connected(&service).await;
    let calendar = service.service(&["microsoft:calendar"]).await;
    let wide = Fault::Set {
        field: "scope".to_owned(),
        value: json!("openid profile email User.Read Calendars.Read Mail.Read"),
    };
    service
        .simulator
        .inject(Provider::Microsoft, Endpoint::Refresh, wide, 1);
    for _ in 0..2 {
        let problem = calendar.get("/users/ada/token?feature=microsoft.calendar").await;
        let problem = problem.expect_problem(403, "forbidden");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("gave no narrower") && detail.contains("microsoft:*"),
            "{detail}"
        );
    }
    assert_eq!(refreshes(&service), 1, "it is not asked again at once");

    // Trouble there is nobody's verdict on the account.
    let ada = service.user("ada");
    ada.post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);
    let dead = Fault::Error {
        code: "invalid_grant".to_owned(),
    };
    service
        .simulator
        .inject(Provider::Microsoft, Endpoint::Refresh, dead, 1);
    let answer = calendar.get("/users/ada/token?feature=microsoft.calendar").await;
    answer.expect_problem(503, "provider_unavailable");
    let view = ada.get(&format!("/integrations/{id}")).await.expect_status(200);
    assert_eq!(view["status"], "active", "{view:#}");
}
