//! Verifies ID tokens (OpenID Connect Core 3.1.3.7, RFC 8725).
//!
//! `jsonwebtoken` checks the signature and nothing else: it would read the wall clock by itself, and time is a port here.
//! The key comes from the provider's pinned key set; `jku`, `x5u` and `jwk` in a header are never looked at.

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use ring::digest;
use serde_json::Value;

use super::{
    declaration::Object,
    jwks::{KeySet, NoKey},
};

/// How far clocks may disagree.
const SKEW_SECS: f64 = 60.0;

/// What a token must say.
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    /// `{tenantid}` stands for the token's `tid`.
    pub(super) issuers: &'a [String],
    pub(super) algorithms: &'a [Algorithm],
    pub(super) nonce: &'a str,
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
    #[error("id_token_key_ambiguous")]
    KeyAmbiguous,
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
    // `none` and anything unknown do not parse; HMAC is in no allow-list.
    let header = decode_header(token).map_err(|_| IdTokenError::Malformed)?;
    if !expected.algorithms.contains(&header.alg) {
        return Err(IdTokenError::Algorithm);
    }
    let key = keys
        .select(header.kid.as_deref(), header.alg)
        .map_err(|no_key| match no_key {
            NoKey::Unknown => IdTokenError::KeyUnknown,
            NoKey::Ambiguous => IdTokenError::KeyAmbiguous,
        })?;
    let all = decode::<Object>(token, key, &signature_only(header.alg))
        .map_err(|_| IdTokenError::Signature)?
        .claims;
    let claims = check_claims(all, expected)?;
    check_at_hash(&claims, header.alg, expected.access_token)?;
    Ok(claims)
}

fn signature_only(algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation
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
    let sub = text(&all, "sub").ok_or(IdTokenError::Subject)?;
    if text(&all, "nonce") != Some(expected.nonce) {
        return Err(IdTokenError::Nonce);
    }
    Ok(Claims {
        iss: iss.to_owned(),
        sub: sub.to_owned(),
        all,
    })
}

/// We must be among the audience, and if others are too, or a party is named, it must be us.
fn check_audience(all: &Object, client_id: &str) -> Result<(), IdTokenError> {
    let (includes_us, several) = match all.get("aud") {
        Some(Value::String(aud)) => (aud == client_id, false),
        Some(Value::Array(auds)) => (auds.iter().any(|aud| aud == client_id), auds.len() > 1),
        _ => (false, false),
    };
    let party_fits = match all.get("azp") {
        None => !several,
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
        Algorithm::EdDSA => &digest::SHA512,
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
    let claims: Object = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    text(&claims, "sub").map(str::to_owned)
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
