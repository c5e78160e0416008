//! The switches on *Your connections*.

use super::{GMAIL, active, connect, features, service, token, view};
use crate::harness::Browser;

fn csrf(body: &str) -> String {
    let rest = body.split("name=\"csrf\" value=\"").nth(1).expect("a form");
    rest.split('"').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_shows_what_is_off_and_switches_it_on_and_off_without_a_script() {
    let service = service().await;
    let (ada, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    let id = connect(&service, "ada", &["google.calendar", "google.gmail"]).await;
    let mut browser = service.browser_of("ada").await;
    let connections = format!("{}/connections", service.base_url);
    let url = format!("{connections}/features");
    let body = browser.open(&connections).await.body;
    assert_eq!(body.matches("value=\"off\"").count(), 2, "{body}");
    assert_eq!(body.matches("value=\"on\"").count(), 0, "{body}");
    let token_of_form = csrf(&body);
    let turn = async |browser: &mut Browser, feature: &str, switch: &str| {
        let fields = [
            ("csrf", token_of_form.as_str()),
            ("integration_id", id.as_str()),
            ("feature", feature),
            ("switch", switch),
        ];
        browser.submit(&url, &fields).await
    };

    let off = turn(&mut browser, "google.gmail", "off").await;
    assert_eq!(off.status, 200, "{off:?}");
    for words in ["can no longer use this account for", "still allows it", GMAIL] {
        assert!(off.body.contains(words), "{words}: {}", off.body);
    }
    let gmail = "/users/ada/token?feature=google.gmail";
    consumer
        .get(gmail)
        .await
        .expect_problem(403, "insufficient_scope");
    let body = browser.open(&connections).await.body;
    assert_eq!(body.matches("value=\"on\"").count(), 1, "{body}");

    // The provider allows it: on at once.
    let asked = service.simulator.requests().len();
    let on = turn(&mut browser, "google.gmail", "on").await;
    assert!(on.body.contains("it is switched on"), "{}", on.body);
    assert_eq!(service.simulator.requests().len(), asked);
    token(&consumer, "google.gmail").await;

    // It does not yet: on to the provider, and nothing has changed before it answers.
    let on = turn(&mut browser, "google.tasks", "on").await;
    assert!(on.body.contains("Continue to Google"), "{}", on.body);
    let both = active(&["google.calendar", "google.gmail"]);
    assert_eq!(features(&view(&ada, &id).await), both);
    // Off twice is off.
    for _ in 0..2 {
        let off = turn(&mut browser, "google.tasks", "off").await;
        assert_eq!(off.status, 200);
        assert!(!off.body.contains("still allows"), "{}", off.body);
    }

    for (feature, switch, status) in [
        ("google.nothing", "on", 400),
        ("notion.pages", "off", 400),
        ("google.gmail", "maybe", 400),
    ] {
        let refused = turn(&mut browser, feature, switch).await;
        assert_eq!(refused.status, status, "{feature} {switch}");
    }
    let forged = [
        ("csrf", "forged"),
        ("integration_id", id.as_str()),
        ("feature", "google.gmail"),
        ("switch", "off"),
    ];
    assert_eq!(browser.submit(&url, &forged).await.status, 403);
    let mut bens = service.browser_of("ben").await;
    let his = csrf(&bens.open(&connections).await.body);
    let fields = [("csrf", his.as_str()), forged[1], forged[2], forged[3]];
    assert_eq!(bens.submit(&url, &fields).await.status, 404);
    assert_eq!(features(&view(&ada, &id).await), both);
}
