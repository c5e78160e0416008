//! A refresh answer that can be used and is odd all the same: the rule for each, and the reason code in the audit.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::{Value, json};

use crate::harness::{Api, Service, ServiceOptions};

struct Connected {
    service: Service,
    provider: Provider,
    user: Api,
    id: String,
}

impl Connected {
    async fn to(provider: Provider) -> Self {
        let service = Service::start_with(ServiceOptions::default()).await;
        let integration = service.connect("ada", provider.key()).await;
        Self {
            user: service.user("ada"),
            id: integration["id"].as_str().unwrap().to_owned(),
            service,
            provider,
        }
    }

    /// Refreshes once with this answer; the account as it is then, and what the audit says of it.
    async fn refreshed_with(&self, fault: Option<Fault>) -> (Value, Value) {
        if let Some(fault) = fault {
            self.service
                .simulator
                .inject(self.provider, Endpoint::Refresh, fault, 1);
        }
        let view = self
            .user
            .post(&format!("/integrations/{}/refresh", self.id), json!({}))
            .await
            .expect_status(200);
        assert_eq!(self.service.simulator.pending_faults(), 0);
        let audit = self.user.get("/audit?limit=50").await.expect_status(200);
        let rows = audit["items"].as_array().unwrap();
        let refresh = rows.iter().find(|row| row["action"] == "refresh").unwrap();
        assert_eq!(refresh["outcome"], "success", "{refresh:#}");
        (view, refresh["error"].clone())
    }
}

fn moment(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

fn life(value: Value) -> Fault {
    Fault::ExpiresIn { value }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_that_is_missing_or_nonsense_counts_as_unknown_and_is_on_record() {
    let google = Connected::to(Provider::Google).await;
    let (plain, remark) = google.refreshed_with(None).await;
    assert_eq!(
        (remark, plain["access_token_expires_at"].is_string()),
        (Value::Null, true)
    );
    for (value, code) in [
        (json!(-5), "expires_in_invalid"),
        (json!(0), "expires_in_invalid"),
        (json!("soon"), "expires_in_invalid"),
        (Value::Null, "expires_in_absent"),
    ] {
        let (view, remark) = google.refreshed_with(Some(life(value.clone()))).await;
        assert_eq!(remark, code, "{value}");
        assert_eq!(view["status"], "active", "{value}: {view:#}");
        // Nobody knows when it ends: the first 401 tells. What is planned is only to keep the grant alive.
        assert_eq!(view["access_token_expires_at"], Value::Null, "{value}");
        let (created, planned) = (moment(&view["created_at"]), moment(&view["next_refresh_at"]));
        assert!(
            planned.duration_since(created).as_hours() > 30 * 24,
            "{value}: {view:#}"
        );
    }
    let (view, remark) = google.refreshed_with(Some(life(json!(u64::MAX)))).await;
    assert_eq!(remark, "expires_in_capped");
    assert!(view["access_token_expires_at"].is_string(), "{view:#}");
    let (view, remark) = google.refreshed_with(Some(life(json!(90)))).await;
    assert_eq!(remark, "life_shorter_than_margin");
    assert!(
        view["next_refresh_at"].is_string(),
        "used up to its half: {view:#}"
    );
    google.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fewer_scopes_are_stored_as_granted_and_on_record() {
    let google = Connected::to(Provider::Google).await;
    let narrower = Fault::Set {
        field: "scope".to_owned(),
        value: json!("openid"),
    };
    let (view, remark) = google.refreshed_with(Some(narrower)).await;
    assert_eq!(remark, "scopes_narrowed");
    assert_eq!(view["scopes"], json!(["openid"]), "{view:#}");
    assert_eq!(view["status"], "active");
    google.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_or_empty_refresh_token_keeps_the_present_one_and_is_on_record_where_one_was_due() {
    for fault in [
        Fault::Set {
            field: "refresh_token".to_owned(),
            value: json!(""),
        },
        Fault::NullRefreshToken,
        Fault::OmitRefreshToken,
    ] {
        // Microsoft gives a new one each time and leaves the old one alive.
        let microsoft = Connected::to(Provider::Microsoft).await;
        let (view, remark) = microsoft.refreshed_with(Some(fault.clone())).await;
        assert_eq!(
            (view["status"].as_str(), remark),
            (Some("active"), Value::Null),
            "{fault:?}"
        );
        let (view, _) = microsoft.refreshed_with(None).await;
        assert_eq!(view["status"], "active", "{fault:?}");
        microsoft.service.stop().await;
    }
    let notion = Connected::to(Provider::Notion).await;
    let (_, remark) = notion.refreshed_with(None).await;
    assert_eq!(remark, "expires_in_absent", "Notion never says when a token ends");
    notion.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_about_another_account_is_refused_by_name_and_the_working_grant_stays() {
    let notion = Connected::to(Provider::Notion).await;
    let consumer = notion.service.service(&["*:*"]).await;
    let token = |consumer: Api| {
        let path = format!("/integrations/{}/token", notion.id);
        async move { consumer.get(&path).await.expect_status(200)["access_token"].clone() }
    };
    let before = token(consumer.clone()).await;
    let other = Fault::Set {
        field: "bot_id".to_owned(),
        value: json!("00000000-0000-4000-8000-000000000000"),
    };
    notion
        .service
        .simulator
        .inject(Provider::Notion, Endpoint::Refresh, other, 1);
    let path = format!("/integrations/{}/refresh", notion.id);
    let answer = notion.user.post(&path, json!({})).await;
    assert_ne!(answer.status, 200, "{answer:?}");
    let audit = notion.user.get("/audit?limit=50").await.expect_status(200);
    let refresh = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["action"] == "refresh")
        .unwrap()
        .clone();
    assert_eq!(
        (refresh["outcome"].as_str(), refresh["error"].as_str()),
        (Some("failure"), Some("account_mismatch")),
        "{refresh:#}"
    );
    assert_eq!(token(consumer).await, before);
    notion.service.stop().await;
}
