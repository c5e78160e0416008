//! Sessions of our pages: a link proves nothing about who opens it. The application says who sits there; only then, and only
//! in that browser, pages are shown.

use oauth_manager::dev::simulator::{Endpoint, Provider};
use oauth_manager_actors::domain::client::Policy;
use serde_json::{Value, json};

use crate::harness::{APPLICATION, Api, Browser, End, Flow, Service, confirm_session, enter};

/// A session link for this user; the answer whole.
async fn link(application: &Api, user: &str) -> Value {
    let request = json!({ "user": user, "return_to": format!("{APPLICATION}?tab=a%20b"), "display_name": format!("Dr. {user}") });
    application.post("/sessions", request).await.expect_status(201)
}

fn url_of(answer: &Value) -> String {
    answer["url"].as_str().unwrap().to_owned()
}

async fn connections(service: &Service, browser: &mut Browser) -> End {
    browser.open(&format!("{}/connections", service.base_url)).await
}

/// Whether the user's audit holds a refused session for this reason.
async fn audited(service: &Service, user: &str, action: &str, reason: &str) -> bool {
    let audit = service.user(user).get("/audit").await.expect_status(200);
    let rows = audit["items"].as_array().unwrap();
    rows.iter()
        .any(|row| row["action"] == action && row["error"] == reason && row["outcome"] == "denied")
}

/// The attacker's session link and then the attacker's connect link are opened by the victim, who consents.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_link_sent_to_a_victim_shows_and_connects_nothing() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "mallory").await;
    let mut victim = service.browser();
    let asked = victim.open(&url_of(&made)).await;
    assert!(asked.url.as_str().starts_with(APPLICATION), "{asked:?}");
    // Before the application has said anything there is nothing to see, and nothing is proved.
    assert_eq!(connections(&service, &mut victim).await.status, 401);

    let mut flow = Flow::begin_in(victim, &service, "mallory", json!({ "provider": "google" })).await;
    let end = flow.arrive().await;
    assert_eq!(
        end.query("status").as_deref(),
        Some("confirmation_required"),
        "{end:?}"
    );
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Token)
            .len(),
        0
    );

    // The application knows who sits there.
    confirm_session(&application, "victim", &asked)
        .await
        .expect_problem(409, "binding_mismatch");
    assert!(audited(&service, "mallory", "session", "binding_mismatch").await);
    let path = format!("/authorizations/{}/confirm", flow.id);
    let word = json!({ "user": "victim", "confirmation": end.query("confirmation").unwrap() });
    application
        .post(&path, word)
        .await
        .expect_problem(409, "binding_mismatch");
    assert!(audited(&service, "mallory", "callback", "binding_mismatch").await);
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Token)
            .len(),
        0
    );
    for user in ["mallory", "victim"] {
        let list = service.user(user).get("/integrations").await.expect_status(200);
        assert_eq!(list["items"], json!([]), "{user}");
    }

    // The link and all that was pending of it are dead, in whatever browser.
    confirm_session(&application, "mallory", &asked)
        .await
        .expect_problem(410, "expired");
    assert_eq!(service.browser().open(&url_of(&made)).await.status, 410);
    assert_eq!(connections(&service, &mut flow.browser).await.status, 401);

    // The control: an honest user passes, and their own session connects at once.
    let honest = service.browser_of("ada").await;
    let mut flow = Flow::begin_in(honest, &service, "ada", json!({ "provider": "google" })).await;
    let end = flow.arrive().await;
    assert_eq!(end.query("status").as_deref(), Some("connected"), "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_session_link_uses_nothing_up() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "ada").await;
    let mut honest = service.browser();
    // A scanner before, and another at the time of the click.
    for _ in 0..40 {
        let seen = service.browser().step(&url_of(&made)).await;
        assert_eq!(seen.status, 303, "{seen:?}");
    }
    let asked = honest.open(&url_of(&made)).await;
    let answer = service.http.head(url_of(&made)).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    assert!(!answer.headers().contains_key("set-cookie"));
    assert!(
        !answer.headers()["location"]
            .to_str()
            .unwrap()
            .contains("session_")
    );
    for _ in 0..10 {
        service.browser().step(&url_of(&made)).await;
    }
    let rows = "SELECT count(*) FROM oauth_session_openings";
    let rows: i64 = service.sql().await.query_one(rows, &[]).await.unwrap().get(0);
    assert!(rows <= 32, "{rows}");

    assert_eq!(asked.query("session_id").as_deref(), made["session_id"].as_str());
    assert!(
        asked
            .url
            .as_str()
            .starts_with(&format!("{APPLICATION}?tab=a%20b&session_id="))
    );
    let confirmed = confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
    let page = honest.open(&url_of(&confirmed)).await;
    assert_eq!((page.status, page.url.path()), (200, "/connections"), "{page:?}");
    // Opened once more by the same browser (a reload, the way back): it is still there.
    assert_eq!(honest.open(&url_of(&confirmed)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_that_open_one_link_do_not_put_each_other_out() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "ada").await;
    let mut browser = service.browser();
    let first = browser.open(&url_of(&made)).await;
    let second = browser.open(&url_of(&made)).await;
    assert_ne!(
        first.query("session_confirmation"),
        second.query("session_confirmation")
    );
    for tab in [&first, &second] {
        let confirmed = confirm_session(&application, "ada", tab).await.expect_status(200);
        let page = browser.open(&url_of(&confirmed)).await;
        assert_eq!((page.status, page.url.path()), (200, "/connections"), "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_living_session_of_another_user_is_never_replaced_unasked() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let mut browser = service.browser();
    let adas = url_of(&link(&application, "ada").await);
    enter(&application, &mut browser, "ada", &adas).await;
    let before = browser.cookies_for(&service.base_url)["oauth_session"].clone();

    let bens = url_of(&link(&application, "ben").await);
    let question = enter(&application, &mut browser, "ben", &bens).await;
    assert_eq!(question.status, 409, "{question:?}");
    assert!(
        question.body.contains("Dr. ada") && question.body.contains("Dr. ben"),
        "{}",
        question.body
    );
    assert_eq!(browser.cookies_for(&service.base_url)["oauth_session"], before);
    assert!(connections(&service, &mut browser).await.body.contains("Dr. ada"));

    // The answer is a form of ours, and comes with its token.
    let entrance = question.url.to_string();
    for csrf in ["", "made-up"] {
        let refused = browser.submit(&entrance, &[("csrf", csrf)]).await;
        assert_eq!(refused.status, 403, "{refused:?}");
    }
    let csrf = question.body.split("name=\"csrf\" value=\"").nth(1).unwrap();
    let csrf = csrf.split('"').next().unwrap().to_owned();
    let page = browser.submit(&entrance, &[("csrf", &csrf)]).await;
    assert_eq!((page.status, page.url.path()), (200, "/connections"), "{page:?}");
    assert!(page.body.contains("Dr. ben") && !page.body.contains("Dr. ada"));
    // The session that was replaced is over.
    let late = service
        .http
        .get(format!("{}/connections", service.base_url))
        .header("cookie", format!("oauth_session={before}"));
    assert_eq!(late.send().await.unwrap().status(), 401);

    // The control: the same user again is nobody else, and is not asked.
    let before = browser.cookies_for(&service.base_url)["oauth_session"].clone();
    let bens = url_of(&link(&application, "ben").await);
    let page = enter(&application, &mut browser, "ben", &bens).await;
    assert_eq!((page.status, page.url.path()), (200, "/connections"), "{page:?}");
    assert_ne!(browser.cookies_for(&service.base_url)["oauth_session"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_says_whose_connections_and_for_which_application() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let name: String = service
        .sql()
        .await
        .query_one("SELECT name FROM oauth_service_clients", &[])
        .await
        .unwrap()
        .get(0);
    let mut browser = service.browser();
    let made = url_of(&link(&application, "ada").await);
    enter(&application, &mut browser, "ada", &made).await;
    for path in [
        "/connections",
        "/connections?status=failed&error=x",
        "/connections/disconnect?integration_id=nonsense",
        "/connections/disconnect?integration_id=google_00000000000000000000000000000abc",
        "/api/v1/oauth/callback/google?code=a&state=b",
    ] {
        let page = browser.open(&format!("{}{path}", service.base_url)).await;
        assert!(
            page.body.contains("Dr. ada") && page.body.contains(&name),
            "{path}: {page:?}"
        );
    }
    // Who has no name is called what the application calls them to us; markup in a name is text.
    for (said, shown) in [(None, "ben"), (Some("<b>Ben</b>"), "&lt;b&gt;Ben&lt;/b&gt;")] {
        let request = json!({ "user": "ben", "return_to": APPLICATION, "display_name": said });
        let made = application.post("/sessions", request).await.expect_status(201);
        let mut bens = service.browser();
        let page = enter(&application, &mut bens, "ben", &url_of(&made)).await;
        assert!(page.body.contains(shown), "{page:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_confirmed_address_opens_nothing_in_another_browser() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "mallory").await;
    let (mut mallory, mut victim) = (service.browser(), service.browser());
    let asked = mallory.open(&url_of(&made)).await;
    // The victim has opened the link as well, and has a pending session of its own.
    victim.open(&url_of(&made)).await;
    let confirmed = confirm_session(&application, "mallory", &asked)
        .await
        .expect_status(200);
    for browser in [&mut victim, &mut service.browser()] {
        let end = browser.open(&url_of(&confirmed)).await;
        assert_eq!(end.status, 410, "{end:?}");
        assert!(!end.body.contains("mallory"), "{}", end.body);
        assert!(
            !browser
                .cookies_for(&service.base_url)
                .contains_key("oauth_session")
        );
        assert_eq!(connections(&service, browser).await.status, 401);
    }
    // Nor does it touch the session that a browser has.
    let mut ada = service.browser_of("ada").await;
    assert_eq!(ada.open(&url_of(&confirmed)).await.status, 410);
    assert_eq!(connections(&service, &mut ada).await.status, 200);
    // The control.
    assert_eq!(mallory.open(&url_of(&confirmed)).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_made_up_confirmation_neither_passes_nor_harms_the_honest_one() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "ada").await;
    let mut browser = service.browser();
    let asked = browser.open(&url_of(&made)).await;
    let id = made["session_id"].as_str().unwrap();
    let path = format!("/sessions/{id}/confirm");
    let real = asked.query("session_confirmation").unwrap();
    for user in ["ada", "mallory"] {
        for guess in ["", "x", &real[1..], &"0".repeat(64), &"0".repeat(5000)] {
            let word = json!({ "user": user, "confirmation": guess });
            application.post(&path, word).await.expect_problem(410, "expired");
        }
    }
    let word = json!({ "user": "ada", "confirmation": real });
    for unknown in ["01890a5d-ac96-774b-bcce-b302099a8057", "nonsense"] {
        application
            .post(&format!("/sessions/{unknown}/confirm"), word.clone())
            .await
            .expect_problem(410, "expired");
    }
    // Another link's confirmation is none of this one.
    let other = service
        .browser()
        .open(&url_of(&link(&application, "ada").await))
        .await;
    let word = json!({ "user": "ada", "confirmation": other.query("session_confirmation").unwrap() });
    application.post(&path, word).await.expect_problem(410, "expired");

    // The control; and a lost answer is had again, before the browser goes in and after.
    let confirmed = confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
    let again = confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
    assert_eq!(confirmed, again);
    assert_eq!(browser.open(&url_of(&confirmed)).await.status, 200);
    confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
    assert_eq!(connections(&service, &mut browser).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_client_that_made_a_session_confirms_it() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "ada").await;
    let mut browser = service.browser();
    let asked = browser.open(&url_of(&made)).await;
    let other = service.service(&["*:*"]).await;
    for user in ["ada", "mallory"] {
        confirm_session(&other, user, &asked)
            .await
            .expect_problem(410, "expired");
    }
    let powerless = Policy {
        allow: vec!["*:*".parse().unwrap()],
        sessions: false,
        admin: true,
    };
    confirm_session(&service.client(powerless).await, "ada", &asked)
        .await
        .expect_problem(403, "forbidden");
    confirm_session(&service.user("ada"), "ada", &asked)
        .await
        .expect_problem(403, "forbidden");
    confirm_session(&service.anonymous(), "ada", &asked)
        .await
        .expect_problem(401, "unauthenticated");
    confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
}

/// What a browser holds before it is confirmed is no credential, under whatever name; and no more afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_pending_session_is_no_session() {
    let service = Service::start().await;
    let application = service.service(&[]).await;
    let made = link(&application, "ada").await;
    let mut browser = service.browser();
    let asked = browser.open(&url_of(&made)).await;
    let cookies = browser.cookies_for(&service.base_url);
    let (name, pending) = cookies.iter().next().unwrap();
    assert!(
        name.starts_with("oauth_pending_") && cookies.len() == 1,
        "{cookies:?}"
    );
    let secret = url_of(&made).rsplit('/').next().unwrap().to_owned();
    let confirmation = asked.query("session_confirmation").unwrap();
    let holds_none = async |value: &str| {
        for path in ["/connections", "/api/v1/oauth/integrations"] {
            let request = service.http.get(format!("{}{path}", service.base_url));
            let answer = request.header("cookie", format!("oauth_session={value}"));
            assert_eq!(answer.send().await.unwrap().status(), 401, "{path}");
        }
    };
    for value in [pending, &secret, &confirmation] {
        holds_none(value).await;
    }
    let confirmed = confirm_session(&application, "ada", &asked)
        .await
        .expect_status(200);
    holds_none(pending).await;
    assert_eq!(browser.open(&url_of(&confirmed)).await.status, 200);
    holds_none(pending).await;
    // What it holds now is a fresh value, and the pending one is gone.
    let cookies = browser.cookies_for(&service.base_url);
    assert_eq!(cookies.keys().collect::<Vec<_>>(), ["oauth_session"]);
    assert_ne!(&cookies["oauth_session"], pending);
}
