//! The simulator's signing keys: two throw-away RSA keys that are good for nothing else, and the JWKS that shows their
//! public halves.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

const FIRST: &[u8] = include_bytes!("keys/simulator-first.pkcs8.der");
const SECOND: &[u8] = include_bytes!("keys/simulator-second.pkcs8.der");

/// Which keys sign and which are published at the moment.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyRotation {
    turns: usize,
}

impl KeyRotation {
    pub fn rotate(&mut self) {
        self.turns += 1;
    }

    fn active(self) -> usize {
        self.turns % 2
    }
}

#[derive(Debug)]
pub struct Keys {
    keys: [Key; 2],
}

#[derive(Debug)]
struct Key {
    pair: RsaKeyPair,
    kid: String,
    n: String,
    e: String,
}

impl Keys {
    pub fn load() -> io::Result<Self> {
        Ok(Self {
            keys: [Key::load(FIRST)?, Key::load(SECOND)?],
        })
    }

    /// The key set as published: before the first rotation only the key in use, so that a client meets an unknown `kid`
    /// after it; afterwards both.
    pub fn jwks(&self, rotation: KeyRotation) -> Value {
        let published = if rotation.turns == 0 {
            &self.keys[..1]
        } else {
            &self.keys[..]
        };
        json!({ "keys": published.iter().map(Key::jwk).collect::<Vec<_>>() })
    }

    pub fn sign(&self, rotation: KeyRotation, claims: &Value) -> String {
        self.keys[rotation.active()].sign("JWT", claims)
    }

    /// A security event token differs from an ID token in its `typ`.
    pub fn sign_event(&self, rotation: KeyRotation, claims: &Value) -> String {
        self.keys[rotation.active()].sign("secevent+jwt", claims)
    }

    /// Signed with the other key: one that is not published before the first rotation.
    pub fn sign_with_other(&self, rotation: KeyRotation, claims: &Value) -> String {
        self.keys[1 - rotation.active()].sign("JWT", claims)
    }
}

impl Key {
    fn load(pkcs8: &[u8]) -> io::Result<Self> {
        let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(io::Error::other)?;
        let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
        let (n, e) = (URL_SAFE_NO_PAD.encode(public.n), URL_SAFE_NO_PAD.encode(public.e));
        // RFC 7638: the thumbprint is over the members in lexical order, without white space.
        let thumbprint = digest(
            &SHA256,
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#).as_bytes(),
        );
        Ok(Self {
            pair,
            kid: URL_SAFE_NO_PAD.encode(thumbprint),
            n,
            e,
        })
    }

    fn jwk(&self) -> Value {
        json!({ "kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": self.n, "e": self.e })
    }

    fn sign(&self, typ: &str, claims: &Value) -> String {
        let header = json!({ "alg": "RS256", "kid": self.kid, "typ": typ });
        let mut token = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let mut signature = vec![0; self.pair.public().modulus_len()];
        // Fails only when the buffer has another length than the modulus; then the signature stays all zero and no
        // client accepts the token.
        let _ = self.pair.sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            token.as_bytes(),
            &mut signature,
        );
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        token
    }
}
