//! PKCE (RFC 7636), the server's side.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Challenge {
    Plain(String),
    S256(String),
}

impl Challenge {
    /// The challenge of an authorization request: none, one, or what is wrong with it.
    pub fn read(challenge: Option<&str>, method: Option<&str>) -> Result<Option<Self>, &'static str> {
        match (challenge, method) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err("code_challenge_method without code_challenge"),
            (Some(challenge), _) if !(43..=128).contains(&challenge.len()) => {
                Err("code_challenge must have 43 to 128 characters")
            }
            (Some(challenge), Some("S256")) => Ok(Some(Self::S256(challenge.to_owned()))),
            (Some(challenge), None | Some("plain")) => Ok(Some(Self::Plain(challenge.to_owned()))),
            (Some(_), Some(_)) => Err("unknown code_challenge_method"),
        }
    }

    pub fn answered_by(&self, verifier: &str) -> bool {
        let unreserved = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        (43..=128).contains(&verifier.len())
            && verifier.bytes().all(unreserved)
            && match self {
                Self::Plain(challenge) => challenge == verifier,
                Self::S256(challenge) => {
                    *challenge == URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()))
                }
            }
    }
}
