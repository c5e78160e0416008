//! Browsers come back twice, together, late, from a link that others opened too, or without saying which flow they mean:
//! whoever began is led on to where their flow stands, and nobody else is.

use futures_util::future::join_all;
use oauth_manager::dev::simulator::{Endpoint, Provider};
use reqwest::header::{COOKIE, HeaderValue, LOCATION};
use serde_json::{Value, json};
use url::Url;

use crate::harness::{
    APPLICATION, Answer, Browser, End, Flow, Service, ServiceOptions, begin_on_our_page, parameter,
};

fn exchanges(service: &Service) -> usize {
    let requests = service.simulator.requests_to(Provider::Google, Endpoint::Token);
    requests.len()
}

async fn confirm(service: &Service, user: &str, end: &End) -> Answer {
    let path = format!(
        "/authorizations/{}/confirm",
        end.query("authorization_id").unwrap()
    );
    let body = json!({ "confirmation": end.query("confirmation").unwrap() });
    service.user(user).post(&path, body).await
}

async fn status(service: &Service, user: &str, flow: &str) -> Value {
    let view = service.user(user).get(&format!("/authorizations/{flow}")).await;
    view.expect_status(200)["status"].clone()
}

#[track_caller]
fn expect_status(end: &End, status: &str) {
    assert_eq!(end.status, 303, "{end:?}");
    assert_eq!(end.query("status").as_deref(), Some(status), "{end:?}");
}

/// A page of ours that tells nothing about any flow.
#[track_caller]
fn expect_told_nothing(end: &End, flow: &Flow, reason: &str) {
    assert_eq!(end.status, 400, "{end:?}");
    assert!(!end.headers.contains_key("location"), "{end:?}");
    assert!(end.body.contains(&format!("<code>{reason}</code>")), "{end:?}");
    assert!(
        !end.body.contains(&flow.id) && !end.body.contains("confirmation="),
        "{end:?}"
    );
}

/// Another browser that opens the flow's link and goes as far as the callback.
async fn opened_by(service: &Service, mut browser: Browser, flow: &Flow) -> Flow {
    let away = browser.step(&flow.link).await;
    assert_eq!(away.status, 303, "{away:?}");
    let back = browser.step(away.url.as_str()).await;
    assert!(back.url.as_str().starts_with(&service.base_url), "{back:?}");
    Flow {
        id: flow.id.clone(),
        link: flow.link.clone(),
        callback: back.url,
        browser,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_repeated_by_its_browser_is_led_on_to_where_the_flow_stands() {
    let service = Service::start().await;
    // Whichever of the two answers the browser shows, its confirmation is good.
    for shown in [0, 1] {
        let before = exchanges(&service);
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let ends = [flow.arrive().await, flow.arrive().await];
        for end in &ends {
            expect_status(end, "confirmation_required");
        }
        assert_eq!(exchanges(&service), before);
        let first = confirm(&service, "ada", &ends[shown]).await.expect_status(200);
        let end = flow.arrive().await;
        expect_status(&end, "connected");
        assert_eq!(end.query("authorization_id").as_deref(), Some(flow.id.as_str()));
        assert_eq!(end.query("confirmation"), None);
        let again = confirm(&service, "ada", &ends[1 - shown])
            .await
            .expect_status(200);
        assert_eq!(again["id"], first["id"]);
        assert_eq!(exchanges(&service), before + 1);
    }

    let mut denied = Flow::begin(&service, "ada", "google").await;
    let mut no = denied.callback_with("code", None);
    no.query_pairs_mut().append_pair("error", "access_denied");
    let mut failed = Flow::begin(&service, "ada", "google").await;
    let twice = failed.callback_and("code", "other");
    for _ in 0..2 {
        let end = denied.arrive_at(&no).await;
        expect_status(&end, "denied");
        assert_eq!(end.query("error").as_deref(), Some("access_denied"));
        let end = failed.arrive_at(&twice).await;
        expect_status(&end, "failed");
        assert_eq!(end.query("error").as_deref(), Some("conflicting_parameters"));
    }
    // Nor does a good code help what has ended.
    expect_status(&failed.arrive().await, "failed");
    assert_eq!(exchanges(&service), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_state_tells_another_browser_nothing() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let end = flow.arrive().await;
    let mut owners_own = service.browser_of("ada").await;
    for stranger in [
        &mut service.browser(),
        &mut service.browser_of("eve").await,
        &mut owners_own,
    ] {
        expect_told_nothing(&stranger.step(flow.callback.as_str()).await, &flow, "state_used");
    }
    // Somebody who opened the same link is a stranger all the same.
    let mut thief = Flow::begin(&service, "ada", "google").await;
    let mut victim = opened_by(&service, service.browser(), &thief).await;
    expect_status(&victim.arrive().await, "confirmation_required");
    expect_told_nothing(&thief.arrive().await, &thief, "state_used");
    let callback = victim.callback.clone();
    expect_told_nothing(&thief.arrive_at(&callback).await, &thief, "state_used");
    // The control.
    confirm(&service, "ada", &end).await.expect_status(200);
    expect_status(&flow.arrive().await, "connected");
    let audit = service.user("ada").get("/audit").await.expect_status(200);
    let refused = |row: &&Value| row["error"] == "state_used" && row["authorization_id"] == flow.id.as_str();
    assert!(
        audit["items"].as_array().unwrap().iter().any(|row| refused(&row)),
        "{audit:#}"
    );
}

/// A double click: the browser drops the first answer and shows the second.
#[tokio::test(flavor = "multi_thread")]
async fn callbacks_at_once_on_two_nodes_exchange_once_and_all_say_connected() {
    let first = Service::start().await;
    let second = first.second_node().await;
    let browser = first.browser_of("ada").await;
    let flow = Flow::begin_in(browser, &first, "ada", json!({ "provider": "google" })).await;
    let cookies = flow.browser.cookies_for(&first.base_url);
    let line: Vec<_> = cookies
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let arrivals = (0..12).map(|n| {
        let mut url = flow.callback.clone();
        if n % 2 == 1 {
            let other: Url = second.base_url.parse().unwrap();
            url.set_port(other.port()).unwrap();
        }
        let request = first.http.get(url).header(COOKIE, line.join("; "));
        async move { request.send().await.unwrap() }
    });
    for answer in join_all(arrivals).await {
        assert_eq!(answer.status(), 303);
        let location = answer.headers()[LOCATION].to_str().unwrap();
        assert!(location.contains("status=connected"), "{location}");
    }
    assert_eq!(exchanges(&first), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_browser_that_opened_the_link_may_come_back_and_one_connects() {
    let service = Service::start().await;
    // A scanner opens it at the time of the click, after the user has left.
    let mut user = Flow::begin(&service, "ada", "google").await;
    let mut scanner = opened_by(&service, service.browser(), &user).await;
    let end = user.arrive().await;
    expect_status(&end, "confirmation_required");
    expect_told_nothing(&scanner.arrive().await, &scanner, "state_used");
    confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service), 1);

    // Whatever is wrong with what one brings back is no other's harm.
    let mut user = Flow::begin(&service, "ada", "google").await;
    let mut scanner = opened_by(&service, service.browser(), &user).await;
    let spoiled = scanner.callback_and("code", "other");
    expect_status(&scanner.arrive_at(&spoiled).await, "failed");
    let end = service.browser().step(scanner.callback.as_str()).await;
    assert_eq!(end.status, 400, "{end:?}");
    let end = user.arrive().await;
    expect_status(&end, "confirmation_required");
    confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_opened_twice_in_one_browser_works_from_either_tab() {
    let service = Service::start().await;
    for (at_once, last) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
        let before = exchanges(&service);
        let mut flow = Flow::begin(&service, "ada", "google").await;
        let second = if at_once {
            // Neither request carried the other's cookie.
            let other = opened_by(&service, service.browser(), &flow).await;
            flow.browser.borrow_cookies(&other.browser);
            other.callback
        } else {
            let away = flow.browser.step(&flow.link).await;
            flow.browser.step(away.url.as_str()).await.url
        };
        assert_ne!(parameter(&second, "state").unwrap(), flow.parameter("state"));
        let mut tabs = [flow.callback.clone(), second];
        tabs.rotate_left(last);
        let one = flow.arrive_at(&tabs[0]).await;
        expect_status(&one, "confirmation_required");
        let two = flow.arrive_at(&tabs[1]).await;
        expect_status(&two, "confirmation_required");
        confirm(&service, "ada", &two).await.expect_status(200);
        assert_eq!(exchanges(&service), before + 1);
        for tab in &tabs {
            expect_status(&flow.arrive_at(tab).await, "connected");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_opened_so_often_and_no_more() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let opened = join_all((0..60).map(|_| service.http.get(&flow.link).send())).await;
    let statuses: Vec<u16> = opened
        .into_iter()
        .map(|answer| answer.unwrap().status().as_u16())
        .collect();
    assert_eq!(
        statuses.iter().filter(|status| **status == 303).count(),
        31,
        "{statuses:?}"
    );
    assert!(
        statuses.iter().all(|status| matches!(status, 303 | 410)),
        "{statuses:?}"
    );
    // Whoever left before comes back.
    let end = flow.arrive().await;
    confirm(&service, "ada", &end).await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_without_a_state_ends_the_one_flow_its_browser_waits_for() {
    let service = Service::start().await;
    let said_no = format!(
        "{}/api/v1/oauth/callback/google?error=access_denied",
        service.base_url
    );
    let mut flow = Flow::begin(&service, "ada", "google").await;
    // In another browser, at another provider, or beside a code nothing is meant.
    let mut stranger = service.browser();
    for end in [
        stranger.step(&said_no).await,
        flow.browser.step(&said_no.replace("google", "notion")).await,
        flow.browser.step(&format!("{said_no}&code=x")).await,
    ] {
        assert!(end.status == 400 && end.body.contains("state_missing"), "{end:?}");
    }
    assert_eq!(status(&service, "ada", &flow.id).await, "redirected");
    let end = flow.browser.step(&said_no).await;
    expect_status(&end, "denied");
    assert!(end.url.as_str().starts_with(APPLICATION), "{end:?}");
    assert_eq!(end.query("authorization_id").as_deref(), Some(flow.id.as_str()));
    assert_eq!(status(&service, "ada", &flow.id).await, "denied");
    expect_status(&flow.arrive().await, "denied");

    // Of two nobody knows which, and both go on; one of another provider does not count.
    let request = json!({ "provider": "google" });
    let first = Flow::begin(&service, "ada", "google").await;
    let (first_callback, first_id) = (first.callback.clone(), first.id.clone());
    let mut second = Flow::begin_in(first.browser, &service, "ada", request).await;
    let end = second.browser.step(&said_no).await;
    assert!(end.status == 400 && end.body.contains("state_missing"), "{end:?}");
    expect_status(&second.arrive_at(&first_callback).await, "confirmation_required");
    let third = json!({ "provider": "notion" });
    let mut third = Flow::begin_in(second.browser, &service, "ada", third).await;
    expect_status(&third.browser.step(&said_no).await, "denied");
    assert_eq!(status(&service, "ada", &second.id).await, "denied");
    assert_eq!(status(&service, "ada", &first_id).await, "awaiting_confirmation");
    assert_eq!(status(&service, "ada", &third.id).await, "redirected");
    assert_eq!(exchanges(&service), 0);
}

/// Other applications on the host write cookies in whatever encoding.
#[tokio::test(flavor = "multi_thread")]
async fn our_cookies_are_found_among_odd_neighbours() {
    let service = Service::start().await;
    let odd: [&[u8]; 4] = [
        "utm=Unders\u{f8}gelse".as_bytes(),
        b"utm=Unders\xf8gelse",
        b"=nameless; valueless; ; =",
        b"\xff\xfe",
    ];
    for (n, neighbour) in odd.iter().enumerate() {
        let browser = if n % 2 == 0 {
            service.browser()
        } else {
            service.browser_of("ada").await
        };
        let flow = Flow::begin_in(browser, &service, "ada", json!({ "provider": "google" })).await;
        let mut line = neighbour.to_vec();
        for (name, value) in flow.browser.cookies_for(&service.base_url) {
            line.extend_from_slice(format!("; {name}={value}").as_bytes());
        }
        let request = service.http.get(flow.callback.clone());
        let answer = request
            .header(COOKIE, HeaderValue::from_bytes(&line).unwrap())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 303, "{neighbour:?}");
        let location = answer.headers()[LOCATION].to_str().unwrap();
        let expected = if n % 2 == 0 {
            "status=confirmation_required"
        } else {
            "status=connected"
        };
        assert!(location.contains(expected), "{location}");
    }
}

/// Whoever has no page of ours to come back to says where the application is.
#[tokio::test(flavor = "multi_thread")]
async fn a_flow_begun_by_the_application_names_where_to_come_back_to() {
    let service = Service::start().await;
    let backend = service.service(&["*:*"]).await;
    for (api, body) in [
        (service.user("ada"), json!({ "provider": "google" })),
        (
            service.user("ada"),
            json!({ "provider": "google", "return_to": null }),
        ),
        (backend, json!({ "provider": "google", "user": "ada" })),
    ] {
        let problem = api.post("/authorizations", body.clone()).await;
        let problem = problem.expect_problem(400, "invalid_request");
        assert!(
            problem["detail"].as_str().unwrap().contains("return_to"),
            "{problem:#}"
        );
        let mut body = body;
        body["return_to"] = APPLICATION.into();
        api.post("/authorizations", body).await.expect_status(201);
    }
    // Our own pages are where their user is.
    let mut browser = service.browser_of("ada").await;
    let begun = begin_on_our_page(&service, &mut browser, json!({ "provider": "google" })).await;
    let link = begun["authorization_url"].as_str().unwrap();
    let end = browser.open(link).await;
    assert_eq!(end.status, 200, "{end:?}");
    assert!(end.body.contains("Your account is connected"), "{end:?}");
    // A page can be reloaded.
    let end = browser.open(end.url.as_str()).await;
    assert!(
        end.status == 200 && end.body.contains("Your account is connected"),
        "{end:?}"
    );
    assert_eq!(exchanges(&service), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_address_that_was_named_receives_a_confirmation() {
    let service = Service::start_with(ServiceOptions {
        change_toml: |toml| {
            let line = "[server]\nallowed_return_urls = [\"https://app.example.com/connected\"]";
            toml.replacen("[server]", line, 1)
        },
        ..ServiceOptions::default()
    })
    .await;
    let user = service.user("ada");
    let begin = |address: &str| {
        user.post(
            "/authorizations",
            json!({ "provider": "google", "return_to": address }),
        )
    };
    for address in [
        "https://app.example.com/redirect?to=//evil.example",
        "https://app.example.com/connected/../redirect?to=//evil.example",
        "https://app.example.com/",
        "https://app.example.com/connected/",
        "http://app.example.com/connected",
        "https://app.example.com:8443/connected",
        "https://app.example.com./connected",
        "https://app.example.com/connected?session_confirmation=mine",
        "https://app.example.com/connected?status=connected",
    ] {
        begin(address).await.expect_problem(400, "invalid_request");
    }
    let begun = begin("https://app.example.com/connected?tab=mail&to=//x").await;
    let begun = begun.expect_status(201);
    let mut browser = service.browser();
    let away = browser.step(begun["authorization_url"].as_str().unwrap()).await;
    let back = browser.step(away.url.as_str()).await;
    let end = browser.step(back.url.as_str()).await;
    expect_status(&end, "confirmation_required");
    let sent = end.url.as_str();
    assert!(
        sent.starts_with("https://app.example.com/connected?tab=mail&to=//x&authorization_id="),
        "{sent}"
    );
    begin("http://127.8.9.1:5000/any/path").await.expect_status(201);
}

/// Anybody can send them, without any credential.
#[tokio::test(flavor = "multi_thread")]
async fn stray_callbacks_are_recorded_by_number() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let stray = format!("{}/api/v1/oauth/callback/google?code=a&state=b", service.base_url);
    for _ in 0..50 {
        let sent = join_all((0..40).map(|_| service.http.get(&stray).send())).await;
        // An address that goes on like this is refused, in the end.
        assert!(
            sent.into_iter()
                .all(|answer| matches!(answer.unwrap().status().as_u16(), 400 | 429))
        );
    }
    let end = flow.arrive().await;
    confirm(&service, "ada", &end).await.expect_status(200);
    // Nor does a used state of one's own serve to fill the audit.
    for _ in 0..10 {
        let sent = join_all((0..20).map(|_| service.http.get(flow.callback.clone()).send())).await;
        assert!(
            sent.into_iter()
                .all(|answer| matches!(answer.unwrap().status().as_u16(), 400 | 429))
        );
    }
    let sql = service.sql().await;
    service.stop().await;
    let count = "SELECT count(*), coalesce(sum(count), 0) FROM oauth_audit_log
                 WHERE action = 'callback' AND error = $1 AND ip = '127.0.0.1'";
    for (reason, sent) in [("state_unknown", 2_000), ("state_used", 200)] {
        let row = sql.query_one(count, &[&reason]).await.unwrap();
        let (rows, counted) = (row.get::<_, i64>(0), row.get::<_, i64>(1));
        assert_eq!(counted, sent, "{reason}");
        // Two for each minute that it took.
        assert!(rows <= 12, "{reason}: {rows} rows");
    }
}

/// Who has left comes back, also when a node died between taking the state and the code.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_vanished_node_took_in_goes_on_when_its_browser_comes_again() {
    let service = Service::start().await;
    let mut flow = Flow::begin(&service, "ada", "google").await;
    let sql = service.sql().await;
    let taken = "UPDATE oauth_authorizations a SET status = 'returned', state = r.state, browser = r.browser,
                     nonce = r.nonce, data_key = r.data_key, pkce_verifier = r.pkce_verifier
                 FROM oauth_authorization_redirects r WHERE r.authorization_id = a.id";
    assert_eq!(sql.execute(taken, &[]).await.unwrap(), 1);
    expect_told_nothing(
        &service.browser().step(flow.callback.as_str()).await,
        &flow,
        "state_used",
    );
    let end = flow.arrive().await;
    expect_status(&end, "confirmation_required");
    confirm(&service, "ada", &end).await.expect_status(200);
    assert_eq!(exchanges(&service), 1);
}
