//! Garbage at every route, from every kind of caller: always an answer of ours, never a failure of ours.

use std::{collections::BTreeSet, fmt::Write as _};

use oauth_manager_actors::domain::client::Policy;
use reqwest::{Method, header::HeaderValue};
use serde_json::Value;

use crate::harness::{Answer, Flow, Service};

/// Requests in all; the same every time.
const REQUESTS: usize = 3_000;
const SEED: u64 = 0x5eed_1234_abcd_9876;

/// Every path of the contract; `{}` is filled in.
const PATHS: [&str; 37] = [
    "/",
    "/health",
    "/ready",
    "/api/v1/oauth/providers",
    "/api/v1/oauth/providers/{}/scopes",
    "/api/v1/oauth/features",
    "/api/v1/oauth/authorizations",
    "/api/v1/oauth/authorizations/{}",
    "/api/v1/oauth/authorizations/{}/confirm",
    "/connect/{}",
    "/api/v1/oauth/callback/{}",
    "/api/v1/oauth/integrations",
    "/api/v1/oauth/integrations/{}",
    "/api/v1/oauth/integrations/{}/refresh",
    "/api/v1/oauth/integrations/{}/features/{}",
    "/api/v1/oauth/integrations/{}/consents",
    "/api/v1/oauth/integrations/{}/token",
    "/api/v1/oauth/integrations/{}/token/rejected",
    "/api/v1/oauth/users/{}/token",
    "/api/v1/oauth/audit",
    "/api/v1/oauth/sessions",
    "/api/v1/oauth/admin/providers",
    "/api/v1/oauth/admin/actors",
    "/api/v1/oauth/admin/integrations",
    "/api/v1/oauth/admin/integrations/{}",
    "/api/v1/oauth/admin/keys",
    "/session/{}",
    "/session/{}/enter",
    "/api/v1/oauth/sessions/{}/confirm",
    "/connections",
    "/connections/connect",
    "/connections/disconnect",
    "/connections/features",
    "/connections/choose",
    "/connections/logout",
    "/{}",
    "/api/v1/oauth/{}",
];

const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::DELETE,
    Method::PUT,
    Method::PATCH,
    Method::HEAD,
    Method::OPTIONS,
];

/// Parameters and members that exist, so that garbage gets past the names.
const NAMES: [&str; 23] = [
    "user",
    "provider",
    "feature",
    "features",
    "scopes",
    "min_ttl",
    "account",
    "limit",
    "after",
    "state",
    "code",
    "error",
    "iss",
    "return_to",
    "integration_id",
    "login_hint",
    "confirmation",
    "choice",
    "switch",
    "authorization_id",
    "csrf",
    "token_hash",
    "status",
];

/// xorshift64*: chance that repeats.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.roll(from.len())]
    }
}

/// Values that have broken services before, and some that are right.
fn value(dice: &mut Dice, real: &[String]) -> String {
    let fixed = [
        "",
        "0",
        "-1",
        "null",
        "true",
        "\0",
        "\u{feff}",
        "\u{202e}",
        "\u{10ffff}",
        "'",
        "\"",
        "';--",
        "$1",
        "%s",
        "%00",
        "../../etc/passwd",
        "..",
        "{}",
        "[]",
        "NaN",
        "1e309",
        "99999999999999999999",
        "a\r\nb: c",
        "<script>",
        "ada",
        "google",
        "microsoft",
        "notion",
        "google.calendar",
        "openid",
        "60",
        "access_denied",
        "*",
        "_",
        "google_",
        "http://127.0.0.1:9/done",
        "01890a5d-ac96-774b-bcce-b302099a8057",
        "google_01890a5dac96774bbcceb302099a8057",
    ];
    match dice.roll(8) {
        0..=3 => dice.pick(&fixed).to_owned(),
        4 | 5 => real[dice.roll(real.len())].clone(),
        6 => "é\u{0}x".repeat(dice.roll(60)),
        _ => (0..dice.roll(30))
            .map(|_| char::from_u32(dice.roll(0x3000) as u32).unwrap_or('?'))
            .collect(),
    }
}

fn encoded(dice: &mut Dice, text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        let _ = write!(all, "%{byte:02X}");
    }
    // Now and then what is not UTF-8, or not even an escape.
    match dice.roll(12) {
        0 => all.push_str("%FF%FE"),
        1 => all.push_str("%zz%"),
        _ => {}
    }
    all
}

fn query(dice: &mut Dice, real: &[String]) -> String {
    let pairs = (0..dice.roll(5)).map(|_| {
        let (name, value) = (dice.pick(&NAMES), value(dice, real));
        format!("{name}={}", encoded(dice, &value))
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn json(dice: &mut Dice, real: &[String], depth: usize) -> Value {
    match dice.roll(if depth > 3 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => Value::from(dice.roll(3) == 0),
        2 => Value::from(dice.roll(1 << 30) as f64 / 7.0),
        3 | 4 => value(dice, real).into(),
        5 => (0..dice.roll(4)).map(|_| json(dice, real, depth + 1)).collect(),
        _ => (0..dice.roll(6))
            .map(|_| (dice.pick(&NAMES).to_owned(), json(dice, real, depth + 1)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn body(dice: &mut Dice, real: &[String]) -> Vec<u8> {
    match dice.roll(8) {
        0 => Vec::new(),
        // Almost right, or right.
        6 | 7 => {
            let mut almost = serde_json::json!({ "provider": "google" });
            for _ in 0..dice.roll(2) {
                almost[dice.pick(&NAMES)] = json(dice, real, 3);
            }
            almost.to_string().into_bytes()
        }
        1 => (0..dice.roll(300)).map(|_| dice.roll(256) as u8).collect(),
        2 => query(dice, real).into_bytes(),
        3 => {
            let text = json(dice, real, 0).to_string();
            text.as_bytes()[..dice.roll(text.len() + 1)].to_vec()
        }
        _ => json(dice, real, 0).to_string().into_bytes(),
    }
}

fn expect_an_answer_of_ours(answer: &Answer, what: &str) {
    assert!(answer.status < 500, "{what}: {answer:?}");
    assert!(answer.headers.contains_key("x-request-id"), "{what}: {answer:?}");
    let page = answer
        .headers
        .get("content-type")
        .is_some_and(|value| value.as_bytes().starts_with(b"text/html"));
    if answer.status >= 400 && !page && !what.starts_with("HEAD") {
        assert_eq!(
            answer.headers["content-type"], "application/problem+json",
            "{what}: {answer:?}"
        );
        for field in ["code", "who_must_act", "request_id", "type", "title", "detail"] {
            assert!(answer.body[field].is_string(), "{field}: {what}: {answer:?}");
        }
        assert_eq!(answer.body["status"], answer.status, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_at_every_route_is_never_a_failure_of_ours() {
    let service = Service::start().await;
    let integration = service.connect("ada", "google").await;
    let mut flow = Flow::begin(&service, "ada", "notion").await;
    let end = flow.arrive().await;
    let away = Flow::begin(&service, "ada", "microsoft").await;
    let real = [
        integration["id"].as_str().unwrap().to_owned(),
        integration["account"]["id"].as_str().unwrap().to_owned(),
        flow.id.clone(),
        end.query("confirmation").unwrap(),
        away.parameter("state"),
    ];
    let everything = Policy {
        allow: vec!["*:*".parse().unwrap()],
        sessions: true,
        admin: true,
    };
    let browser = service.browser_of("ada").await;
    let session = browser.cookies_for(&service.base_url)["oauth_session"].clone();
    let credentials = [
        None,
        Some(service.user("ada").token().to_owned()),
        Some(service.client(everything).await.token().to_owned()),
        Some("garbage".to_owned()),
    ];
    let mut dice = Dice(SEED);
    let mut seen = BTreeSet::new();
    for number in 0..REQUESTS {
        let mut path = PATHS[number % PATHS.len()].to_owned();
        while path.contains("{}") {
            let text = value(&mut dice, &real);
            path = path.replacen("{}", &encoded(&mut dice, &text), 1);
        }
        let query = query(&mut dice, &real);
        let url = format!("{}{path}?{query}", service.base_url);
        let method = METHODS[dice.roll(METHODS.len())].clone();
        let what = format!("{method} {path}?{query} (request {number})");
        let mut request = service.http.request(method, &url).body(body(&mut dice, &real));
        if let Some(token) = &credentials[dice.roll(credentials.len())] {
            request = request.bearer_auth(token);
        } else if dice.roll(2) == 0 {
            request = request.header("cookie", format!("oauth_session={session}"));
        }
        if dice.roll(5) > 0 {
            let types = [
                "application/json",
                "application/x-www-form-urlencoded",
                "text/plain",
            ];
            request = request.header("content-type", dice.pick(&types));
        }
        if dice.roll(4) == 0 {
            let odd = HeaderValue::from_bytes(b"\xff\xfe; \"' \xc3").unwrap();
            for name in [
                "user-agent",
                "x-request-id",
                "x-forwarded-for",
                "origin",
                "accept",
                "cookie",
            ] {
                if dice.roll(3) == 0 {
                    request = request.header(name, odd.clone());
                }
            }
        }
        let answer = request
            .send()
            .await
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let answer = Answer::of(answer).await;
        expect_an_answer_of_ours(&answer, &what);
        seen.insert(answer.status);
    }
    // It was not all turned away at the door. That garbage should begin something (201) is too much to ask of these dice.
    for status in [200, 400, 401, 403, 404, 405] {
        assert!(
            seen.contains(&status),
            "nothing was answered with {status}: {seen:?}"
        );
    }
    // It still works.
    service.connect("ben", "google").await;
    assert!(service.manager.ready().await.all());
}
