//! What an answer that is not a token means: whose fault it is, and how far it reaches ([`FailureKind`]).
//!
//! The order of the questions matters. Pressure and outages come first, because an overloaded provider says all kinds of
//! things; then what the operator declared and the dialect's own codes; then the common words, from those that cost nobody
//! anything to those that end a grant. Our registration is blamed only by a word that names our client: anything else that
//! may be our fault (a bare 401, `unauthorized_client`) is a refusal of this one call, and several accounts tell together.

use std::time::Duration;

use http::{HeaderMap, header};
use jiff::{Timestamp, fmt::rfc2822};
use oauth_manager_actors::{domain::provider::RefreshClass, ports::oauth::FailureKind};

pub(super) use super::error_answer::ErrorAnswer;
use super::{
    declaration::Dialect,
    error_words as words,
    settings::DeclaredErrors,
    transport::{Answer, NoAnswer},
};

/// Longest time a provider may send us away for; beyond it we look again by ourselves.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

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

/// The verdict on an answer that is no success.
pub(super) fn answer(dialect: &dyn Dialect, step: Step, answer: &Answer, now: Timestamp) -> Verdict {
    declared_or(None, dialect, step, answer, now)
}

/// The same on an answer of the token endpoint, about which the operator may have declared something.
pub(super) fn token_endpoint(
    declared: &DeclaredErrors,
    dialect: &dyn Dialect,
    step: Step,
    answer: &Answer,
    now: Timestamp,
) -> Verdict {
    declared_or(Some(declared), dialect, step, answer, now)
}

fn declared_or(
    declared: Option<&DeclaredErrors>,
    dialect: &dyn Dialect,
    step: Step,
    answer: &Answer,
    now: Timestamp,
) -> Verdict {
    let error = ErrorAnswer::read(answer);
    let mut verdict = decide(declared, dialect, step, &error);
    if matches!(
        verdict.kind,
        FailureKind::Passing | FailureKind::AccountThrottled | FailureKind::OutcomeUnknown
    ) {
        verdict.retry_after = retry_after(&answer.headers, now).or(verdict.retry_after);
    }
    verdict
}

fn decide(
    declared: Option<&DeclaredErrors>,
    dialect: &dyn Dialect,
    step: Step,
    error: &ErrorAnswer,
) -> Verdict {
    match error.status {
        // 408 and 425 say that the request was not looked at (RFC 9110 15.5.9, RFC 8470 5.2).
        408 | 425 | 429 => return Verdict::new(FailureKind::Passing, error.reason()),
        500..=599 => return Verdict::new(step.unknown_outcome(), error.reason()),
        300..=399 => return Verdict::new(FailureKind::Refused, "redirected"),
        _ => {}
    }
    if let Some(verdict) = declared.and_then(|declared| declared.verdict(error)) {
        return verdict;
    }
    if let Some(refined) = dialect.refine(error) {
        return Verdict {
            kind: refined.kind,
            reason: refined.reason,
            retry_after: refined.retry_after,
        };
    }
    by_words(step, error)
}

/// The common words. From those that cost nobody anything to those that end a grant: an answer may hold several.
fn by_words(step: Step, error: &ErrorAnswer) -> Verdict {
    if error.says_one_of(words::ADMIN_SENTENCES) {
        return Verdict::new(FailureKind::Admin, "admin_approval_required");
    }
    for (kind, table) in [
        (FailureKind::Passing, words::PASSING),
        (FailureKind::Operator, words::CLIENT),
        (FailureKind::Admin, words::ADMIN),
        (FailureKind::Interaction, words::INTERACTION),
        (FailureKind::DeadGrant, words::DEAD),
        (FailureKind::BadRequest, words::BAD_REQUEST),
    ] {
        if let Some(word) = error.word_of(table) {
            return Verdict::new(kind, word);
        }
    }
    if says_only(error, words::CLIENT_SENTENCES) {
        return Verdict::new(FailureKind::Operator, "client_authentication_failed");
    }
    // Only a refresh presents a refresh token.
    if matches!(step, Step::Refresh(_)) && says_only(error, words::DEAD_SENTENCES) {
        return Verdict::new(FailureKind::DeadGrant, "refresh_token_invalid");
    }
    Verdict::new(FailureKind::Refused, error.reason())
}

/// Whether one of these sentences is all that the answer says, beside words that say nothing by themselves.
fn says_only(error: &ErrorAnswer, sentences: &[&str]) -> bool {
    let says_nothing_else = |word: &String| {
        words::VAGUE.contains(&word.as_str()) || sentences.contains(&word.replace('_', " ").as_str())
    };
    error.says_one_of(sentences) && error.words.iter().all(says_nothing_else)
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
    // Discord counts in parts of a second.
    if let Some((whole, part)) = text.split_once('.') {
        let is_decimal = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let seconds = text
            .parse()
            .ok()
            .filter(|_| is_decimal(whole) && is_decimal(part))?;
        return Some(
            Duration::try_from_secs_f64(seconds).map_or(RETRY_AFTER_MAX, |wait| wait.min(RETRY_AFTER_MAX)),
        );
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
