//! The application's JWTs (RFC 7519, hardened after RFC 8725). Everything is checked here, strictly, and only the
//! signature arithmetic is the library's: its own checks ask the system clock.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use oauth_manager_actors::domain::{error::ServiceError, ids::Subject};
use serde::Deserialize;

use super::jwks::{Jwks, KeyFault, KeySource};
use crate::http::{
    Now,
    problem::Problem,
    settings::{JwtKeys, UserJwtSettings},
};

/// Longer than any sensible token; hashing more is work for nothing.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Types of token that are meant to be shown to an API (RFC 9068 2.1); others are made for something else.
const TYPES: [&str; 3] = ["jwt", "at+jwt", "application/at+jwt"];

/// Checks users' JWTs.
pub(crate) struct UserJwt {
    checks: Option<Checks>,
    now: Now,
}

struct Checks {
    keys: Keys,
    settings: UserJwtSettings,
}

enum Keys {
    Secret(Arc<DecodingKey>),
    Published(Jwks),
}

/// What a header may say. Anything that would change how the token is read is refused: `crit` names extensions that must
/// be understood (RFC 7515 4.1.11), `b64` another signing input, `enc` another kind of token. `jku`, `jwk`, `x5u` and
/// `x5c` are not looked at: keys come from configuration only.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<serde_json::Value>,
    b64: Option<serde_json::Value>,
    enc: Option<serde_json::Value>,
    zip: Option<serde_json::Value>,
}

/// A repeated claim is an error of serde's: no reader may pick another of two.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    iss: Option<String>,
    aud: Option<Audience>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

impl UserJwt {
    /// Checks by these settings; `source` fetches the published keys.
    pub(crate) fn new(
        settings: Option<UserJwtSettings>,
        source: Option<Arc<dyn KeySource>>,
        now: Now,
    ) -> Self {
        let checks = settings.map(|settings| Checks {
            keys: match &settings.keys {
                JwtKeys::Hs256(secret) => Keys::Secret(Arc::new(DecodingKey::from_secret(secret.expose()))),
                JwtKeys::Jwks => Keys::Published(Jwks::new(source, Arc::clone(&now))),
            },
            settings,
        });
        Self { checks, now }
    }

    /// The user whom this token names.
    pub(crate) async fn subject(&self, token: &str) -> Result<Subject, Problem> {
        let checks = self
            .checks
            .as_ref()
            .ok_or_else(|| refused("this service accepts no users' tokens"))?;
        let (message, header, claims, signature) = split(token).ok_or_else(|| refused("it is not a JWT"))?;
        let header: Header = decode(header).ok_or_else(|| refused("its header is not understood"))?;
        let algorithm = acceptable(&header)?;
        let key = checks.key(&header, algorithm).await?;
        let holds = crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap_or(false);
        if !holds {
            return Err(refused("its signature does not hold"));
        }
        let claims: Claims = decode(claims).ok_or_else(|| {
            refused("its claims are not understood: sub (text) and exp (number) are needed")
        })?;
        checks.settings.accept(&claims, (self.now)().as_second() as f64)?;
        claims.sub.parse().map_err(|_| refused("its sub is not a user"))
    }
}

impl Checks {
    async fn key(&self, header: &Header, algorithm: Algorithm) -> Result<Arc<DecodingKey>, Problem> {
        match (&self.keys, algorithm) {
            (Keys::Secret(key), Algorithm::HS256) => Ok(Arc::clone(key)),
            (Keys::Published(jwks), Algorithm::RS256 | Algorithm::ES256 | Algorithm::EdDSA) => {
                jwks.key(header.kid.as_deref(), algorithm).await.map_err(|fault| match fault {
                    KeyFault::Unknown => refused("its key is not among the application's published keys"),
                    KeyFault::Unavailable { retry_after } => ServiceError::Overloaded {
                        detail: "the application's published keys cannot be fetched; users' tokens cannot be checked",
                        retry_after,
                    }
                    .into(),
                })
            }
            _ => Err(refused("its algorithm is not accepted")),
        }
    }
}

impl UserJwtSettings {
    fn accept(&self, claims: &Claims, now: f64) -> Result<(), Problem> {
        let leeway = self.leeway.as_secs_f64();
        if claims.exp + leeway <= now {
            return Err(refused("it has expired"));
        }
        if claims.nbf.is_some_and(|nbf| nbf - leeway > now) {
            return Err(refused("it is not valid yet"));
        }
        if self.issuer.is_some() && self.issuer != claims.iss {
            return Err(refused("its issuer is not the application's"));
        }
        let named = |audience: &String| match &claims.aud {
            None => false,
            Some(Audience::One(one)) => one == audience,
            Some(Audience::Several(several)) => several.contains(audience),
        };
        if self.audience.as_ref().is_some_and(|audience| !named(audience)) {
            return Err(refused("it is made for another audience"));
        }
        Ok(())
    }
}

fn refused(why: &str) -> Problem {
    Problem::unauthenticated(format!("the user's token is not accepted: {why}"))
}

/// `(header.claims, header, claims, signature)`
fn split(token: &str) -> Option<(&str, &str, &str, &str)> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    (!claims.contains('.') && !signature.is_empty()).then_some((message, header, claims, signature))
}

fn decode<T: serde::de::DeserializeOwned>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// The algorithm, if the header says nothing that would have to be understood.
fn acceptable(header: &Header) -> Result<Algorithm, Problem> {
    let strange = [&header.crit, &header.b64, &header.enc, &header.zip];
    if strange.iter().any(|field| field.is_some()) {
        return Err(refused("its header asks for extensions"));
    }
    let known = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
    if header.typ.as_ref().is_some_and(|typ| !known(typ)) {
        return Err(refused("it is another type of token"));
    }
    match header.alg.as_str() {
        "HS256" => Ok(Algorithm::HS256),
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        "EdDSA" => Ok(Algorithm::EdDSA),
        _ => Err(refused("its algorithm is not accepted")),
    }
}

#[cfg(test)]
#[path = "user_jwt_tests.rs"]
mod tests;
