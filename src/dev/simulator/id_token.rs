//! ID tokens: claims are drafted while the world is locked and signed afterwards, because a signature costs more than
//! everything else in an answer together.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::keys::{KeyRotation, Keys};

/// What is wrong with an ID token on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdTokenFlaw {
    /// The signature does not fit the content.
    BadSignature,
    /// Properly signed, by a key that the key set does not show (before the first rotation).
    UnknownKey,
    /// `alg: none`, no signature.
    Unsigned,
    /// HS256 with the published modulus as the key: the classic confusion of algorithms.
    SymmetricWithPublicKey,
    WrongNonce,
    MissingNonce,
    WrongAudience,
    /// The right audience among others, with a foreign `azp`.
    WrongAuthorizedParty,
    WrongIssuer,
    Expired,
    IssuedInTheFuture,
    WrongAccessTokenHash,
    MissingSubject,
    /// Not a JWT at all.
    Garbage,
}

/// Claims still to be signed.
#[derive(Debug, Clone)]
pub struct IdTokenDraft {
    pub claims: Value,
    pub flaw: Option<IdTokenFlaw>,
}

impl IdTokenDraft {
    pub fn new(claims: Value) -> Self {
        Self { claims, flaw: None }
    }

    pub fn sign(mut self, keys: &Keys, rotation: KeyRotation) -> String {
        let Some(flaw) = self.flaw else {
            return keys.sign(rotation, &self.claims);
        };
        let claims = &mut self.claims;
        let issued = claims["iat"].as_i64().unwrap_or_default();
        match flaw {
            IdTokenFlaw::BadSignature => {
                let other = json!({ "iss": "https://elsewhere.example", "sub": "somebody" });
                let foreign = keys.sign(rotation, &other);
                let honest = keys.sign(rotation, claims);
                return splice(&honest, &foreign);
            }
            IdTokenFlaw::UnknownKey => return keys.sign_with_other(rotation, claims),
            IdTokenFlaw::Unsigned => {
                let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
                return format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims.to_string()));
            }
            IdTokenFlaw::SymmetricWithPublicKey => return symmetric(keys, rotation, claims),
            IdTokenFlaw::Garbage => return "not-a-jwt".to_owned(),
            IdTokenFlaw::WrongNonce => claims["nonce"] = json!("a-nonce-of-another-flow"),
            IdTokenFlaw::MissingNonce => remove(claims, "nonce"),
            IdTokenFlaw::WrongAudience => {
                claims["aud"] = json!("another-client");
                claims["azp"] = json!("another-client");
            }
            IdTokenFlaw::WrongAuthorizedParty => {
                claims["aud"] = json!([claims["aud"].clone(), "another-client"]);
                claims["azp"] = json!("another-client");
            }
            IdTokenFlaw::WrongIssuer => claims["iss"] = json!("https://issuer.elsewhere.example"),
            IdTokenFlaw::Expired => {
                claims["iat"] = json!(issued - 90_000);
                claims["exp"] = json!(issued - 86_400);
            }
            IdTokenFlaw::IssuedInTheFuture => {
                claims["iat"] = json!(issued + 86_400);
                claims["nbf"] = json!(issued + 86_400);
                claims["exp"] = json!(issued + 90_000);
            }
            IdTokenFlaw::WrongAccessTokenHash => claims["at_hash"] = json!(at_hash("another access token")),
            IdTokenFlaw::MissingSubject => remove(claims, "sub"),
        }
        keys.sign(rotation, claims)
    }
}

/// OpenID Connect Core, 3.1.3.6: the left half of the hash, for RS256 of SHA-256.
pub fn at_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&digest(&SHA256, access_token.as_bytes()).as_ref()[..16])
}

fn splice(content: &str, signature: &str) -> String {
    let content = content.rsplit_once('.').map_or(content, |(content, _)| content);
    let signature = signature.rsplit_once('.').map_or("", |(_, signature)| signature);
    format!("{content}.{signature}")
}

fn symmetric(keys: &Keys, rotation: KeyRotation, claims: &Value) -> String {
    let jwk = &keys.jwks(rotation)["keys"][0];
    let header = json!({ "alg": "HS256", "typ": "JWT", "kid": jwk["kid"] });
    let token = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let key = ring::hmac::Key::new(
        ring::hmac::HMAC_SHA256,
        &URL_SAFE_NO_PAD
            .decode(jwk["n"].as_str().unwrap_or_default())
            .unwrap_or_default(),
    );
    let signature = ring::hmac::sign(&key, token.as_bytes());
    format!("{token}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn remove(claims: &mut Value, name: &str) {
    if let Some(claims) = claims.as_object_mut() {
        claims.remove(name);
    }
}
