//! Requested, granted, effective: the ledger holds what the provider granted, and follows it.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider, ScopeStyle};
use serde_json::{Value, json};

use crate::harness::Service;

const CALENDAR: &str = "https://www.googleapis.com/auth/calendar.readonly";
const GMAIL: &str = "https://www.googleapis.com/auth/gmail.readonly";

fn state<'v>(view: &'v Value, key: &str) -> &'v Value {
    let features = view["features"].as_array().unwrap();
    features
        .iter()
        .find(|state| state["key"] == key)
        .unwrap_or_else(|| panic!("no {key}: {view:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn scope_change_on_refresh_updates_row_and_audit() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["google:*"]).await);
    let request = json!({ "provider": "google", "features": ["google.calendar", "google.gmail"] });
    let view = service.connect_with("ada", request).await;
    let (id, whole) = (view["id"].as_str().unwrap(), view["scopes"].clone());
    let (mail, calendar) = (
        "/users/ada/token?feature=google.gmail",
        "/users/ada/token?feature=google.calendar",
    );
    consumer.get(mail).await.expect_status(200);
    let refresh = format!("/integrations/{id}/refresh");

    let narrower = Fault::Set {
        field: "scope".to_owned(),
        value: json!(format!("openid {CALENDAR}")),
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Refresh, narrower, 1);
    let view = ada.post(&refresh, json!({})).await.expect_status(200);
    assert_eq!(view["scopes"], json!([CALENDAR, "openid"]));
    assert_eq!(state(&view, "google.calendar")["status"], "active");
    assert_eq!(
        (
            &state(&view, "google.gmail")["status"],
            &state(&view, "google.gmail")["missing_scopes"]
        ),
        (&json!("missing_scopes"), &json!([GMAIL]))
    );
    // The next hand-out knows, whichever way it takes.
    let problem = consumer.get(mail).await.expect_problem(403, "insufficient_scope");
    assert_eq!(problem["missing_scopes"], json!([GMAIL]));
    let token = consumer.get(calendar).await.expect_status(200);
    assert_eq!(token["scopes"], json!([CALENDAR, "openid"]));
    let stored = "SELECT scopes FROM oauth_integrations";
    let row = service.sql().await.query_one(stored, &[]).await.unwrap();
    assert_eq!(row.get::<_, Vec<String>>(0), [CALENDAR, "openid"]);

    // Silence keeps what stands; the whole comes back when the provider grants it again.
    service
        .simulator
        .inject(Provider::Google, Endpoint::Refresh, Fault::OmitScope, 1);
    let view = ada.post(&refresh, json!({})).await.expect_status(200);
    assert_eq!(view["scopes"], json!([CALENDAR, "openid"]));
    let view = ada.post(&refresh, json!({})).await.expect_status(200);
    assert_eq!(view["scopes"], whole);
    consumer.get(mail).await.expect_status(200);

    let audit = ada.get("/audit?limit=200").await.expect_status(200);
    let refreshes = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["action"] == "refresh");
    let told: Vec<_> = refreshes
        .map(|row| (row["error"].clone(), row["scopes"].clone()))
        .collect();
    let narrow = json!([CALENDAR, "openid"]);
    assert_eq!(
        told,
        [
            (Value::Null, whole),
            (Value::Null, narrow.clone()),
            (json!("scopes_narrowed"), narrow)
        ],
        "the latest first"
    );
    // What was agreed to is not rewritten.
    let consents = ada
        .get(&format!("/integrations/{id}/consents"))
        .await
        .expect_status(200);
    assert!(consents["items"].to_string().contains(GMAIL));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_without_scopes_grants_what_was_asked_for() {
    let service = Service::start().await;
    service
        .simulator
        .inject(Provider::Google, Endpoint::Exchange, Fault::OmitScope, 1);
    let request = json!({ "provider": "google", "features": ["google.gmail"] });
    let view = service.connect_with("ada", request).await;
    assert_eq!(view["scopes"], json!(["email", GMAIL, "openid", "profile"]));
    assert_eq!(state(&view, "google.gmail")["status"], "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_provider_writes_scopes_they_are_the_catalogues() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let styles = [
        ScopeStyle::Unprefixed,
        ScopeStyle::Lowercase,
        ScopeStyle::Uppercase,
        ScopeStyle::CommaSeparated,
        ScopeStyle::JsonArray,
    ];
    for (number, style) in styles.into_iter().enumerate() {
        let user = format!("user-{number}");
        let written = Fault::ScopeStyle { style };
        service
            .simulator
            .inject(Provider::Microsoft, Endpoint::Exchange, written, 1);
        let request = json!({ "provider": "microsoft", "features": ["microsoft.mail"], "login_hint": user });
        let view = service.connect_with(&user, request).await;
        assert_eq!(
            view["scopes"],
            json!([
                "Mail.Read",
                "User.Read",
                "email",
                "offline_access",
                "openid",
                "profile"
            ]),
            "{style:?}"
        );
        consumer
            .get(&format!("/users/{user}/token?feature=microsoft.mail"))
            .await
            .expect_status(200);
    }
    // More than was asked for is granted, and not more switched on.
    let more = Fault::ExtraScopes {
        scopes: vec!["Calendars.ReadWrite".into()],
    };
    service
        .simulator
        .inject(Provider::Microsoft, Endpoint::Authorize, more, 1);
    let request = json!({ "provider": "microsoft", "features": ["microsoft.mail"], "login_hint": "more" });
    let view = service.connect_with("more", request).await;
    assert!(
        view["scopes"].to_string().contains("Calendars.ReadWrite"),
        "{view:#}"
    );
    assert_eq!(view["features"].as_array().unwrap().len(), 1, "{view:#}");
    for what in [
        "feature=microsoft.calendar",
        "scopes=Calendars.Read",
        "provider=microsoft&scopes=Calendars.ReadWrite",
    ] {
        let problem = consumer
            .get(&format!("/users/more/token?{what}"))
            .await
            .expect_problem(403, "insufficient_scope");
        assert_eq!(
            (&problem["reason"], &problem["missing_scopes"]),
            (&json!("feature_off"), &json!([])),
            "{what}: {problem:#}"
        );
    }
    let narrow = service.service(&["microsoft:mail"]).await;
    let token = narrow.get("/users/more/token?feature=microsoft.mail").await;
    let token = token.expect_status(200);
    assert!(!token["scopes"].to_string().contains("Calendars"), "{token:#}");
}
