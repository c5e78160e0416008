//! The classifier's table.

use FailureKind::{Admin, DeadGrant, Interaction, Operator, OutcomeUnknown, Passing, Refused};
use http::{HeaderValue, StatusCode};
use oauth_manager_actors::domain::scope::ScopeSet;
use proptest::prelude::*;

use super::*;
use crate::oauth::{google::Google, microsoft::Microsoft, notion::Notion, oauth2::Oauth2};

const SINGLE_USE: Step = Step::Refresh(RefreshClass::SingleUse);
const SAFE: Step = Step::Refresh(RefreshClass::Safe);

fn reply(status: u16, body: &str) -> Answer {
    Answer {
        status: StatusCode::from_u16(status).unwrap(),
        headers: HeaderMap::new(),
        body: Zeroizing::new(body.as_bytes().to_vec()),
        cut: None,
        sent: Zeroizing::default(),
    }
}

fn judge(dialect: &dyn Dialect, step: Step, status: u16, body: &str) -> (FailureKind, String) {
    let verdict = answer(dialect, step, &reply(status, body), Timestamp::UNIX_EPOCH);
    (verdict.kind, verdict.reason)
}

fn check(dialect: &dyn Dialect, step: Step, table: &[(u16, &str, FailureKind, &str)]) {
    for (status, body, kind, reason) in table {
        let expected = (*kind, (*reason).to_owned());
        assert_eq!(judge(dialect, step, *status, body), expected, "{status} {body}");
    }
}

fn microsoft() -> Microsoft {
    Microsoft::new(None, ScopeSet::default(), ScopeSet::default()).unwrap()
}

#[test]
fn error_classification_matrix() {
    check(
        &Oauth2,
        SINGLE_USE,
        &[
            (429, "Too Many Requests", Passing, "http_429"),
            (429, r#"{"error":"invalid_grant"}"#, Passing, "invalid_grant"),
            (408, "", Passing, "http_408"),
            (425, "", Passing, "http_425"),
            (500, "", OutcomeUnknown, "http_500"),
            (503, "<html>", OutcomeUnknown, "http_503"),
            (529, "", OutcomeUnknown, "http_529"),
            (
                400,
                r#"{"error":"temporarily_unavailable"}"#,
                Passing,
                "temporarily_unavailable",
            ),
            (400, r#"{"error":"server_error"}"#, Passing, "server_error"),
            (400, r#"{"error":"slow_down"}"#, Passing, "slow_down"),
            (401, r#"{"error":"invalid_client"}"#, Operator, "invalid_client"),
            (
                400,
                r#"{"error":"unauthorized_client"}"#,
                Operator,
                "unauthorized_client",
            ),
            (
                400,
                r#"{"error":"unsupported_grant_type"}"#,
                Operator,
                "unsupported_grant_type",
            ),
            (400, r#"{"error":"invalid_scope"}"#, Operator, "invalid_scope"),
            (
                400,
                r#"{"error":"redirect_uri_mismatch"}"#,
                Operator,
                "redirect_uri_mismatch",
            ),
            (
                200,
                r#"{"error":"incorrect_client_credentials"}"#,
                Operator,
                "incorrect_client_credentials",
            ),
            (400, r#"{"error":"invalid_grant"}"#, DeadGrant, "invalid_grant"),
            (
                400,
                "error=invalid_grant&error_description=x",
                DeadGrant,
                "invalid_grant",
            ),
            (
                200,
                r#"{"error":"bad_refresh_token"}"#,
                DeadGrant,
                "bad_refresh_token",
            ),
            (
                200,
                r#"{"ok":false,"error":"token_revoked"}"#,
                DeadGrant,
                "token_revoked",
            ),
            (403, r#"{"error":"invalid_code"}"#, DeadGrant, "invalid_code"),
            (
                400,
                r#"{"error":"interaction_required"}"#,
                Interaction,
                "interaction_required",
            ),
            (
                400,
                r#"{"error":"login_required"}"#,
                Interaction,
                "login_required",
            ),
            (
                400,
                r#"{"error":"consent_required"}"#,
                Interaction,
                "consent_required",
            ),
            (401, "", Operator, "http_401"),
            (403, "<html>", Operator, "http_403"),
            (400, "", Refused, "http_400"),
            (400, r#"{"error":"something_new"}"#, Refused, "something_new"),
            (404, "{}", Refused, "http_404"),
            (418, "[1]", Refused, "http_418"),
            (307, "", Refused, "redirected"),
        ],
    );
}

#[test]
fn a_lost_answer_is_ambiguous_only_where_a_repeat_could_harm() {
    let grace = Step::Refresh(RefreshClass::Grace {
        window: Duration::from_secs(10),
    });
    for (step, kind) in [
        (SINGLE_USE, OutcomeUnknown),
        (grace, OutcomeUnknown),
        (Step::Exchange, OutcomeUnknown),
        (SAFE, Passing),
        (Step::Repeatable, Passing),
    ] {
        assert_eq!(judge(&Oauth2, step, 502, "").0, kind, "{step:?}");
        assert_eq!(
            no_answer(step, NoAnswer::MayHaveBeenDone("timeout")).kind,
            kind,
            "{step:?}"
        );
        assert_eq!(
            no_answer(step, NoAnswer::NeverLeft("connect_failed")).kind,
            Passing
        );
    }
}

#[test]
fn google_codes() {
    check(
        &Google,
        SAFE,
        &[
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Token has been expired or revoked."}"#,
                DeadGrant,
                "invalid_grant",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
                DeadGrant,
                "invalid_rapt",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_subtype":"rapt_required"}"#,
                DeadGrant,
                "rapt_required",
            ),
            (
                400,
                r#"{"error":"admin_policy_enforced"}"#,
                Admin,
                "admin_policy_enforced",
            ),
            (403, r#"{"error":"access_denied"}"#, Admin, "access_denied"),
            (401, r#"{"error":"deleted_client"}"#, Operator, "deleted_client"),
            (400, r#"{"error":"invalid_request"}"#, Operator, "invalid_request"),
            (
                500,
                r#"{"error":"internal_failure"}"#,
                Passing,
                "internal_failure",
            ),
            (
                400,
                r#"{"error":"internal_failure"}"#,
                Passing,
                "internal_failure",
            ),
        ],
    );
}

#[test]
fn microsoft_codes() {
    let body = |error: &str, number: u32| format!(r#"{{"error":"{error}","error_codes":[{number}]}}"#);
    let dialect = microsoft();
    for (error, number, kind) in [
        ("invalid_grant", 50173, DeadGrant),
        ("invalid_grant", 700_082, DeadGrant),
        ("invalid_grant", 65001, Interaction),
        ("interaction_required", 50076, Interaction),
        ("invalid_grant", 50076, Interaction),
        ("invalid_grant", 50196, FailureKind::AccountThrottled),
        ("invalid_client", 7_000_215, Operator),
        ("invalid_client", 7_000_222, Operator),
        ("unauthorized_client", 700_016, Operator),
        ("access_denied", 90094, Admin),
        ("invalid_grant", 50057, Admin),
        ("temporarily_unavailable", 90033, Passing),
        ("invalid_scope", 70011, Refused),
    ] {
        let verdict = judge(&dialect, SAFE, 400, &body(error, number));
        assert_eq!(verdict, (kind, format!("aadsts{number}")), "{error}");
    }
    check(
        &dialect,
        SAFE,
        &[
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[1]}"#,
                DeadGrant,
                "invalid_grant",
            ),
            (
                400,
                r#"{"error":"invalid_grant","suberror":"basic_action"}"#,
                Interaction,
                "basic_action",
            ),
            (429, "Too Many Requests", Passing, "http_429"),
        ],
    );
    let looped = answer(
        &dialect,
        SAFE,
        &reply(400, &body("invalid_grant", 50196)),
        Timestamp::UNIX_EPOCH,
    );
    assert!(
        looped
            .retry_after
            .is_some_and(|wait| wait >= Duration::from_mins(1))
    );
}

#[test]
fn notion_codes() {
    check(
        &Notion::new(None, None).unwrap(),
        SINGLE_USE,
        &[
            (
                400,
                r#"{"object":"error","status":400,"code":"invalid_grant"}"#,
                DeadGrant,
                "invalid_grant",
            ),
            (400, r#"{"error":"invalid_grant"}"#, DeadGrant, "invalid_grant"),
            (
                401,
                r#"{"error":"invalid_client","request_id":"x"}"#,
                Operator,
                "invalid_client",
            ),
            (400, r#"{"code":"invalid_request"}"#, Operator, "invalid_request"),
            (403, r#"{"code":"test_env_error"}"#, Operator, "test_env_error"),
            (400, r#"{"code":"missing_version"}"#, Operator, "missing_version"),
            (403, "<!DOCTYPE html><html>", Operator, "blocked_at_the_edge"),
            (429, r#"{"code":"rate_limited"}"#, Passing, "rate_limited"),
            (409, r#"{"code":"conflict_error"}"#, Passing, "conflict_error"),
            (
                500,
                r#"{"code":"internal_server_error"}"#,
                OutcomeUnknown,
                "internal_server_error",
            ),
            (
                503,
                r#"{"code":"service_unavailable"}"#,
                OutcomeUnknown,
                "service_unavailable",
            ),
            (
                504,
                r#"{"code":"gateway_timeout"}"#,
                OutcomeUnknown,
                "gateway_timeout",
            ),
            (
                529,
                r#"{"code":"service_overload"}"#,
                OutcomeUnknown,
                "service_overload",
            ),
        ],
    );
}

#[test]
fn what_is_no_code_is_not_repeated() {
    for echoed in [
        "1//0gSecretTokenWith09Digits",
        "AbC",
        "abc12345",
        "a b",
        &"a".repeat(60),
        "Zażółć",
    ] {
        let body = serde_json::json!({ "error": echoed }).to_string();
        assert_eq!(
            judge(&Oauth2, SAFE, 400, &body).1,
            "unrecognised_error",
            "{echoed}"
        );
    }
    let upper = r#"{"error":{"code":401,"status":"UNAUTHENTICATED"}}"#;
    assert_eq!(
        judge(&Google, SAFE, 401, upper),
        (Operator, "unauthenticated".to_owned())
    );
}

#[test]
fn retry_after_clamped() {
    let now: Timestamp = "1994-11-06T08:49:30Z".parse().unwrap();
    for (text, expected) in [
        ("0", Some(0)),
        ("17", Some(17)),
        ("999999999999999999999999", Some(3600)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", Some(7)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
        ("Sun, 06 Nov 2094 08:49:00 GMT", Some(3600)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        assert_eq!(
            retry_after(&headers, now),
            expected.map(Duration::from_secs),
            "{text}"
        );
    }
}

proptest! {
    #[test]
    fn any_error_body_gets_a_verdict_and_never_a_dead_grant_from_an_outage(
        status in 300u16..600,
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut reply = reply(status, "");
        reply.body = Zeroizing::new(body);
        let verdict = answer(&microsoft(), SINGLE_USE, &reply, Timestamp::UNIX_EPOCH);
        prop_assert!(status < 500 || verdict.kind == OutcomeUnknown);
        prop_assert!(verdict.kind != DeadGrant);
    }

    #[test]
    fn classification_never_marks_reauth_on_transient(
        status in prop_oneof![Just(408u16), Just(425), Just(429), 500u16..600],
        code in prop_oneof![Just("invalid_grant"), Just("invalid_client"), Just("interaction_required")],
    ) {
        let body = serde_json::json!({ "error": code, "error_codes": [50173] }).to_string();
        for dialect in [&Google as &dyn Dialect, &microsoft(), &Oauth2] {
            let kind = judge(dialect, SINGLE_USE, status, &body).0;
            prop_assert!(matches!(kind, Passing | OutcomeUnknown));
        }
    }
}
