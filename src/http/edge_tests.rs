//! The edge in front of a few routes of its own.

use std::net::Ipv4Addr;

use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use maud::html;
use serde_json::{Value, json};
use warp::Filter;

use super::*;
use crate::http::{
    HttpService,
    endpoint::{DELETE, Endpoint, POST, READ, Route},
    reply, testing,
};

static PAGE: Endpoint = Endpoint {
    template: "/page",
    methods: READ,
};
static THING: Endpoint = Endpoint {
    template: "/api/v1/oauth/things/{id}",
    methods: READ,
};
static THING_DELETE: Endpoint = Endpoint {
    template: "/api/v1/oauth/things/{id}",
    methods: DELETE,
};
static CALLBACK: Endpoint = Endpoint {
    template: "/api/v1/oauth/callback/{provider}",
    methods: READ,
};
static AT_HAND: Endpoint = Endpoint {
    template: "/at-hand",
    methods: READ,
};
static BOOM_AT_HAND: Endpoint = Endpoint {
    template: "/boom-at-hand",
    methods: READ,
};
static BOOM: Endpoint = Endpoint {
    template: "/boom",
    methods: POST,
};

fn toy(endpoint: &'static Endpoint, answer: fn() -> Response) -> Route {
    let filter = warp::ext::get::<Arc<RequestHead>>()
        .and_then(move |head: Arc<RequestHead>| {
            let taken =
                endpoint.methods.contains(&head.method) && endpoint.captures(head.uri.path()).is_some();
            std::future::ready(if taken {
                Ok(answer())
            } else {
                Err(warp::reject::not_found())
            })
        })
        .boxed();
    Route {
        endpoint,
        filter,
        at_hand: None,
    }
}

/// The same, answered at hand.
fn toy_at_hand(endpoint: &'static Endpoint, answer: fn() -> Response) -> Route {
    let is_it = |head: &RequestHead| head.uri.path() == endpoint.template;
    Route {
        at_hand: Some(Box::new(move |head| is_it(head).then(answer))),
        ..toy(endpoint, || reply::ok(&json!("not at hand")).unwrap())
    }
}

fn service(settings: HttpSettings) -> HttpService {
    let routes = vec![
        toy_at_hand(&AT_HAND, || reply::ok(&json!("at hand")).unwrap()),
        toy_at_hand(&BOOM_AT_HAND, || panic!("secret detail")),
        toy(&PAGE, || reply::page(StatusCode::OK, html! { "hello" })),
        toy(&THING, || reply::ok(&json!({"id": 1})).unwrap()),
        toy(&THING_DELETE, || reply::ok(&json!({"gone": true})).unwrap()),
        toy(&CALLBACK, || reply::page(StatusCode::OK, html! { "back" })),
        toy(&BOOM, || panic!("secret detail")),
    ];
    let now: Now = Arc::new(|| "2030-01-01T00:00:00Z".parse().unwrap());
    HttpService::of_routes(routes, Arc::new(settings), now)
}

async fn ask_with(
    settings: HttpSettings,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed();
    let response = service(settings)
        .edge()
        .answer(IpAddr::from(Ipv4Addr::LOCALHOST), request.body(body).unwrap())
        .await;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (
        parts.status,
        parts.headers,
        String::from_utf8(body.to_vec()).unwrap(),
    )
}

async fn ask(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, String) {
    ask_with(testing::settings(), method, path, headers).await
}

fn code(body: &str) -> Value {
    serde_json::from_str::<Value>(body).unwrap()["code"].clone()
}

#[tokio::test]
async fn an_unknown_path_is_404_and_a_wrong_method_405_with_allow() {
    for path in [
        "/nothing",
        "/page/",
        "//page",
        "/PAGE",
        "/api/v1/oauth/things",
        "/api/v1/oauth/things/",
        "/%70age",
    ] {
        let (status, _, body) = ask("GET", path, &[]).await;
        assert_eq!(
            (status.as_u16(), code(&body)),
            (404, json!("not_found")),
            "{path}"
        );
    }
    let (status, headers, body) = ask("POST", "/api/v1/oauth/things/1", &[]).await;
    assert_eq!((status.as_u16(), code(&body)), (405, json!("method_not_allowed")));
    assert_eq!(headers[header::ALLOW], "GET, HEAD, DELETE");
    let (_, headers, _) = ask("GET", "/boom", &[]).await;
    assert_eq!(headers[header::ALLOW], "POST");
    assert_eq!(
        ask("DELETE", "/api/v1/oauth/things/1", &[]).await.0,
        StatusCode::OK
    );
    assert_eq!(ask("HEAD", "/page", &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn trace_refused() {
    for (method, path) in [("TRACE", "/page"), ("TRACE", "/nothing"), ("CONNECT", "/page")] {
        let (status, headers, body) = ask(method, path, &[("authorization", "Bearer oms_secret")]).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert!(headers.contains_key(header::ALLOW) && !body.contains("oms_secret"));
    }
    assert_eq!(ask("PURGE", "/page", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn every_answer_carries_the_request_id() {
    for path in ["/page", "/nothing", "/api/v1/oauth/things/1"] {
        let (_, headers, _) = ask("GET", path, &[("x-request-id", "abc-1")]).await;
        assert_eq!(headers["x-request-id"], "abc-1", "{path}");
        let (_, headers, _) = ask("GET", path, &[("x-request-id", "a b")]).await;
        assert_ne!(headers["x-request-id"], "a b");
    }
    let (_, _, body) = ask("GET", "/nothing", &[("x-request-id", "abc-1")]).await;
    assert_eq!(
        serde_json::from_str::<Value>(&body).unwrap()["request_id"],
        "abc-1"
    );
}

#[tokio::test]
async fn errors_leak_nothing() {
    let (status, headers, body) = ask("POST", "/boom", &[]).await;
    assert_eq!((status.as_u16(), code(&body)), (500, json!("internal")));
    assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
    assert!(!body.contains("secret detail") && headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn headers_protect_html_and_promise_https() {
    let (_, headers, _) = ask("GET", "/page", &[]).await;
    assert!(headers.contains_key(header::CONTENT_SECURITY_POLICY));
    assert!(headers.contains_key(header::STRICT_TRANSPORT_SECURITY));
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    let (_, headers, _) = ask("GET", "/api/v1/oauth/things/1", &[]).await;
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
}

#[tokio::test]
async fn host_header_never_in_output() {
    for path in ["/page", "/nothing", "/api/v1/oauth/things/1"] {
        let (_, headers, body) = ask(
            "GET",
            path,
            &[("host", "evil.example"), ("x-forwarded-host", "evil.example")],
        )
        .await;
        assert!(
            !body.contains("evil.example") && !format!("{headers:?}").contains("evil.example"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn cors_matrix() {
    const ALLOWED: &str = "https://app.example.com";
    let exposed = |headers: &HeaderMap| {
        headers
            .get(header::ACCESS_CONTROL_ALLOW_ORIGIN)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let thing = "/api/v1/oauth/things/1";
    let (status, headers, _) = ask("GET", thing, &[("origin", ALLOWED)]).await;
    assert_eq!(
        (status, exposed(&headers).as_deref()),
        (StatusCode::OK, Some(ALLOWED))
    );
    assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS));
    assert_eq!(headers[header::VARY], "origin");
    let preflight = [("origin", ALLOWED), ("access-control-request-method", "DELETE")];
    let (status, headers, _) = ask("OPTIONS", thing, &preflight).await;
    assert_eq!(
        (status, exposed(&headers).as_deref()),
        (StatusCode::NO_CONTENT, Some(ALLOWED))
    );
    assert!(
        headers[header::ACCESS_CONTROL_ALLOW_HEADERS]
            .to_str()
            .unwrap()
            .contains("authorization")
    );
    for (path, origin) in [
        (thing, "https://evil.example"),
        (thing, "null"),
        (thing, "http://app.example.com"),
        (thing, "https://app.example.com:444"),
        (thing, "https://app.example.com.evil.example"),
        ("/page", ALLOWED),
        ("/api/v1/oauth/callback/google", ALLOWED),
        ("/api/v1/oauthx", ALLOWED),
    ] {
        let (_, headers, _) = ask("GET", path, &[("origin", origin)]).await;
        assert_eq!(exposed(&headers), None, "{path} {origin}");
        let (status, headers, _) = ask(
            "OPTIONS",
            path,
            &[("origin", origin), ("access-control-request-method", "GET")],
        )
        .await;
        assert!(
            status.is_client_error() && exposed(&headers).is_none(),
            "{path} {origin}"
        );
    }
    let settings = HttpSettings {
        allowed_origins: Vec::new(),
        ..testing::settings()
    };
    let (_, headers, _) = ask_with(settings, "GET", thing, &[("origin", ALLOWED)]).await;
    assert_eq!(exposed(&headers), None);
}

#[tokio::test]
async fn a_busy_service_says_so_and_when_to_come_again() {
    let mut settings = testing::settings();
    settings.limits.requests_max = 0;
    let (status, headers, body) = ask_with(settings, "GET", "/page", &[]).await;
    assert_eq!((status.as_u16(), code(&body)), (503, json!("overloaded")));
    assert_eq!(headers[header::RETRY_AFTER], "1");
}

#[tokio::test]
async fn what_is_at_hand_is_answered_whatever_the_load() {
    let mut settings = testing::settings();
    settings.limits.requests_max = 0;
    let (status, headers, body) = ask_with(settings, "GET", "/at-hand", &[]).await;
    assert_eq!((status.as_u16(), body.as_str()), (200, "\"at hand\""));
    assert!(headers.contains_key(X_REQUEST_ID) && headers.contains_key(header::X_CONTENT_TYPE_OPTIONS));
}

#[tokio::test]
async fn a_panic_at_hand_is_an_answer_without_its_words() {
    let (status, headers, body) = ask("GET", "/boom-at-hand", &[]).await;
    assert_eq!((status.as_u16(), code(&body)), (500, json!("internal")));
    assert!(!body.contains("secret") && headers.contains_key(X_REQUEST_ID));
}

#[tokio::test]
async fn a_long_address_is_refused() {
    let path = format!("/page?{}", "a".repeat(URI_BYTES_MAX));
    let (status, _, body) = ask("GET", &path, &[]).await;
    assert_eq!((status.as_u16(), code(&body)), (414, json!("uri_too_long")));
}

/// What was logged while `work` ran.
async fn logged(work: impl Future<Output = ()>) -> String {
    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);
    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    // While one subscriber is the only one of the process, whatever another test's thread, which has none, meets first is
    // switched off for all: one for everybody that hears everything keeps all events on.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let guard = tracing::subscriber::set_default(subscriber);
    work.await;
    drop(guard);
    String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
}

#[tokio::test]
async fn the_log_shows_the_route_and_never_what_the_address_or_headers_hold() {
    let log = logged(async {
        for path in [
            "/api/v1/oauth/things/path-secret?code=query-secret",
            "/nothing/path-secret?state=query-secret",
            "/page?confirmation=query-secret",
        ] {
            let headers = [
                ("authorization", "Bearer header-secret"),
                ("cookie", "oauth_session=header-secret"),
                ("x-request-id", "req-7"),
            ];
            ask("GET", path, &headers).await;
        }
    })
    .await;
    assert!(log.contains("req-7") && log.contains("http.status=404"), "{log}");
    assert!(!log.contains("secret"), "{log}");
}
