//! The classifier's table.

use FailureKind::{
    AccountThrottled, Admin, BadRequest, DeadGrant, Interaction, Operator, OutcomeUnknown, Passing, Refused,
    Tenant,
};
use http::{HeaderValue, StatusCode};
use oauth_manager_actors::domain::scope::ScopeSet;
use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::oauth::{
    google::Google, microsoft::Microsoft, notion::Notion, oauth2::Oauth2, settings::ErrorSign,
};

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
                Refused,
                "unauthorized_client",
            ),
            (
                400,
                r#"{"error":"unsupported_grant_type"}"#,
                BadRequest,
                "unsupported_grant_type",
            ),
            (400, r#"{"error":"invalid_scope"}"#, BadRequest, "invalid_scope"),
            (
                400,
                r#"{"error":"redirect_uri_mismatch"}"#,
                BadRequest,
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
            (401, "", Refused, "http_401"),
            (403, "<html>", Refused, "http_403"),
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
            (
                400,
                r#"{"error":"invalid_request"}"#,
                BadRequest,
                "invalid_request",
            ),
            (
                401,
                r#"{"error":"unauthorized_client"}"#,
                Refused,
                "unauthorized_client",
            ),
            (401, r#"{"error":"disabled_client"}"#, Operator, "disabled_client"),
            (
                400,
                r#"{"error_description":"internal_failure"}"#,
                Passing,
                "internal_failure",
            ),
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
        ("invalid_grant", 50196, AccountThrottled),
        ("invalid_client", 7_000_215, Operator),
        ("invalid_client", 7_000_222, Operator),
        ("unauthorized_client", 700_016, Tenant),
        ("access_denied", 90094, Admin),
        ("invalid_grant", 50057, Admin),
        ("temporarily_unavailable", 90033, Passing),
        ("invalid_scope", 70011, BadRequest),
        // One number beside two errors.
        ("invalid_request", 9_002_313, BadRequest),
        ("invalid_grant", 9_002_313, DeadGrant),
        ("invalid_grant", 53003, Admin),
        ("interaction_required", 53003, Admin),
        ("invalid_grant", 650_054, Tenant),
        ("invalid_grant", 50053, Interaction),
        // What no table knows may be undone.
        ("invalid_grant", 1, Interaction),
        ("invalid_client", 1, Operator),
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
                r#"{"error":"invalid_grant","error_codes":[70002,70008]}"#,
                DeadGrant,
                "aadsts70002",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_codes":[70002,53003]}"#,
                Admin,
                "aadsts53003",
            ),
            (
                401,
                r#"{"error":"invalid_client","error_codes":[700016,7000215]}"#,
                Operator,
                "aadsts7000215",
            ),
            (
                400,
                r#"{"error":"invalid_grant","suberror":"bad_token","error_codes":[9002313]}"#,
                DeadGrant,
                "bad_token",
            ),
            (
                400,
                r#"{"error":"unauthorized_client"}"#,
                Refused,
                "unauthorized_client",
            ),
            (
                400,
                r#"{"error":"access_denied","error_description":"AADSTS65005: what is required"}"#,
                Admin,
                "aadsts65005",
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
            (
                400,
                r#"{"code":"invalid_request"}"#,
                BadRequest,
                "invalid_request",
            ),
            (403, r#"{"code":"test_env_error"}"#, BadRequest, "test_env_error"),
            (
                400,
                r#"{"code":"missing_version"}"#,
                BadRequest,
                "missing_version",
            ),
            (403, "<!DOCTYPE html><html>", BadRequest, "blocked_at_the_edge"),
            (
                403,
                r#"{"code":"restricted_resource"}"#,
                Admin,
                "restricted_resource",
            ),
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
        (Refused, "unauthenticated".to_owned())
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

#[test]
fn a_retry_after_with_a_fraction_is_honoured() {
    for (text, expected) in [
        ("0.529", Some(Duration::from_millis(529))),
        ("99999999.5", Some(Duration::from_hours(1))),
        ("1.", None),
        (".5", None),
        ("1e.9", None),
        ("1.2.3", None),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(text));
        assert_eq!(retry_after(&headers, Timestamp::UNIX_EPOCH), expected, "{text}");
    }
}

fn judge_declared(declared: &DeclaredErrors, status: u16, body: &str) -> (FailureKind, String) {
    let answer = reply(status, body);
    let verdict = token_endpoint(declared, &Oauth2, SINGLE_USE, &answer, Timestamp::UNIX_EPOCH);
    (verdict.kind, verdict.reason)
}

#[test]
fn what_the_operator_declared_wins_over_the_tables() {
    let code = |code: &str| ErrorSign::Code(code.to_owned());
    let at = |pointer: &str, equals: serde_json::Value| ErrorSign::Value {
        pointer: pointer.to_owned(),
        equals,
    };
    let declared = DeclaredErrors {
        dead: vec![
            code("Session Over"),
            at("/error/code", 190.into()),
            at("/why", "gone".into()),
        ],
        client: vec![code("unauthorized_client"), at("/error/code", 191.into())],
        admin: vec![code("invalid_grant"), at("/ok", false.into())],
        transient: vec![code("Access Denied"), at("/why", "busy".into())],
    };
    for (status, body, kind, reason) in [
        (400, r#"{"error":"session_over"}"#, DeadGrant, "session_over"),
        (
            401,
            r#"{"error":{"code":190,"message":"m"}}"#,
            DeadGrant,
            "code_190",
        ),
        (400, r#"{"error":{"code":191}}"#, Operator, "code_191"),
        (400, r#"{"error":{"code":"190"}}"#, Refused, "190"),
        (400, r#"{"error":"invalid_grant"}"#, Admin, "invalid_grant"),
        (
            401,
            r#"{"error":"UNAUTHORIZED_CLIENT"}"#,
            Operator,
            "unauthorized_client",
        ),
        (403, r#"{"error":"Access Denied"}"#, Passing, "access_denied"),
        (403, "error=Access+Denied", Passing, "access_denied"),
        // A value says more than a code.
        (
            401,
            r#"{"error":"unauthorized_client","why":"gone"}"#,
            DeadGrant,
            "gone",
        ),
        (400, r#"{"error":"invalid_grant","why":"busy"}"#, Passing, "busy"),
        (400, r#"{"ok":false,"why":"gone"}"#, Admin, "http_400"),
        // Pressure and outages pass whatever they say.
        (429, r#"{"why":"gone"}"#, Passing, "http_429"),
        (503, r#"{"error":"session_over"}"#, OutcomeUnknown, "session_over"),
        // And what is not declared is as it was.
        (400, r#"{"error":"invalid_client"}"#, Operator, "invalid_client"),
    ] {
        let got = judge_declared(&declared, status, body);
        assert_eq!(got, (kind, reason.to_owned()), "{status} {body}");
    }
}

#[test]
fn well_known_shapes_are_understood_without_configuration() {
    check(
        &Oauth2,
        SINGLE_USE,
        &[
            (
                400,
                r#"{"status":"BAD_REFRESH_TOKEN","error":"invalid_request"}"#,
                DeadGrant,
                "bad_refresh_token",
            ),
            (400, r#"{"status":"BAD_CLIENT_ID"}"#, Operator, "bad_client_id"),
            (
                200,
                r#"{"error":"invalid_client_secret"}"#,
                Operator,
                "invalid_client_secret",
            ),
            (
                400,
                r#"{"error":"Invalid Client ID"}"#,
                Operator,
                "invalid_client_id",
            ),
            (
                401,
                r#"{"errorCode":"invalid_client"}"#,
                Operator,
                "invalid_client",
            ),
            (403, r#"{"error":"mfa_required"}"#, Interaction, "mfa_required"),
            (
                403,
                r#"{"error":"unauthorized_client","error_description":"refresh_token is invalid"}"#,
                DeadGrant,
                "refresh_token_invalid",
            ),
            (
                401,
                r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
                Operator,
                "client_authentication_failed",
            ),
            // The same words among others, or beside a code that says something: nothing is concluded.
            (
                400,
                r#"{"error":"invalid_request","error_description":"refresh_token is invalid: a string is expected"}"#,
                Refused,
                "invalid_request",
            ),
            (
                400,
                r#"{"error":"quota_reached","error_description":"refresh_token is invalid"}"#,
                Refused,
                "quota_reached",
            ),
            (200, r#"{"errcode":40030,"errmsg":"x"}"#, Refused, "errcode_40030"),
        ],
    );
    let exchange = judge(
        &Oauth2,
        Step::Exchange,
        400,
        r#"{"message":"Invalid refresh token"}"#,
    );
    assert_eq!(exchange.0, Refused, "nobody presented one");
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
