//! Verifies ID tokens (OpenID Connect Core 3.1.3.7, RFC 8725).
//!
//! The key comes from the provider's pinned key set; `jku`, `x5u` and `jwk` in a header are never looked at.

use jiff::Timestamp;
use jsonwebtoken::Algorithm;
use ring::digest;
use serde_json::Value;

use super::{declaration::Object, json, settings::Nonce};
use crate::jose::{Compact, KeySet, Signature};

/// How far clocks may disagree.
const SKEW_SECS: f64 = 60.0;

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    /// `{tenantid}` stands for the token's `tid`.
    pub(super) issuers: &'a [String],
    pub(super) algorithms: &'a [Algorithm],
    pub(super) nonce: &'a str,
    pub(super) nonce_rule: Nonce,
    /// For `at_hash`.
    pub(super) access_token: &'a str,
    pub(super) now: Timestamp,
}

/// Verified claims.
#[derive(Debug, Clone)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    all: Object,
}

impl Claims {
    /// A claim that is a non-empty text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        text(&self.all, name)
    }
}

/// Why a token is refused; each is a reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum IdTokenError {
    #[error("id_token_malformed")]
    Malformed,
    #[error("id_token_algorithm")]
    Algorithm,
    #[error("id_token_key_unknown")]
    KeyUnknown,
    #[error("id_token_signature")]
    Signature,
    #[error("id_token_issuer")]
    Issuer,
    #[error("id_token_audience")]
    Audience,
    #[error("id_token_expired")]
    Expired,
    #[error("id_token_not_yet_valid")]
    NotYetValid,
    #[error("id_token_subject")]
    Subject,
    #[error("id_token_nonce")]
    Nonce,
    #[error("id_token_at_hash")]
    AtHash,
}

/// Verifies a token completely. [`IdTokenError::KeyUnknown`] is worth one fresh look at the key set.
pub(super) fn verify(token: &str, keys: &KeySet, expected: &Expected<'_>) -> Result<Claims, IdTokenError> {
    let token = Compact::read(token).map_err(|_| IdTokenError::Malformed)?;
    if token.header.asks_for_extensions() {
        return Err(IdTokenError::Malformed);
    }
    // `none` has no name here, and HMAC is in no allow-list.
    let algorithm = token.header.algorithm().ok_or(IdTokenError::Malformed)?;
    if !expected.algorithms.contains(&algorithm) {
        return Err(IdTokenError::Algorithm);
    }
    match keys.check(&token, algorithm) {
        Signature::Holds => {}
        Signature::DoesNotHold => return Err(IdTokenError::Signature),
        Signature::KeyUnknown => return Err(IdTokenError::KeyUnknown),
    }
    let all = claims(&token).ok_or(IdTokenError::Malformed)?;
    let claims = check_claims(all, expected)?;
    check_at_hash(&claims, algorithm, expected.access_token)?;
    Ok(claims)
}

fn claims(token: &Compact<'_>) -> Option<Object> {
    json::object(&token.payload()?)
}

fn check_claims(all: Object, expected: &Expected<'_>) -> Result<Claims, IdTokenError> {
    let iss = text(&all, "iss").ok_or(IdTokenError::Issuer)?;
    let tid = text(&all, "tid").unwrap_or_default();
    let accepted = expected
        .issuers
        .iter()
        .any(|issuer| issuer.replace("{tenantid}", tid) == iss);
    if !accepted {
        return Err(IdTokenError::Issuer);
    }
    check_audience(&all, expected.client_id)?;
    check_times(&all, expected.now)?;
    let sub = json::identifier(all.get("sub")).map_err(|_| IdTokenError::Subject)?;
    match all.get("nonce") {
        None if expected.nonce_rule == Nonce::Optional => {}
        Some(nonce) if nonce == expected.nonce => {}
        _ => return Err(IdTokenError::Nonce),
    }
    Ok(Claims {
        iss: iss.to_owned(),
        sub,
        all,
    })
}

/// We must be among the audience, and if a party is named, it must be us. Several audiences without one are what a
/// provider writes whose tokens are for an interface of its own as well.
fn check_audience(all: &Object, client_id: &str) -> Result<(), IdTokenError> {
    let includes_us = match all.get("aud") {
        Some(Value::String(aud)) => aud == client_id,
        Some(Value::Array(auds)) => auds.iter().any(|aud| aud == client_id),
        _ => false,
    };
    let party_fits = match all.get("azp") {
        None | Some(Value::Null) => true,
        Some(party) => party == client_id,
    };
    if includes_us && party_fits {
        Ok(())
    } else {
        Err(IdTokenError::Audience)
    }
}

fn check_times(all: &Object, now: Timestamp) -> Result<(), IdTokenError> {
    let now = now.as_second() as f64;
    let time = |name: &str| {
        all.get(name)
            .map(|value| value.as_f64().ok_or(IdTokenError::Malformed))
            .transpose()
    };
    let expires = time("exp")?.ok_or(IdTokenError::Malformed)?;
    let issued = time("iat")?.ok_or(IdTokenError::Malformed)?;
    let not_before = time("nbf")?.unwrap_or(issued);
    if now >= expires + SKEW_SECS {
        return Err(IdTokenError::Expired);
    }
    if now < issued - SKEW_SECS || now < not_before - SKEW_SECS {
        return Err(IdTokenError::NotYetValid);
    }
    Ok(())
}

/// OpenID Connect Core 3.1.3.6: the left half of the hash that belongs to the signature's algorithm. Optional in the
/// code flow, but never ignored when it is there.
fn check_at_hash(claims: &Claims, algorithm: Algorithm, access_token: &str) -> Result<(), IdTokenError> {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    let Some(at_hash) = claims.all.get("at_hash") else {
        return Ok(());
    };
    let hash = match algorithm {
        Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 => &digest::SHA384,
        Algorithm::RS512 | Algorithm::PS512 | Algorithm::EdDSA => &digest::SHA512,
        _ => &digest::SHA256,
    };
    let digest = digest::digest(hash, access_token.as_bytes());
    let half = &digest.as_ref()[..digest.as_ref().len() / 2];
    if at_hash.as_str() == Some(URL_SAFE_NO_PAD.encode(half).as_str()) {
        Ok(())
    } else {
        Err(IdTokenError::AtHash)
    }
}

/// The subject of a token that came straight from the token endpoint in a refresh: not verified, only compared with the
/// one that was (OpenID Connect Core 12.2).
pub(super) fn unverified_subject(token: &str) -> Option<String> {
    let claims = claims(&Compact::read(token).ok()?)?;
    json::identifier(claims.get("sub")).ok()
}

fn text<'a>(object: &'a Object, name: &str) -> Option<&'a str> {
    object
        .get(name)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

#[cfg(test)]
#[path = "id_token_tests.rs"]
mod tests;
