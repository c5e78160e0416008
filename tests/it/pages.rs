//! The pages, as a browser without JavaScript uses them.

use serde_json::json;

use crate::harness::{APPLICATION, Browser, End, Service, confirm_session};

/// The values of the hidden fields of the form that posts to `action`, the n-th such form of the page.
fn form(page: &End, action: &str, holding: &str) -> Vec<(String, String)> {
    let marker = format!("action=\"{action}\"");
    let forms = page.body.split("<form").skip(1);
    let form = forms
        .map(|rest| rest.split("</form>").next().unwrap())
        .find(|form| form.contains(&marker) && form.contains(holding))
        .unwrap_or_else(|| panic!("no form for {action} with {holding}: {}", page.body));
    form.split("<input")
        .skip(1)
        .filter_map(|input| {
            let input = input.split('>').next().unwrap();
            let attribute = |name: &str| {
                let rest = input.split(&format!("{name}=\"")).nth(1)?;
                Some(rest.split('"').next().unwrap().to_owned())
            };
            let sent = attribute("type").as_deref() == Some("hidden") || input.contains("checked");
            sent.then(|| (attribute("name").unwrap(), attribute("value").unwrap()))
        })
        .collect()
}

async fn submit(browser: &mut Browser, url: &str, fields: &[(String, String)]) -> End {
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    browser.submit(url, &fields).await
}

/// The page's first link that leads to such a place.
fn link(page: &End, place: &str) -> String {
    let links = page.body.split("href=\"").skip(1);
    let mut places = links.map(|rest| rest.split('"').next().unwrap().replace("&amp;", "&"));
    places
        .find(|href| href.contains(place))
        .unwrap_or_else(|| panic!("no link to {place}: {}", page.body))
}

#[track_caller]
fn expect_secured(page: &End) {
    let header = |name: &str| page.headers[name].to_str().unwrap().to_owned();
    assert!(header("content-type").starts_with("text/html"), "{page:?}");
    let policy = header("content-security-policy");
    for directive in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(header("x-content-type-options"), "nosniff");
    assert_eq!(header("referrer-policy"), "no-referrer");
    assert_eq!(header("cross-origin-opener-policy"), "same-origin");
    assert_eq!(header("cache-control"), "no-store");
    assert!(page.headers.contains_key("permissions-policy"));
    assert!(!page.body.contains("<script"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_connects_looks_disconnects_and_leaves_without_a_script() {
    let service = Service::start().await;
    let consumer = service.service(&["*:*"]).await;
    let at = |path: &str| format!("{}{path}", service.base_url);
    let made = consumer
        .post(
            "/sessions",
            json!({ "user": "ada", "return_to": APPLICATION, "features": ["notion.pages"] }),
        )
        .await
        .expect_status(201);
    let url = made["url"].as_str().unwrap();

    let mut browser = service.browser();
    let asked = browser.open(url).await;
    let confirmed = confirm_session(&consumer, "ada", &asked).await.expect_status(200);
    let opened = browser.step(confirmed["url"].as_str().unwrap()).await;
    assert_eq!(opened.status, 303, "{opened:?}");
    let cookie = opened.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("oauth_session=") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    assert!(
        cookie.contains("SameSite=Lax") && cookie.contains("Path=/"),
        "{cookie}"
    );
    // Where it goes in is for this browser alone.
    let again = service.browser().step(confirmed["url"].as_str().unwrap()).await;
    assert_eq!(again.status, 410, "{again:?}");
    expect_secured(&again);

    let list = browser.open(&at("/connections")).await;
    assert_eq!(list.status, 200);
    expect_secured(&list);
    assert!(!list.body.contains("/connections/disconnect?"), "{}", list.body);

    let fields = form(&list, "/connections/connect", "value=\"notion\"");
    assert!(
        fields.contains(&("feature".into(), "notion.pages".into())),
        "{fields:?}"
    );
    let moving = submit(&mut browser, &at("/connections/connect"), &fields).await;
    assert_eq!(moving.status, 200, "{moving:?}");
    expect_secured(&moving);
    assert!(moving.body.contains("http-equiv=\"refresh\""));
    let leaving = browser.step(&link(&moving, "/connect/")).await;
    assert_eq!(leaving.status, 303, "{leaving:?}");
    let cookie = leaving.headers["set-cookie"].to_str().unwrap();
    assert!(
        cookie.starts_with("oauth_flow_") && cookie.contains("HttpOnly"),
        "{cookie}"
    );
    let connected = browser.open(leaving.url.as_str()).await;
    assert_eq!(
        (connected.status, connected.url.path()),
        (200, "/connections"),
        "{connected:?}"
    );
    expect_secured(&connected);
    let view = service.user("ada").get("/integrations").await.expect_status(200);
    let name = view["items"][0]["account"]["name"].as_str().unwrap();
    assert!(connected.body.contains(name), "{name}: {}", connected.body);
    consumer
        .get("/users/ada/token?provider=notion")
        .await
        .expect_status(200);

    let ask = browser
        .open(&at(&link(&connected, "/connections/disconnect?")))
        .await;
    assert_eq!(ask.status, 200, "{ask:?}");
    expect_secured(&ask);
    // Looking at the question changes nothing.
    consumer
        .get("/users/ada/token?provider=notion")
        .await
        .expect_status(200);
    let fields = form(&ask, "/connections/disconnect", "integration_id");
    let gone = submit(&mut browser, &at("/connections/disconnect"), &fields).await;
    assert_eq!(gone.status, 200, "{gone:?}");
    expect_secured(&gone);
    consumer
        .get("/users/ada/token?provider=notion")
        .await
        .expect_problem(404, "not_connected");

    let list = browser.open(&at("/connections")).await;
    let fields = form(&list, "/connections/logout", "csrf");
    let kept = browser.cookies_for(&service.base_url)["oauth_session"].clone();
    let out = submit(&mut browser, &at("/connections/logout"), &fields).await;
    assert_eq!(out.status, 200, "{out:?}");
    expect_secured(&out);
    assert!(out.body.contains(APPLICATION));
    assert!(
        !browser
            .cookies_for(&service.base_url)
            .contains_key("oauth_session")
    );
    // The session is over, not only its cookie gone.
    let late = service
        .http
        .get(at("/connections"))
        .header("cookie", format!("oauth_session={kept}"));
    assert_eq!(late.send().await.unwrap().status(), 401);
    let late = browser.open(&at("/connections")).await;
    assert_eq!(late.status, 401);
    expect_secured(&late);
}

#[tokio::test(flavor = "multi_thread")]
async fn csrf_matrix() {
    let service = Service::start().await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = |path: &str| format!("{}{path}", service.base_url);
    let mut adas = service.browser_of("ada").await;
    let page = adas.open(&at("/connections")).await;
    let csrf = form(&page, "/connections/logout", "csrf")[0].1.clone();
    let cookie = format!(
        "oauth_session={}",
        adas.cookies_for(&service.base_url)["oauth_session"]
    );
    let mut bens = service.browser_of("ben").await;
    let foreign = bens.open(&at("/connections")).await;
    let foreign = form(&foreign, "/connections/logout", "csrf")[0].1.clone();

    let own = service.base_url.as_str();
    for (what, token, headers) in [
        ("no token", None, vec![("origin", own)]),
        ("an empty token", Some(""), vec![("origin", own)]),
        (
            "another session's token",
            Some(foreign.as_str()),
            vec![("origin", own)],
        ),
        ("garbage", Some("%%%"), vec![("origin", own)]),
        (
            "another origin",
            Some(csrf.as_str()),
            vec![("origin", "https://evil.example")],
        ),
        (
            "another port",
            Some(csrf.as_str()),
            vec![("origin", "http://127.0.0.1:1")],
        ),
        (
            "another site",
            Some(csrf.as_str()),
            vec![("sec-fetch-site", "cross-site")],
        ),
        (
            "a same-site neighbour",
            Some(csrf.as_str()),
            vec![("origin", own), ("sec-fetch-site", "same-site")],
        ),
    ] {
        for (path, field) in [
            ("/connections/disconnect", Some(("integration_id", id.as_str()))),
            ("/connections/connect", Some(("provider", "notion"))),
            ("/connections/logout", None),
        ] {
            let fields = token.map(|token| ("csrf", token)).into_iter().chain(field);
            let body = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(fields)
                .finish();
            let mut request = service
                .http
                .post(at(path))
                .header("cookie", &cookie)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 403, "{what} at {path}");
        }
    }
    // Scripts with our cookie need the token too; reading does not.
    let api = |method| {
        let url = at(&format!("/api/v1/oauth/integrations/{id}"));
        service.http.request(method, url).header("cookie", &cookie)
    };
    let answer = api(reqwest::Method::DELETE).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    let answer = api(reqwest::Method::GET).send().await.unwrap();
    assert_eq!(answer.status(), 200, "it is still connected");

    // The controls.
    let fields = [("csrf", csrf.as_str()), ("integration_id", id.as_str())];
    let done = adas.submit(&at("/connections/disconnect"), &fields).await;
    assert_eq!(done.status, 200, "{done:?}");
    let answer = api(reqwest::Method::GET).send().await.unwrap();
    assert!(answer.text().await.unwrap().contains("revoked"));
}

/// Another's account on the pages is no account.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_reach_only_ones_own_accounts() {
    let service = Service::start().await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let at = |path: &str| format!("{}{path}", service.base_url);
    let mut bens = service.browser_of("ben").await;
    let ask = format!("/connections/disconnect?integration_id={id}");
    assert_eq!(bens.open(&at(&ask)).await.status, 404);
    let page = bens.open(&at("/connections")).await;
    let csrf = form(&page, "/connections/logout", "csrf")[0].1.clone();
    let fields = [("csrf", csrf.as_str()), ("integration_id", id.as_str())];
    let end = bens.submit(&at("/connections/disconnect"), &fields).await;
    assert_eq!(end.status, 404, "{end:?}");
    expect_secured(&end);
    let mut adas = service.browser_of("ada").await;
    assert_eq!(adas.open(&at(&ask)).await.status, 200);
}

/// Without a session, and with one that was made up.
#[tokio::test(flavor = "multi_thread")]
async fn the_pages_need_a_session() {
    let service = Service::start().await;
    let at = |path: &str| format!("{}{path}", service.base_url);
    for path in ["/connections", "/connections/disconnect?integration_id=x"] {
        let end = service.browser().open(&at(path)).await;
        assert_eq!(end.status, 401, "{end:?}");
        expect_secured(&end);
        let made_up = service
            .http
            .get(at(path))
            .header("cookie", "oauth_session=made-up");
        assert_eq!(made_up.send().await.unwrap().status(), 401);
    }
    for path in ["/session/made-up", "/connect/google.made-up", "/connect/%00"] {
        let end = service.browser().open(&at(path)).await;
        assert!(matches!(end.status, 404 | 410), "{path}: {end:?}");
        expect_secured(&end);
    }
}
