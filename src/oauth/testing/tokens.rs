//! Keys to sign ID tokens with. The RSA key is made for these tests and protects nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, jwk::Jwk};
use ring::{
    digest,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};

use super::{CLIENT_ID, NONCE, NOW};

const RSA_PEM: &[u8] = include_bytes!("rsa.pem");

/// A key pair with its place in a key set.
pub(crate) struct Signer {
    algorithm: Algorithm,
    key: EncodingKey,
}

impl Signer {
    pub(crate) fn rsa() -> Self {
        Self::rsa_by(Algorithm::RS256)
    }

    pub(crate) fn rsa_by(algorithm: Algorithm) -> Self {
        Self {
            algorithm,
            key: EncodingKey::from_rsa_pem(RSA_PEM).unwrap(),
        }
    }

    pub(crate) fn ec() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self {
            algorithm: Algorithm::ES256,
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
        }
    }

    pub(crate) fn ec384() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        Self {
            algorithm: Algorithm::ES384,
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
        }
    }

    pub(crate) fn ed() -> Self {
        // RFC 8410 7: the head of a private key without its public half, and a seed.
        let head = *b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20";
        Self {
            algorithm: Algorithm::EdDSA,
            key: EncodingKey::from_ed_der(&[head.as_slice(), &[7; 32]].concat()),
        }
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public half, under this key id.
    pub(crate) fn jwk(&self, kid: Option<&str>) -> Value {
        let mut jwk =
            serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["use"] = json!("sig");
        if let Some(kid) = kid {
            jwk["kid"] = json!(kid);
        }
        jwk
    }

    pub(crate) fn sign(&self, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = kid.map(str::to_owned);
        encode(&header, claims, &self.key).unwrap()
    }

    /// Any header over a genuine signature of this key.
    pub(crate) fn sign_raw(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(header, &claims.to_string())
    }

    /// Any header over claims written like this.
    pub(crate) fn sign_text(&self, header: &Value, claims: &str) -> String {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let message = format!("{}.{}", part(&header.to_string()), part(claims));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }
}

/// A key set.
pub(crate) fn key_set(keys: &[Value]) -> Value {
    json!({ "keys": keys })
}

/// Claims that verify, with changes; a null removes.
pub(crate) fn claims(issuer: &str, changes: Value) -> Value {
    let mut claims = json!({
        "iss": issuer, "aud": CLIENT_ID, "sub": "sub-1", "nonce": NONCE,
        "iat": NOW, "exp": NOW + 3600, "name": "Ada", "email": "ada@example.com",
    });
    let object = claims.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// `at_hash` for algorithms with SHA-256.
pub(crate) fn at_hash(access_token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16])
}
