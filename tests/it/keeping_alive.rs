//! Accounts nobody asks for, and refresh tokens that end: what users and services see of it.

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use serde_json::json;

use crate::harness::{Service, eventually};

/// Nobody asked for a token of this account in two days, and its refresh is due.
const LEFT_ALONE: &str = "\
UPDATE oauth_tokens SET last_used_at = now() - interval '2 days', next_refresh_at = now() WHERE integration_id = $1";

fn uuid_of(integration: &serde_json::Value) -> uuid::Uuid {
    let id = integration["id"].as_str().unwrap();
    id.split_once('_').unwrap().1.parse().unwrap()
}

/// The view once it was refreshed by itself.
async fn refreshed(service: &Service, id: &str) -> serde_json::Value {
    eventually("it is refreshed", async || {
        let view = service.user("ada").get(&format!("/integrations/{id}")).await;
        let view = view.expect_status(200);
        (!view["last_refreshed_at"].is_null()).then_some(view)
    })
    .await
}

fn days_until(time: &serde_json::Value) -> i64 {
    let at: oauth_manager_actors::domain::Timestamp = time.as_str().unwrap().parse().unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test is its own clock here")]
    let now = std::time::SystemTime::now();
    let now = oauth_manager_actors::domain::Timestamp::try_from(now).unwrap();
    at.duration_since(now).as_hours() / 24
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_nobody_asks_for_is_refreshed_within_its_providers_rules_and_asking_changes_that() {
    let service = Service::start().await;
    // A refresh token of Microsoft's ends 90 days after its last use, one of Google's after six months.
    for (provider, days) in [("google", 72..=90), ("microsoft", 36..=45)] {
        let integration = service.connect("ada", provider).await;
        let id = integration["id"].as_str().unwrap();
        assert_eq!(
            days_until(&integration["next_refresh_at"]),
            0,
            "connecting is use"
        );
        service
            .sql()
            .await
            .execute(LEFT_ALONE, &[&uuid_of(&integration)])
            .await
            .unwrap();
        let view = refreshed(&service, id).await;
        assert_eq!(view["status"], "active");
        assert!(
            days.contains(&(days_until(&view["next_refresh_at"]) + 1)),
            "{view:#}"
        );

        // Somebody asks, and it is refreshed ahead of its token's end again.
        let view = service
            .user("ada")
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await
            .expect_status(200);
        assert_eq!(days_until(&view["next_refresh_at"]), 0, "{view:#}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_out_is_use_that_every_node_knows_of() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let integration = service.connect("ada", "google").await;
    let sql = service.sql().await;
    let uuid = uuid_of(&integration);
    let age = "UPDATE oauth_tokens SET last_used_at = now() - interval '2 days' WHERE integration_id = $1";
    sql.execute(age, &[&uuid]).await.unwrap();
    consumer
        .get("/users/ada/token?provider=google")
        .await
        .expect_status(200);
    let recent =
        "SELECT last_used_at > now() - interval '1 hour' FROM oauth_tokens WHERE integration_id = $1";
    eventually("the use is on record", async || {
        let row = sql.query_one(recent, &[&uuid]).await.unwrap();
        row.get::<_, bool>(0).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_is_told_in_time_that_a_connection_ends_and_connecting_again_mends_it() {
    let service = Service::start().await;
    let integration = service.connect("ada", "google").await;
    let id = integration["id"].as_str().unwrap();
    // What Google says of a registration in testing: seven days from the consent, of which little is left.
    let (uuid, sql) = (uuid_of(&integration), service.sql().await);
    let nearly_over = "\
        UPDATE oauth_tokens SET refresh_token_since = now() - interval '6 days',
            refresh_token_expires_at = now() + interval '1 day', next_refresh_at = now()
        WHERE integration_id = $1";
    sql.execute(nearly_over, &[&uuid]).await.unwrap();
    let view = refreshed(&service, id).await;
    assert_eq!(view["status"], "active", "{view:#}");
    assert_eq!(view["status_reason"], "refresh_token_ending", "{view:#}");
    assert_eq!(view["who_must_act"], "user", "{view:#}");
    let consumer = service.service(&["*:*"]).await;
    consumer
        .get("/users/ada/token?provider=google")
        .await
        .expect_status(200);

    // Refreshed again, nobody is told again.
    service
        .user("ada")
        .post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);
    let audit = service
        .user("ada")
        .get("/audit?limit=100")
        .await
        .expect_status(200);
    let warnings = audit["items"].as_array().unwrap().iter();
    let warnings: Vec<_> = warnings.filter(|row| row["action"] == "warn").collect();
    assert_eq!(warnings.len(), 1, "{audit:#}");
    assert_eq!(warnings[0]["error"], "refresh_token_ending");
    let events =
        "SELECT count(*) FROM oauth_events WHERE kind = 'refresh_token_ending' AND integration_id = $1";
    let events: i64 = sql.query_one(events, &[&uuid]).await.unwrap().get(0);
    assert_eq!(events, 1);
    let page = service
        .browser_of("ada")
        .await
        .open(&format!("{}/connections", service.base_url))
        .await;
    assert!(page.body.contains("Connect again now"), "{}", page.body);

    let again = service.connect("ada", "google").await;
    assert_eq!(again["id"], id);
    assert_eq!(
        (&again["status_reason"], &again["who_must_act"]),
        (&json!(null), &json!(null))
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_provider_says_of_its_refresh_tokens_life_is_kept_from_the_first_answer() {
    let service = Service::start().await;
    let seven_days = Fault::Set {
        field: "refresh_token_expires_in".into(),
        value: json!(604_799),
    };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Token, seven_days, 1);
    let integration = service.connect("ada", "google").await;
    let told = "\
        SELECT extract(epoch FROM refresh_token_expires_at - refresh_token_since)::float8 FROM oauth_tokens
        WHERE integration_id = $1";
    let sql = service.sql().await;
    let life: f64 = sql
        .query_one(told, &[&uuid_of(&integration)])
        .await
        .unwrap()
        .get(0);
    assert!((604_700.0..=604_800.0).contains(&life), "{life}");
    service.stop().await;
}
