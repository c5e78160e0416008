//! Bad input: refused in words that help, never a failure of ours.

use oauth_manager::dev::simulator::{Endpoint, Provider};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{APPLICATION, Answer, Service, jwt};

fn names(problem: &Value) -> Vec<&str> {
    let known = problem["known"].as_array().expect("the names that exist");
    known.iter().map(|name| name.as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_name_is_answered_with_those_that_exist() {
    let service = Service::start().await;
    let (user, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    let begin = |body: Value| user.post("/authorizations", body);

    let problem = begin(json!({ "provider": "nobody" })).await;
    let problem = problem.expect_problem(400, "invalid_request");
    assert_eq!(names(&problem), ["google", "microsoft", "notion", "youtube"]);
    let problem = user
        .get("/providers/nobody/scopes")
        .await
        .expect_problem(404, "not_found");
    assert!(names(&problem).contains(&"google"));
    let problem = consumer.get("/users/ada/token?provider=nobody").await;
    assert!(names(&problem.expect_problem(400, "invalid_request")).contains(&"google"));

    for body in [
        json!({ "provider": "google", "features": ["google.nothing"] }),
        json!({ "provider": "google", "features": ["calendar"] }),
        json!({ "provider": "google", "features": ["microsoft.calendar"] }),
        json!({ "provider": "google", "features": [""] }),
    ] {
        let problem = begin(body.clone()).await.expect_problem(400, "invalid_request");
        let known = names(&problem);
        assert!(known.contains(&"google.calendar"), "{body} {known:?}");
        assert!(!known.contains(&"microsoft.calendar"), "{known:?}");
    }
    let problem = consumer.get("/users/ada/token?feature=google.nothing").await;
    assert!(names(&problem.expect_problem(400, "invalid_request")).contains(&"google.gmail"));

    let calendar = "https://www.googleapis.com/auth/calendar.readonly";
    let problem = begin(json!({ "provider": "google", "scopes": ["calendar.readonly"] })).await;
    assert!(names(&problem.expect_problem(400, "invalid_request")).contains(&calendar));
    let problem = consumer
        .get("/users/ada/token?provider=google&scopes=Mail.Read")
        .await;
    assert!(names(&problem.expect_problem(400, "invalid_request")).contains(&calendar));

    // The control, and an account that is not connected.
    begin(json!({ "provider": "google", "scopes": [calendar], "return_to": APPLICATION }))
        .await
        .expect_status(201);
    consumer
        .get("/users/ada/token?provider=google")
        .await
        .expect_problem(404, "not_connected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_expected_is_refused() {
    let service = Service::start().await;
    let user = service.user("ada");
    let send = |body: String| {
        let user = user.clone();
        async move { user.send(Method::POST, "/authorizations", Some(body)).await }
    };
    let deep = format!("{}{}", "[".repeat(20_000), "]".repeat(20_000));
    for body in [
        "",
        "{",
        "null",
        "[]",
        "\"google\"",
        "{\"provider\":1}",
        "{\"provider\":null}",
        "{\"provider\":[\"google\"]}",
        "{\"provider\":\"google\",\"feature\":\"google.calendar\"}",
        "{\"provider\":\"google\",\"features\":\"google.calendar\"}",
        "{\"provider\":\"google\",\"features\":[[]]}",
        "{\"provider\":\"google\",\"provider\":\"google\"}",
        "{\"provider\":\"google\"} trailing",
        "{\"provider\":\"goo\\u0000gle\"}",
        "{\"provider\":\"\\ud800\"}",
        "{\"provider\":\"google\",\"user\":\"ben\"}",
        "{\"provider\":\"google\",\"login_hint\":\"a\\u0000b\"}",
        "{\"provider\":\"google\",\"login_hint\":\"\"}",
        "{\"provider\":\"google\",\"scopes\":[\"a\\u0000\"]}",
        "{\"provider\":\"google\",\"integration_id\":\"google_zz\"}",
        deep.as_str(),
    ] {
        let answer = send(body.to_owned()).await;
        let expected = if body.contains("google_zz") {
            (404, "not_found")
        } else {
            (400, "invalid_request")
        };
        answer.expect_problem(expected.0, expected.1);
    }
    let wide = json!({ "provider": "google", "features": vec!["google.calendar"; 101] });
    send(wide.to_string())
        .await
        .expect_problem(400, "invalid_request");
    let other = json!({ "provider": "google", "integration_id": "notion_01890a5dac96774bbcceb302099a8057" });
    send(other.to_string())
        .await
        .expect_problem(400, "invalid_request");
    // The control.
    let good = json!({ "provider": "google", "return_to": APPLICATION });
    send(good.to_string()).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_bounded_typed_and_utf8() {
    let service = Service::start().await;
    let url = format!("{}/api/v1/oauth/authorizations", service.base_url);
    let post = |content_type: Option<&'static str>, body: Vec<u8>| {
        let mut request = service
            .http
            .post(&url)
            .bearer_auth(service.user("ada").token())
            .body(body);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        async move { Answer::of(request.send().await.unwrap()).await }
    };
    let good = json!({ "provider": "google", "return_to": APPLICATION });
    let good = good.to_string().into_bytes();
    let json = Some("application/json");
    post(None, good.clone())
        .await
        .expect_problem(400, "invalid_request");
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "json"] {
        post(Some(wrong), good.clone())
            .await
            .expect_problem(400, "invalid_request");
    }
    let padded = |to: usize| [good.clone(), vec![b' '; to - good.len()]].concat();
    post(json, padded(64 * 1024 + 1))
        .await
        .expect_problem(413, "payload_too_large");
    post(json, b"{\"provider\":\"\xff\xfe\"}".to_vec())
        .await
        .expect_problem(400, "invalid_request");
    post(json, vec![0; 100])
        .await
        .expect_problem(400, "invalid_request");
    // Whoever has sent all of it hears why it was refused, and is not cut off.
    for _ in 0..30 {
        post(json, padded(200 * 1024))
            .await
            .expect_problem(413, "payload_too_large");
        post(Some("text/plain"), padded(60 * 1024))
            .await
            .expect_problem(400, "invalid_request");
    }
    // Credentials come before bodies: nobody makes us read much without one.
    let anonymous = service
        .http
        .post(&url)
        .header("content-type", "application/json")
        .body(padded(64 * 1024))
        .send()
        .await
        .unwrap();
    Answer::of(anonymous).await.expect_problem(401, "unauthenticated");
    // The controls: the largest body, and a charset.
    post(json, padded(64 * 1024)).await.expect_status(201);
    post(Some("application/json; charset=utf-8"), good)
        .await
        .expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_out_of_bounds_is_refused() {
    let service = Service::start().await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (user, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    for value in [
        "-1",
        "25h",
        "1d",
        "x",
        "",
        "1.5",
        "99999999999999999999",
        "%00",
        "1h1h",
    ] {
        for path in [
            format!("/integrations/{id}/token?min_ttl={value}"),
            format!("/users/ada/token?provider=google&min_ttl={value}"),
        ] {
            consumer.get(&path).await.expect_problem(400, "invalid_request");
        }
    }
    for query in [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=",
        "after=garbage",
        "after=%00%ff",
        "after=AAAA",
        "nonsense=1",
        "limit=1&limit=1",
    ] {
        for list in ["/integrations", "/audit", &format!("/integrations/{id}/consents")] {
            user.get(&format!("{list}?{query}"))
                .await
                .expect_problem(400, "invalid_request");
        }
    }
    for bad in [
        "google",
        "google_",
        "google_1",
        "GOOGLE_01890a5dac96774bbcceb302099a8057",
        "%00",
        "%2e%2e",
        "nobody_01890a5dac96774bbcceb302099a8057",
    ] {
        user.get(&format!("/integrations/{bad}"))
            .await
            .expect_problem(404, "not_found");
        consumer
            .get(&format!("/integrations/{bad}/token"))
            .await
            .expect_problem(404, "not_found");
    }
    for bad in ["1", "%00", "01890a5d-ac96-774b-bcce-b302099a8057"] {
        user.get(&format!("/authorizations/{bad}"))
            .await
            .expect_problem(404, "not_found");
    }
    let account = |value: &str| format!("/users/ada/token?provider=google&account={value}");
    for bad in ["%00", &"x".repeat(321), ""] {
        let answer = consumer.get(&account(bad)).await;
        assert!(matches!(answer.status, 400 | 404), "{bad:?} {answer:?}");
    }
    consumer
        .get("/users/%00/token?provider=google")
        .await
        .expect_problem(400, "invalid_request");
    consumer.get(&account(&id)).await.expect_status(200);
    user.get("/audit?limit=200").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_return_address_off_the_list_is_refused() {
    let service = Service::start().await;
    let (user, consumer) = (service.user("ada"), service.service(&["*:*"]).await);
    for bad in [
        "https://evil.example/",
        "//evil.example",
        "javascript:alert(1)",
        "/relative",
        "http://127.0.0.1:9@evil.example/",
        "http://127.0.0.1.evil.example/",
        "http://127.0.0.1:9/\r\nset-cookie: x=1",
        "http://127.0.0.1:9/?confirmation=mine",
        "",
    ] {
        let flow = json!({ "provider": "google", "return_to": bad });
        user.post("/authorizations", flow)
            .await
            .expect_problem(400, "invalid_request");
        let session = json!({ "user": "ada", "return_to": bad });
        consumer
            .post("/sessions", session)
            .await
            .expect_problem(400, "invalid_request");
    }
    let flow = json!({ "provider": "google", "return_to": APPLICATION });
    user.post("/authorizations", flow).await.expect_status(201);
    consumer
        .post("/sessions", json!({ "user": "ada" }))
        .await
        .expect_problem(400, "invalid_request");
    for query in ["session_id=x", "session_confirmation=x", "tab=1&session%5Fid=x"] {
        let session = json!({ "user": "ada", "return_to": format!("{APPLICATION}?{query}") });
        consumer
            .post("/sessions", session)
            .await
            .expect_problem(400, "invalid_request");
    }
    let session = json!({ "user": "ada", "return_to": APPLICATION });
    consumer.post("/sessions", session).await.expect_status(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_does_not_hold_is_401() {
    let service = Service::start().await;
    let good = service.user("ada").token().to_owned();
    let (head, rest) = good.split_once('.').unwrap();
    let other_payload = service.user("ben").token().split('.').nth(1).unwrap().to_owned();
    let signature = rest.split('.').nth(1).unwrap();
    for bad in [
        "x".to_owned(),
        "a.b.c".to_owned(),
        format!("{good}x"),
        good[..good.len() - 4].to_owned(),
        format!("{head}.{other_payload}.{signature}"),
        format!("eyJhbGciOiJub25lIn0.{other_payload}."),
        jwt(&json!({ "sub": "ada", "exp": 1_000_000_000 })),
        jwt(&json!({ "sub": "ada" })),
        jwt(&json!({ "exp": 99_999_999_999_i64 })),
        jwt(&json!({ "sub": "", "exp": 99_999_999_999_i64 })),
        jwt(&json!({ "sub": "ada\u{0}", "exp": 99_999_999_999_i64 })),
        jwt(&json!({ "sub": 7, "exp": 99_999_999_999_i64 })),
        jwt(&json!({ "sub": "ada", "exp": "tomorrow" })),
        jwt(&json!({ "sub": "ada", "exp": 99_999_999_999_i64, "nbf": 99_999_999_998_i64 })),
        "oms_".to_owned(),
        "oms_00000000000000000000000000000000".to_owned(),
    ] {
        let answer = service.with_token(&bad).get("/integrations").await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{bad}");
        answer.expect_problem(401, "unauthenticated");
    }
    for line in ["Basic YTpi", "Bearer", "bearer", "Token x"] {
        let url = format!("{}/api/v1/oauth/integrations", service.base_url);
        let request = service.http.get(url).header("authorization", line);
        Answer::of(request.send().await.unwrap())
            .await
            .expect_problem(401, "unauthenticated");
    }
    service
        .anonymous()
        .get("/integrations")
        .await
        .expect_problem(401, "unauthenticated");
    service
        .with_token(&good)
        .get("/integrations")
        .await
        .expect_status(200);
    assert!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Token)
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_405_and_wrong_paths_404() {
    let service = Service::start().await;
    let user = service.user("ada");
    for (method, path) in [
        (Method::DELETE, "/authorizations"),
        (Method::GET, "/authorizations"),
        (Method::PUT, "/integrations"),
        (Method::POST, "/audit"),
        (Method::GET, "/sessions"),
        (Method::POST, "/callback/google"),
        (Method::HEAD, "/callback/google"),
        (Method::POST, "/users/ada/token"),
        (Method::HEAD, "/users/ada/token"),
        (Method::TRACE, "/integrations"),
    ] {
        let answer = user.send(method.clone(), path, None).await;
        assert_eq!(answer.status, 405, "{method} {path}: {answer:?}");
        assert!(answer.headers.contains_key("allow"), "{method} {path}");
    }
    for path in [
        "/",
        "/nothing",
        "/integrations/",
        "/users//token",
        "/../x",
        "/integrations/a/b/c/d",
    ] {
        // Before any credential: a path that does not exist is nobody's secret.
        service
            .anonymous()
            .get(path)
            .await
            .expect_problem(404, "not_found");
    }
    let long = format!("/integrations?after={}", "x".repeat(9_000));
    user.get(&long).await.expect_problem(414, "uri_too_long");
    let many = format!("/integrations?{}", "a=1&".repeat(500));
    user.get(&many).await.expect_problem(400, "invalid_request");
}
