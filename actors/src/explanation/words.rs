//! Words for times and reasons.

use std::time::Duration;

use crate::domain::{
    Timestamp,
    reason::{ReasonCode, WhoMustAct},
};

/// The time of day if it is today's, with the date if not.
pub(super) fn clock(now: Timestamp, at: Timestamp) -> String {
    let day = |at: Timestamp| at.as_second().div_euclid(24 * 60 * 60);
    let form = if day(now) == day(at) {
        "%H:%M:%S UTC"
    } else {
        "%Y-%m-%d %H:%M UTC"
    };
    at.strftime(form).to_string()
}

/// `45 s`, `28 min`, `5 h`, `9 days`.
pub(super) fn span(duration: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match duration.as_secs() {
        0 => "less than a second".into(),
        seconds if seconds < 2 * MINUTE => format!("{seconds} s"),
        seconds if seconds < 2 * HOUR => format!("{} min", seconds / MINUTE),
        seconds if seconds < 2 * DAY => format!("{} h", seconds / HOUR),
        seconds => format!("{} days", seconds / DAY),
    }
}

/// Why the last refresh did not go well.
pub(super) fn provider_said(reason: Option<&ReasonCode>, provider: &str, failures: u32) -> String {
    let times = match failures {
        0 | 1 => String::new(),
        n => format!(", {n} times in a row"),
    };
    let Some(reason) = reason else {
        return format!("the last refresh failed{times}");
    };
    match reason.as_str() {
        "outcome_unknown" => format!(
            "a refresh left for {provider} and no usable answer came back, so nobody knows whether its refresh token was \
             spent{times}"
        ),
        "answer_late" => format!(
            "an answer of {provider} was stored late, when another refresh may have been tried already: a refresh now shows \
             whether its tokens are good{times}"
        ),
        "answer_unreadable" => {
            format!("{provider}'s answer could not be understood; the refresh token in it was kept{times}")
        }
        "timeout" => format!("{provider} did not answer in time{times}"),
        "rate_limited" => format!("{provider} asked for fewer calls (rate_limited){times}"),
        "no_refresh_token" => format!("{provider} gave no refresh token to refresh with"),
        _ => format!("{provider} answered {reason}{times}"),
    }
}

/// What whoever must act does.
pub(super) fn what_they_do(who: WhoMustAct, provider: &str) -> String {
    match who {
        WhoMustAct::Nobody => "nobody has to act".into(),
        WhoMustAct::User => "the user must connect the account again".into(),
        WhoMustAct::Admin => format!(
            "an administrator of the user's organisation must allow it at {provider}; it is tried again by itself"
        ),
        WhoMustAct::Operator => format!(
            "the operator must mend this service's registration at {provider} (client id and secret); accounts recover by \
             themselves"
        ),
        WhoMustAct::Developer => "the developer of the calling service must mend its request".into(),
    }
}
