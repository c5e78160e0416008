//! Security event tokens (RISC): what Google would push when something happens to an account.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::clock::{Millis, seconds};
use super::ledger::request_id;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityEvent {
    SessionsRevoked,
    TokensRevoked,
    /// One refresh token, told by its first sixteen characters.
    TokenRevoked {
        refresh_token: String,
    },
    /// `hijacking` or `bulk-account`.
    AccountDisabled {
        reason: String,
    },
    AccountEnabled,
    CredentialChangeRequired,
    /// The echo test.
    Verification {
        state: String,
    },
}

impl SecurityEvent {
    fn uri(&self) -> &'static str {
        match self {
            Self::SessionsRevoked => "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
            Self::TokensRevoked => "https://schemas.openid.net/secevent/oauth/event-type/tokens-revoked",
            Self::TokenRevoked { .. } => "https://schemas.openid.net/secevent/oauth/event-type/token-revoked",
            Self::AccountDisabled { .. } => {
                "https://schemas.openid.net/secevent/risc/event-type/account-disabled"
            }
            Self::AccountEnabled => "https://schemas.openid.net/secevent/risc/event-type/account-enabled",
            Self::CredentialChangeRequired => {
                "https://schemas.openid.net/secevent/risc/event-type/account-credential-change-required"
            }
            Self::Verification { .. } => "https://schemas.openid.net/secevent/risc/event-type/verification",
        }
    }

    /// The claims of the token; it has no `exp`, and `jti` tells redeliveries.
    pub fn claims(&self, issuer: &str, audience: &str, subject: &str, now: Millis) -> Value {
        let person = json!({ "subject_type": "iss-sub", "iss": issuer, "sub": subject });
        let event = match self {
            Self::Verification { state } => json!({ "state": state }),
            Self::AccountDisabled { reason } => json!({ "subject": person, "reason": reason }),
            Self::TokenRevoked { refresh_token } => {
                let prefix: String = refresh_token.chars().take(16).collect();
                json!({ "subject": {
                    "subject_type": "oauth_token",
                    "token_type": "refresh_token",
                    "token_identifier_alg": "prefix",
                    "token": prefix,
                }})
            }
            Self::SessionsRevoked
            | Self::TokensRevoked
            | Self::AccountEnabled
            | Self::CredentialChangeRequired => json!({ "subject": person }),
        };
        json!({
            "iss": issuer,
            "aud": audience,
            "iat": seconds(now),
            "jti": request_id(),
            "events": { self.uri(): event },
        })
    }
}
