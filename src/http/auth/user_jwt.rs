//! The application's JWTs (RFC 7519, hardened after RFC 8725). Everything is checked here, strictly, and only the
//! signature arithmetic is the library's: its own checks ask the system clock.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};
use oauth_manager_actors::domain::{Timestamp, error::ServiceError, ids::Subject};
use serde::Deserialize;

use crate::{
    http::{
        Now,
        problem::Problem,
        settings::{JwtKeys, UserJwtSettings},
    },
    jose::{ALGORITHMS, Compact, KeyFault, PublishedKeys, Unreadable},
};

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
    Secret(DecodingKey),
    Published(Arc<PublishedKeys>),
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
    /// Checks by these settings; `published` are the application's published keys.
    pub(crate) fn new(
        settings: Option<UserJwtSettings>,
        published: Option<Arc<PublishedKeys>>,
        now: Now,
    ) -> Self {
        let checks = settings.and_then(|settings| {
            let keys = match &settings.keys {
                JwtKeys::Hs256(secret) => Keys::Secret(DecodingKey::from_secret(secret.expose())),
                JwtKeys::Jwks => Keys::Published(published?),
            };
            Some(Checks { keys, settings })
        });
        Self { checks, now }
    }

    /// The user whom this token names. How long it may be is decided by the length of a request's head.
    pub(crate) async fn subject(&self, token: &str) -> Result<Subject, Problem> {
        let checks = self
            .checks
            .as_ref()
            .ok_or_else(|| refused("this service accepts no users' tokens"))?;
        let token = Compact::read(token).map_err(|unreadable| match unreadable {
            Unreadable::Shape => refused("it is not a JWT"),
            Unreadable::Header => refused("its header is not understood"),
        })?;
        let algorithm = acceptable(&token)?;
        let now = (self.now)();
        checks.signature(&token, algorithm, now).await?;
        let claims = token
            .payload()
            .and_then(|claims| serde_json::from_slice(&claims).ok());
        let claims: Claims = claims.ok_or_else(|| {
            refused("its claims are not understood: sub (text) and exp (number) are needed")
        })?;
        checks.settings.accept(&claims, now.as_second() as f64)?;
        claims.sub.parse().map_err(|_| refused("its sub is not a user"))
    }
}

impl Checks {
    async fn signature(
        &self,
        token: &Compact<'_>,
        algorithm: Algorithm,
        now: Timestamp,
    ) -> Result<(), Problem> {
        match &self.keys {
            Keys::Secret(key) if algorithm == Algorithm::HS256 => {
                let holds = token.is_signed_by(key, algorithm);
                holds
                    .then_some(())
                    .ok_or_else(|| refused("its signature does not hold"))
            }
            Keys::Published(keys) if ALGORITHMS.contains(&algorithm) => {
                keys.check(token, algorithm, now).await.map_err(|fault| match fault {
                    KeyFault::Signature => refused("its signature does not hold"),
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

/// The algorithm, if the header says nothing that would have to be understood.
fn acceptable(token: &Compact<'_>) -> Result<Algorithm, Problem> {
    if token.header.asks_for_extensions() {
        return Err(refused("its header asks for extensions"));
    }
    let known = |typ: &String| TYPES.contains(&typ.to_ascii_lowercase().as_str());
    if token.header.typ.as_ref().is_some_and(|typ| !known(typ)) {
        return Err(refused("it is another type of token"));
    }
    let algorithm = token.header.algorithm();
    algorithm.ok_or_else(|| refused("its algorithm is not accepted"))
}

#[cfg(test)]
#[path = "user_jwt_tests.rs"]
mod tests;
