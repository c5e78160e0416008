//! Why something is as it is, in words that are safe to store, log and show.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Longest reason code kept of what a provider says.
const REASON_MAX_CHARS: usize = 64;

/// An account works, and its refresh token is about to end: only connecting again gives another.
pub const REFRESH_TOKEN_ENDING: &str = "refresh_token_ending";

/// An account's tokens came in an answer that was late: another attempt may have presented the same refresh token
/// meanwhile, for which a strict provider ends the grant. The refresh that follows at once tells.
pub const ANSWER_LATE: &str = "answer_late";

/// An account's tokens came in an answer that the database would not take as it was: they are kept, without what could not
/// be (its scopes stand as they stood), or lie in the spool of the node that received them.
pub const ANSWER_UNSTORABLE: &str = "answer_unstorable";

/// An answer named more scopes than are kept, or some that nobody can keep: those were left out.
pub const SCOPES_TRIMMED: &str = "scopes_trimmed";

/// A short machine-readable reason: `invalid_grant`, `outcome_unknown`, `aadsts50173`. Only `[a-z0-9_.-]`; anything
/// else a provider sends is replaced, so that a code can neither carry a secret of some other shape nor break a log line.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ReasonCode(Arc<str>);

impl ReasonCode {
    /// A reason of ours or a provider's; made safe if it is not.
    pub fn new(code: impl AsRef<str>) -> Self {
        let safe: String = code
            .as_ref()
            .chars()
            .take(REASON_MAX_CHARS)
            .map(|c| match c.to_ascii_lowercase() {
                c if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') => c,
                _ => '_',
            })
            .collect();
        Self(if safe.is_empty() {
            "unknown".into()
        } else {
            safe.into()
        })
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whose move it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhoMustAct {
    /// The end user: connect, reconnect, consent.
    User,
    /// The administrator of the user's organisation at the provider.
    Admin,
    /// Whoever runs this service.
    Operator,
    /// Whoever wrote the call that was refused.
    Developer,
    /// Nobody: wait.
    Nobody,
}

impl WhoMustAct {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Developer => "developer",
            Self::Nobody => "nobody",
        }
    }
}

impl FromStr for WhoMustAct {
    type Err = super::ids::InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [
            Self::User,
            Self::Admin,
            Self::Operator,
            Self::Developer,
            Self::Nobody,
        ]
        .into_iter()
        .find(|who| who.as_str() == text)
        .ok_or(super::ids::InvalidId { what: "who_must_act" })
    }
}
