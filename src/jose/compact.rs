//! A token in the compact serialisation (RFC 7515 3.1): taken apart, and believed in nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::Value;

/// Every algorithm with a public key that can be checked here. `none` and HMAC are not among them, and never may be: a
/// published key is nobody's secret.
pub(crate) const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::PS256,
    Algorithm::EdDSA,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES384,
];

/// The algorithm of this name. `Ed25519` (RFC 9864) is what `EdDSA` means with the one curve there is here.
pub(crate) fn algorithm_named(name: &str) -> Option<Algorithm> {
    match name {
        "Ed25519" => Some(Algorithm::EdDSA),
        name => name.parse().ok(),
    }
}

/// A token, taken apart.
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    /// What is signed.
    message: &'a str,
    signature: &'a str,
    payload: &'a str,
}

/// What a header may say. `jku`, `jwk`, `x5u` and `x5c` are not looked at: keys never come from a token.
#[derive(Deserialize)]
pub(crate) struct Header {
    alg: String,
    pub(crate) kid: Option<String>,
    pub(crate) typ: Option<String>,
    crit: Option<Value>,
    b64: Option<Value>,
    enc: Option<Value>,
    zip: Option<Value>,
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not three parts.
    Shape,
    /// Its header is not understood.
    Header,
}

impl Header {
    /// What it is signed with, if that has a name here.
    pub(crate) fn algorithm(&self) -> Option<Algorithm> {
        algorithm_named(&self.alg)
    }

    /// Whether it says something that would change how the token is read: `crit` names extensions that must be understood
    /// (RFC 7515 4.1.11), `b64` another signing input, `enc` another kind of token.
    pub(crate) fn asks_for_extensions(&self) -> bool {
        let extensions = [&self.crit, &self.b64, &self.enc, &self.zip];
        extensions.iter().any(|extension| extension.is_some())
    }
}

impl<'a> Compact<'a> {
    pub(crate) fn read(token: &'a str) -> Result<Self, Unreadable> {
        let (message, signature) = token.rsplit_once('.').ok_or(Unreadable::Shape)?;
        let (header, payload) = message.split_once('.').ok_or(Unreadable::Shape)?;
        if payload.contains('.') || signature.is_empty() {
            return Err(Unreadable::Shape);
        }
        let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| Unreadable::Header)?;
        Ok(Self {
            header: serde_json::from_slice(&header).map_err(|_| Unreadable::Header)?,
            message,
            signature,
            payload,
        })
    }

    /// Whether this key made its signature, by this algorithm.
    pub(crate) fn is_signed_by(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        crypto::verify(self.signature, self.message.as_bytes(), key, algorithm).unwrap_or(false)
    }

    /// What it says.
    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(self.payload).ok()
    }
}
