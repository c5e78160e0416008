//! Trying an account's features out: what works, what does not, and whose move it is.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::{Value, json};

use crate::harness::{Api, Service};

async fn connect(service: &Service, provider: &str, features: &[&str]) -> String {
    let request = json!({ "provider": provider, "features": features });
    let view = service.connect_with("ada", request).await;
    view["id"].as_str().unwrap().to_owned()
}

async fn verify(api: &Api, id: &str) -> Value {
    api.post(&format!("/integrations/{id}/verify"), json!({}))
        .await
        .expect_status(200)
}

/// Status and whose move it is, of one feature.
fn of<'a>(verified: &'a Value, feature: &str) -> (&'a str, Option<&'a str>) {
    let features = verified["features"].as_array().unwrap();
    let found = features.iter().find(|found| found["feature"] == feature);
    let found = found.unwrap_or_else(|| panic!("{feature} was not tried: {verified:#}"));
    (found["status"].as_str().unwrap(), found["who_must_act"].as_str())
}

fn says(status: u16, body: &Value) -> Fault {
    Fault::Answer {
        status,
        content_type: "application/json".into(),
        headers: Vec::new(),
        body: body.to_string(),
    }
}

fn google_says(status: u16, reason: &str) -> Fault {
    let errors = json!([{ "domain": "global", "reason": reason }]);
    says(
        status,
        &json!({ "error": { "code": status, "message": "no", "errors": errors } }),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_provider_grants_by_default_and_more_is_found_to_work() {
    let service = Service::start().await;
    let ada = service.user("ada");
    for (provider, features) in [
        (
            "google",
            &["google.calendar", "google.drive", "google.gmail", "google.tasks"][..],
        ),
        (
            "microsoft",
            &["microsoft.calendar", "microsoft.mail", "microsoft.onedrive"][..],
        ),
        ("notion", &["notion.pages", "notion.databases"][..]),
        (
            "youtube",
            &["youtube.playlists", "youtube.history", "youtube.recommendations"][..],
        ),
    ] {
        let id = connect(&service, provider, features).await;
        let verified = verify(&ada, &id).await;
        for feature in features {
            assert_eq!(of(&verified, feature), ("works", None), "{verified:#}");
        }
        assert_eq!(verified["integration"]["id"], id.as_str());
    }
    let asked = service.simulator.requests_to(Provider::Google, Endpoint::Api);
    assert_eq!(asked.len(), 4, "one read for each feature");
    assert!(asked[0].query.get("maxResults").is_some_and(|most| most == "1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_work_is_said_with_whose_move_it_is() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let id = connect(&service, "google", &["google.calendar"]).await;
    let server = Fault::ServerError { status: 503 };
    let busy = Fault::TooManyRequests {
        retry_after: Some("30".into()),
    };
    for (fault, status, who) in [
        (
            google_says(403, "accessNotConfigured"),
            "not_configured",
            "operator",
        ),
        (google_says(403, "domainPolicy"), "blocked_by_admin", "admin"),
        (
            google_says(403, "insufficientPermissions"),
            "missing_scopes",
            "user",
        ),
        (google_says(403, "rateLimitExceeded"), "rate_limited", "nobody"),
        (google_says(404, "notFound"), "unavailable", "nobody"),
        (busy, "rate_limited", "nobody"),
        (server, "provider_unavailable", "nobody"),
    ] {
        service
            .simulator
            .inject(Provider::Google, Endpoint::Api, fault, 1);
        let verified = verify(&ada, &id).await;
        assert_eq!(
            of(&verified, "google.calendar"),
            (status, Some(who)),
            "{verified:#}"
        );
        // It is no word on the grant.
        assert_eq!(verified["integration"]["status"], "active");
    }
    assert_eq!(of(&verify(&ada, &id).await, "google.calendar"), ("works", None));

    // An administrator's policy: the scope is there, and it is refused all the same.
    let microsoft = connect(&service, "microsoft", &["microsoft.mail"]).await;
    let denied = json!({ "error": { "code": "ErrorAccessDenied", "message": "Access is denied." } });
    service
        .simulator
        .inject(Provider::Microsoft, Endpoint::Api, says(403, &denied), 1);
    let verified = verify(&ada, &microsoft).await;
    assert_eq!(
        of(&verified, "microsoft.mail"),
        ("blocked_by_admin", Some("admin"))
    );
    let audit = ada.get("/audit?limit=200").await.expect_status(200).to_string();
    assert_eq!(audit.matches("\"verify\"").count(), 9, "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feature_without_its_scopes_or_consent_is_not_tried() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let gmail = "https://www.googleapis.com/auth/gmail.readonly";
    let without = Fault::FewerScopes {
        without: vec![gmail.into()],
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Authorize, without, 1);
    let id = connect(&service, "google", &["google.calendar", "google.gmail"]).await;
    let verified = verify(&ada, &id).await;
    assert_eq!(of(&verified, "google.calendar"), ("works", None));
    assert_eq!(of(&verified, "google.gmail"), ("missing_scopes", Some("user")));
    assert_eq!(verified["features"][1]["missing_scopes"], json!([gmail]));
    let asked = service.simulator.requests_to(Provider::Google, Endpoint::Api);
    assert_eq!(asked.len(), 1, "{asked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_refused_by_the_interface_is_refreshed_once_and_tried_again() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let id = connect(&service, "google", &["google.calendar"]).await;
    let refreshes = || {
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .len()
    };
    let refused = || google_says(401, "authError");
    service
        .simulator
        .inject(Provider::Google, Endpoint::Api, refused(), 1);
    assert_eq!(of(&verify(&ada, &id).await, "google.calendar"), ("works", None));
    assert_eq!(refreshes(), 1);
    service
        .simulator
        .inject(Provider::Google, Endpoint::Api, refused(), 2);
    let verified = verify(&ada, &id).await;
    assert_eq!(of(&verified, "google.calendar"), ("token_rejected", Some("user")));
    assert_eq!(refreshes(), 2, "once");

    let path = format!("/integrations/{id}/verify");
    service
        .user("ben")
        .post(&path, json!({}))
        .await
        .expect_problem(404, "not_found");
    let narrow = service.service(&["notion:*"]).await;
    narrow
        .post(&format!("{path}?user=ada"), json!({}))
        .await
        .expect_problem(403, "forbidden");
    let consumer = service.service(&["google:*"]).await;
    consumer
        .post(&format!("{path}?user=ada"), json!({}))
        .await
        .expect_status(200);
    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    ada.post(&path, json!({})).await.expect_problem(404, "not_found");
}
