//! The tables: what a provider may answer to a refresh, and what that comes to.

use std::time::Duration;

use oauth_manager::dev::simulator::Fault;
use serde_json::{Value, json};

/// What a refresh that meets the fault comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comes {
    /// To new tokens all the same.
    ToTokens,
    /// To a refusal; the provider had done nothing, or what it did can be done again.
    ToNothing,
}

use Comes::{ToNothing, ToTokens};

fn answer(status: u16, content_type: &str, body: &str) -> Fault {
    Fault::Answer {
        status,
        content_type: content_type.to_owned(),
        headers: Vec::new(),
        body: body.to_owned(),
    }
}

fn expires_in(value: Value) -> Fault {
    Fault::ExpiresIn { value }
}

fn set(field: &str, value: Value) -> Fault {
    Fault::Set {
        field: field.to_owned(),
        value,
    }
}

/// Faults in place of the provider's work.
pub fn without_work() -> Vec<(&'static str, Fault, Comes)> {
    let json = "application/json";
    vec![
        ("a proxy's page, 502", Fault::HtmlBody { status: 502 }, ToNothing),
        ("a proxy's page, 403", Fault::HtmlBody { status: 403 }, ToNothing),
        (
            "a page with status 200",
            Fault::HtmlBody { status: 200 },
            ToNothing,
        ),
        ("nothing, 200", Fault::EmptyBody { status: 200 }, ToNothing),
        ("nothing, 204", Fault::EmptyBody { status: 204 }, ToNothing),
        ("nothing, 400", Fault::EmptyBody { status: 400 }, ToNothing),
        ("nothing, 500", Fault::EmptyBody { status: 500 }, ToNothing),
        ("nonsense", Fault::NonsenseJson, ToNothing),
        ("null", answer(200, json, "null"), ToNothing),
        ("a list", answer(200, json, "[]"), ToNothing),
        ("an empty object", answer(200, json, "{}"), ToNothing),
        (
            "a number for a token",
            answer(200, json, r#"{"access_token": 7}"#),
            ToNothing,
        ),
        (
            "a token with a line break",
            answer(200, json, r#"{"access_token": "a\r\nb", "token_type": "Bearer"}"#),
            ToNothing,
        ),
        (
            "not even UTF-8",
            answer(200, "text/plain", "\u{fffd}\u{0}"),
            ToNothing,
        ),
        ("not found", answer(404, "text/plain", "no such page"), ToNothing),
        ("too much", Fault::HugeBody { mebibytes: 64 }, ToNothing),
        (
            "sent elsewhere",
            Fault::Redirect {
                to: "http://127.0.0.1:9/token".to_owned(),
            },
            ToNothing,
        ),
        (
            "too many requests",
            Fault::TooManyRequests { retry_after: None },
            ToNothing,
        ),
        (
            "too many requests, with a pause",
            Fault::TooManyRequests {
                retry_after: Some("1".to_owned()),
            },
            ToNothing,
        ),
        (
            "too many requests, with a pause nobody understands",
            Fault::TooManyRequests {
                retry_after: Some("soon".to_owned()),
            },
            ToNothing,
        ),
        (
            "a server error, 500",
            Fault::ServerError { status: 500 },
            ToNothing,
        ),
        (
            "a server error, 503",
            Fault::ServerError { status: 503 },
            ToNothing,
        ),
        ("a reset", Fault::Reset, ToNothing),
        ("silence", Fault::Hang, ToNothing),
        (
            "an error code nobody knows",
            Fault::PlainOauthError {
                code: "the_moon_is_full".to_owned(),
            },
            ToNothing,
        ),
        (
            "temporarily unavailable",
            Fault::PlainOauthError {
                code: "temporarily_unavailable".to_owned(),
            },
            ToNothing,
        ),
    ]
}

/// Faults in an answer that holds all that matters.
pub fn odd_successes() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("no scope", Fault::OmitScope, ToTokens),
        ("no token type", Fault::MissingTokenType, ToTokens),
        ("a life in quotes", Fault::quoted_expires_in(), ToTokens),
        (
            "a life of 600 million years",
            expires_in(json!(u64::MAX)),
            ToTokens,
        ),
        ("no life at all", expires_in(json!(0)), ToTokens),
        ("a life that ended", expires_in(json!(-5)), ToTokens),
        ("a life with a fraction", expires_in(json!(3599.5)), ToTokens),
        (
            "a life nobody understands",
            expires_in(json!("an hour")),
            ToTokens,
        ),
        ("no life", expires_in(Value::Null), ToTokens),
        (
            "more than was asked for",
            set("surprise", json!({ "deep": [1, 2, 3] })),
            ToTokens,
        ),
    ]
}

/// Faults after the work, where the same refresh token may be presented again.
pub fn after_the_work() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("a lost answer", Fault::LoseAnswer, ToNothing),
        ("silence after the work", Fault::HangAfterWork, ToNothing),
        ("half an answer", Fault::TruncateAfterRefreshToken, ToNothing),
        (
            "half an answer that looks whole",
            Fault::TruncateQuietly,
            ToNothing,
        ),
        (
            "a trickle",
            Fault::SlowDrip {
                per_byte: Duration::from_millis(400),
            },
            ToNothing,
        ),
        (
            "an answer behind a mountain of spaces",
            Fault::PaddedBody { mebibytes: 8 },
            ToNothing,
        ),
        ("no refresh token", Fault::OmitRefreshToken, ToTokens),
        ("a null refresh token", Fault::NullRefreshToken, ToTokens),
        (
            "no access token",
            Fault::Remove {
                field: "access_token".to_owned(),
            },
            ToNothing,
        ),
        (
            "a token of another kind",
            set("token_type", json!("mac")),
            ToNothing,
        ),
    ]
}

/// Answers in which a rotated refresh token can still be found.
pub fn salvageable() -> Vec<(&'static str, Fault, Comes)> {
    vec![
        ("half an answer", Fault::TruncateAfterRefreshToken, ToNothing),
        (
            "half an answer that looks whole",
            Fault::TruncateQuietly,
            ToNothing,
        ),
        (
            "no access token",
            Fault::Remove {
                field: "access_token".to_owned(),
            },
            ToNothing,
        ),
        ("a null access token", set("access_token", Value::Null), ToNothing),
        (
            "a token of another kind",
            set("token_type", json!("mac")),
            ToNothing,
        ),
    ]
}
