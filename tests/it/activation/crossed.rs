//! Two upgrades of one account at once, in two tabs.

use serde_json::json;

use super::{active, connect, features, page, refresh, service, token, view};

#[tokio::test(flavor = "multi_thread")]
async fn crossed_upgrades_end_in_the_union_in_whichever_order_they_finish() {
    for (first, mail, files) in [
        ("google.calendar", "google.gmail", "google.drive"),
        ("microsoft.calendar", "microsoft.mail", "microsoft.onedrive"),
    ] {
        for mail_is_last in [false, true] {
            let service = service().await;
            let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
            let id = connect(&service, "ada", &[first]).await;
            let provider = first.split('.').next().unwrap();
            let tab = async |feature: &str| {
                let request = json!({ "provider": provider, "features": [feature], "integration_id": id });
                page(&service, "ada", request).await
            };
            let (mut tabs, all) = (vec![tab(mail).await, tab(files).await], [first, files, mail]);
            if mail_is_last {
                tabs.reverse();
            }
            for tab in tabs {
                let (_, end) = tab.allow().await;
                assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
            }
            let mut expected = active(&all);
            expected.sort();
            for _ in 0..2 {
                let view = view(&ada, &id).await;
                assert_eq!(features(&view), expected, "{provider}: {view:#}");
                for feature in all {
                    token(&consumer, feature).await;
                }
                refresh(&ada, &id).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crossed_upgrades_at_a_provider_that_forgets_end_in_the_union_and_say_what_is_missing() {
    let service = service().await;
    let ada = service.user("ada");
    let id = connect(&service, "ada", &["acme.profile"]).await;
    let request = json!({ "provider": "acme", "features": ["acme.notes"], "integration_id": id });
    let upgrade = page(&service, "ada", request).await;
    let again = page(
        &service,
        "ada",
        json!({ "provider": "acme", "integration_id": id }),
    )
    .await;
    upgrade.allow().await;
    assert_eq!(
        features(&view(&ada, &id).await),
        active(&["acme.notes", "acme.profile"])
    );
    // This tab's page was made before there were notes: its grant knows nothing of them.
    again.allow().await;
    let after = view(&ada, &id).await;
    let mut expected = active(&["acme.profile"]);
    expected.insert(0, ("acme.notes".to_owned(), "missing_scopes".to_owned()));
    assert_eq!(features(&after), expected);
    assert_eq!(after["scopes"], json!(["offline_access", "openid", "profile"]));
}
