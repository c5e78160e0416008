//! Consents and audit: what a user can read of what was agreed to and what was done, page by page, for good.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Api, Service};

/// Every item of a list, read in pages of this size.
async fn all(api: &Api, list: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = api
            .get(&format!("{list}?limit={limit}{after}"))
            .await
            .expect_status(200);
        let here = page["items"].as_array().unwrap();
        assert!(here.len() <= limit, "{page:#}");
        items.extend(here.iter().cloned());
        assert!(items.len() < 1_000, "the list does not end");
        match page["next"].as_str() {
            Some(next) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                after = format!("&after={next}");
            }
            None => return items,
        }
    }
}

fn times<'a>(items: &'a [Value], field: &str) -> Vec<&'a str> {
    items.iter().map(|item| item[field].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn consents_are_paged_newest_first_and_survive_revocation() {
    let service = Service::start().await;
    let ada = service.user("ada");
    let calendar = json!({ "provider": "google", "features": ["google.calendar"] });
    let id = service.connect_with("ada", calendar).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for feature in ["google.gmail", "google.drive", "google.tasks", "google.calendar"] {
        let wider = json!({ "provider": "google", "features": [feature], "integration_id": id });
        assert_eq!(service.connect_with("ada", wider).await["id"], id.as_str());
    }
    let list = format!("/integrations/{id}/consents");
    let whole = all(&ada, &list, 200).await;
    assert_eq!(whole.len(), 5);
    for limit in [1, 2, 4, 5] {
        assert_eq!(all(&ada, &list, limit).await, whole, "in pages of {limit}");
    }
    let mut sorted = times(&whole, "granted_at");
    sorted.sort_unstable();
    sorted.reverse();
    assert_eq!(times(&whole, "granted_at"), sorted);
    let first = whole.last().unwrap();
    assert_eq!(first["features"], json!(["google.calendar"]));
    assert_eq!(
        (&first["user"], &first["provider"]),
        (&json!("ada"), &json!("google"))
    );
    assert_eq!(first["integration_id"], id.as_str());
    assert_eq!(first["wording_version"], "1.0");
    assert_eq!(first["wording_hash"].as_str().unwrap().len(), 64);
    assert_eq!(first["ip"], "127.0.0.1");
    let scopes = |field: &str| first[field].as_array().unwrap().len();
    assert!(scopes("requested_scopes") > 0 && scopes("granted_scopes") > 0);
    assert!(first["withdrawn_at"].is_null());

    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);
    let after = all(&ada, &list, 2).await;
    assert_eq!(after.len(), 5);
    for (before, after) in whole.iter().zip(&after) {
        assert!(after["withdrawn_at"].is_string(), "{after:#}");
        let mut after = after.clone();
        after["withdrawn_at"] = Value::Null;
        assert_eq!(*before, after, "nothing else changed");
    }
    // Connecting again is a new consent beside the old ones, whatever becomes of the integration's id.
    let again = service.connect("ada", "google").await;
    let list = format!("/integrations/{}/consents", again["id"].as_str().unwrap());
    assert!(all(&ada, &list, 3).await[0]["withdrawn_at"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_tells_all_that_was_done_and_survives_revocation() {
    let service = Service::start().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for _ in 0..7 {
        consumer
            .get(&format!("/integrations/{id}/token"))
            .await
            .expect_status(200);
    }
    let narrow = service.service(&["notion:*"]).await;
    narrow
        .get("/users/ada/token?provider=google")
        .await
        .expect_problem(403, "forbidden");
    ada.post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);
    ada.delete(&format!("/integrations/{id}"))
        .await
        .expect_status(200);

    // Hand-outs are written in batches: nothing tells when but the list itself.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let rows = loop {
        let rows = all(&ada, "/audit", 200).await;
        let handed_out: i64 = rows
            .iter()
            .filter(|row| row["action"] == "token_issued")
            .map(|row| row["count"].as_i64().unwrap())
            .sum();
        let denied = rows.iter().any(|row| row["action"] == "denied");
        if handed_out == 7 && denied {
            break rows;
        }
        assert!(handed_out <= 7, "counted too often: {rows:#?}");
        assert!(tokio::time::Instant::now() < deadline, "not recorded: {rows:#?}");
        tokio::task::yield_now().await;
    };
    for action in [
        "authorize",
        "callback",
        "connect",
        "token_issued",
        "denied",
        "refresh",
        "revoke",
        "disconnect",
    ] {
        assert!(
            rows.iter().any(|row| row["action"] == action),
            "no {action}: {rows:#?}"
        );
    }
    for limit in [1, 3] {
        assert_eq!(all(&ada, "/audit", limit).await, rows, "in pages of {limit}");
    }
    let mut sorted = times(&rows, "at");
    sorted.sort_unstable();
    sorted.reverse();
    assert_eq!(times(&rows, "at"), sorted);
    for row in &rows {
        for field in ["id", "at", "action", "outcome", "actor"] {
            assert!(row[field].is_string(), "{field}: {row:#}");
        }
        if row["action"] != "disconnect" {
            assert_eq!(row["provider"], "google", "{row:#}");
        }
    }
    let find = |action: &str| rows.iter().find(|row| row["action"] == action).unwrap();
    assert_eq!(find("revoke")["actor"], "user:ada");
    assert!(
        find("token_issued")["actor"]
            .as_str()
            .unwrap()
            .starts_with("service:")
    );
    assert_eq!(find("denied")["error"], "forbidden");
    assert_eq!(find("connect")["integration_id"], id.as_str());
    assert!(find("connect")["request_id"].is_string());
    // Nobody else sees any of it.
    assert_eq!(all(&service.user("ben"), "/audit", 10).await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_in_pages() {
    let service = Service::start().await;
    let ada = service.user("ada");
    for person in 0..5 {
        let request = json!({ "provider": "google", "login_hint": format!("person-{person}@example.com") });
        service.connect_with("ada", request).await;
    }
    let whole = all(&ada, "/integrations", 200).await;
    assert_eq!(whole.len(), 5);
    for limit in [1, 2, 3, 5] {
        assert_eq!(
            all(&ada, "/integrations", limit).await,
            whole,
            "in pages of {limit}"
        );
    }
    for view in &whole {
        for field in [
            "id",
            "provider",
            "status",
            "created_at",
            "updated_at",
            "access_token_expires_at",
        ] {
            assert!(view[field].is_string(), "{field}: {view:#}");
        }
        assert_eq!(view["status"], "active");
        assert!(view["account"]["id"].is_string() && view["features"].is_array());
    }
}
