//! What an answer that is not a token means: the one table between providers' errors and [`FailureKind`].
//!
//! The order of the questions matters. Pressure and outages come first, because an overloaded provider says all kinds of
//! things; then the dialect's own codes; then our registration, because one wrong secret must not disconnect every user;
//! only then may a listed code declare a grant dead. Descriptions are never kept: they hold whatever the provider likes.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::{Timestamp, fmt::rfc2822};
use oauth_manager_actors::{domain::provider::RefreshClass, ports::oauth::FailureKind};
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    declaration::Dialect,
    json,
    transport::{Answer, NoAnswer},
};

/// Longest time a provider may send us away for; beyond it we look again by ourselves.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Longest error code taken over, and the most digits in one: a code is a word, a token is not.
const CODE_MAX_CHARS: usize = 48;
const CODE_MAX_DIGITS: usize = 4;

/// Shorter pieces of a request occur in codes by chance, and give nothing away.
const ECHO_MIN_CHARS: usize = 6;
const UNRECOGNISED: &str = "unrecognised_error";

const PASSING: &[&str] = &[
    "rate_limited",
    "ratelimited",
    "slow_down",
    "rate_limit_exceeded",
    "temporarily_unavailable",
    "server_error",
    "internal_failure",
];
const CONFIGURATION: &[&str] = &[
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "redirect_uri_mismatch",
    "incorrect_client_credentials",
    "deleted_client",
    "app_disabled",
    "bad_client_secret",
    "invalid_client_id",
];
const DEAD: &[&str] = &[
    "invalid_grant",
    "bad_refresh_token",
    "invalid_refresh_token",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "app_uninstalled",
    "bad_verification_code",
    "invalid_code",
    "code_already_used",
];
const INTERACTION: &[&str] = &["interaction_required", "login_required", "consent_required"];

/// What was asked of the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A code, which works once.
    Exchange,
    /// A refresh token of this class.
    Refresh(RefreshClass),
    /// Something that may be asked again.
    Repeatable,
}

impl Step {
    /// What it means when nobody knows whether it was done.
    fn unknown_outcome(self) -> FailureKind {
        match self {
            Self::Repeatable | Self::Refresh(RefreshClass::Safe) => FailureKind::Passing,
            Self::Exchange | Self::Refresh(RefreshClass::Grace { .. } | RefreshClass::SingleUse) => {
                FailureKind::OutcomeUnknown
            }
        }
    }
}

/// A verdict on a failed call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) kind: FailureKind,
    pub(super) reason: String,
    pub(super) retry_after: Option<Duration>,
}

impl Verdict {
    pub(super) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_after: None,
        }
    }
}

/// What an error answer says, in one form for all providers.
#[derive(Debug, Default)]
pub(super) struct ErrorAnswer {
    pub(super) status: u16,
    /// `error`, else `code`, lower-case.
    pub(super) code: Option<String>,
    /// `error_subtype` (Google) or `suberror` (Microsoft).
    pub(super) subcode: Option<String>,
    /// `error_codes` (Microsoft).
    pub(super) numbers: Vec<u32>,
    pub(super) is_html: bool,
}

impl ErrorAnswer {
    /// Reads an answer by its content: JSON, else a form, else only the status counts.
    pub(super) fn read(answer: &Answer) -> Self {
        let body = json::without_mark(&answer.body);
        let mut error = Self {
            status: answer.status.as_u16(),
            is_html: body.first() == Some(&b'<'),
            ..Self::default()
        };
        if let Ok(value) = serde_json::from_slice::<Value>(body) {
            error.code = json_code(&value);
            error.subcode = ["error_subtype", "suberror"]
                .into_iter()
                .find_map(|key| value.get(key).and_then(Value::as_str))
                .and_then(as_code);
            let numbers = value.get("error_codes").and_then(Value::as_array);
            let numbers = numbers.into_iter().flatten().filter_map(Value::as_u64);
            error.numbers = numbers.filter_map(|number| u32::try_from(number).ok()).collect();
        } else if !error.is_html {
            error.code = form_urlencoded::parse(body)
                .find(|(key, _)| key == "error")
                .and_then(|(_, value)| as_code(&value));
        }
        error.forget_echoes(&answer.sent);
        error
    }
}

impl ErrorAnswer {
    /// A code that was part of what we sent is no code but perhaps a piece of a secret.
    fn forget_echoes(&mut self, sent: &[u8]) {
        let sent = Zeroizing::new(sent.to_ascii_lowercase());
        for code in [&mut self.code, &mut self.subcode].into_iter().flatten() {
            let is_echo = code.len() >= ECHO_MIN_CHARS
                && sent.windows(code.len()).any(|window| window == code.as_bytes());
            if is_echo {
                UNRECOGNISED.clone_into(code);
            }
        }
    }
}

/// `error` as text or object, `code` (Notion), `errors[]` (Fitbit).
fn json_code(value: &Value) -> Option<String> {
    let error = value.get("error");
    let candidates = [
        error,
        error.and_then(|error| error.get("status")),
        error.and_then(|error| error.get("code")),
        value.get("code"),
        value.pointer("/errors/0/errorType"),
        value.pointer("/errors/0/code"),
    ];
    candidates
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|code| !code.is_empty())
        .and_then(as_code)
}

/// A code is a short word; anything else is not repeated, because it might be what we sent.
fn as_code(text: &str) -> Option<String> {
    let is_word = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    let one_case =
        !text.bytes().any(|b| b.is_ascii_lowercase()) || !text.bytes().any(|b| b.is_ascii_uppercase());
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    match text {
        "" => None,
        code if is_word && one_case && digits <= CODE_MAX_DIGITS && code.len() <= CODE_MAX_CHARS => {
            Some(code.to_ascii_lowercase())
        }
        _ => Some(UNRECOGNISED.to_owned()),
    }
}

/// The verdict on an answer that is no success.
pub(super) fn answer(dialect: &dyn Dialect, step: Step, answer: &Answer, now: Timestamp) -> Verdict {
    let error = ErrorAnswer::read(answer);
    let mut verdict = decide(dialect, step, &error);
    if matches!(
        verdict.kind,
        FailureKind::Passing | FailureKind::AccountThrottled | FailureKind::OutcomeUnknown
    ) {
        verdict.retry_after = retry_after(&answer.headers, now).or(verdict.retry_after);
    }
    verdict
}

fn decide(dialect: &dyn Dialect, step: Step, error: &ErrorAnswer) -> Verdict {
    let code = error.code.as_deref();
    let reason = || code.map_or_else(|| format!("http_{}", error.status), str::to_owned);
    let is_one_of = |codes: &[&str]| code.is_some_and(|code| codes.contains(&code));

    match error.status {
        // 408 and 425 say that the request was not looked at (RFC 9110 15.5.9, RFC 8470 5.2).
        408 | 425 | 429 => return Verdict::new(FailureKind::Passing, reason()),
        500..=599 => return Verdict::new(step.unknown_outcome(), reason()),
        300..=399 => return Verdict::new(FailureKind::Refused, "redirected"),
        _ => {}
    }
    if let Some(refined) = dialect.refine(error) {
        return Verdict {
            kind: refined.kind,
            reason: refined.reason,
            retry_after: refined.retry_after,
        };
    }
    let kind = if is_one_of(PASSING) {
        FailureKind::Passing
    } else if is_one_of(CONFIGURATION) {
        FailureKind::Operator
    } else if is_one_of(DEAD) {
        FailureKind::DeadGrant
    } else if is_one_of(INTERACTION) {
        FailureKind::Interaction
    } else if matches!(error.status, 401 | 403) {
        // No known code: our registration is the first suspect, never the user's grant.
        FailureKind::Operator
    } else {
        FailureKind::Refused
    };
    Verdict::new(kind, reason())
}

/// The verdict when no answer came.
pub(super) fn no_answer(step: Step, failure: NoAnswer) -> Verdict {
    match failure {
        NoAnswer::NeverLeft(reason) => Verdict::new(FailureKind::Passing, reason),
        NoAnswer::MayHaveBeenDone(reason) => Verdict::new(step.unknown_outcome(), reason),
    }
}

/// The verdict when a success status came and the answer ended early.
pub(super) fn lost_answer(step: Step, reason: &'static str) -> Verdict {
    Verdict::new(step.unknown_outcome(), reason)
}

/// `Retry-After` (RFC 9110 10.2.3) in seconds or as a date, clamped.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a u64 holds is more than an hour.
        let seconds = text.parse().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
    }
    // The day of the week adds nothing, so a wrong one takes nothing away.
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let date = parser.parse_timestamp(text).ok()?;
    let wait = Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO);
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
