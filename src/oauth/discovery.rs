//! OpenID Connect Discovery (and RFC 8414): a provider's endpoints, taken as one set from the issuer's own document.
//!
//! The document must name the configured issuer, and its endpoints must stay on that issuer's host: whoever can put a
//! line into it must not be able to send our client secret elsewhere. An endpoint that rightly lives on another host is
//! configured by the operator; what is configured is not taken from the document at all.

use jsonwebtoken::Algorithm;
use serde_json::Value;
use url::Url;

use super::{
    address::AddressPolicy,
    declaration::Object,
    settings::{ClientAuth, EndpointOverrides},
};
use crate::jose::algorithm_named;

/// What a document says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Discovered {
    pub(super) authorization: Option<Url>,
    pub(super) token: Option<Url>,
    pub(super) revocation: Option<Url>,
    pub(super) userinfo: Option<Url>,
    pub(super) jwks: Option<Url>,
    pub(super) client_auth: ClientAuth,
    /// Those of the allow-list that the provider uses.
    pub(super) algorithms: Vec<Algorithm>,
    /// Whether it promises `iss` in callbacks (RFC 9207).
    pub(super) promises_issuer: bool,
}

/// Where the document of an issuer is.
pub(super) fn address(issuer: &str) -> String {
    format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    )
}

impl Discovered {
    /// Reads a document, or says (as a reason code) why it is refused.
    pub(super) fn read(
        document: &Object,
        issuer: &str,
        overrides: &EndpointOverrides,
        allowed: &[Algorithm],
        policy: AddressPolicy,
    ) -> Result<Self, &'static str> {
        // RFC 8414 3.3, OpenID Connect Discovery 4.3: identical, not similar.
        if document.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err("discovery_issuer_mismatch");
        }
        let issuer = policy.accept(issuer).map_err(|_| "discovery_issuer_unusable")?;
        let endpoint = |key: &str, configured: &Option<String>| -> Result<Option<Url>, &'static str> {
            match document.get(key).and_then(Value::as_str) {
                Some(text) if configured.is_none() => {
                    let url = policy.accept(text).map_err(|_| "discovery_endpoint_unusable")?;
                    if url.host() == issuer.host() {
                        Ok(Some(url))
                    } else {
                        Err("discovery_endpoint_elsewhere")
                    }
                }
                _ => Ok(None),
            }
        };
        Ok(Self {
            authorization: endpoint("authorization_endpoint", &overrides.authorization)?,
            token: endpoint("token_endpoint", &overrides.token)?,
            revocation: endpoint("revocation_endpoint", &overrides.revocation)?,
            userinfo: endpoint("userinfo_endpoint", &overrides.userinfo)?,
            jwks: endpoint("jwks_uri", &overrides.jwks)?,
            client_auth: client_auth(document),
            algorithms: algorithms(document, allowed)?,
            promises_issuer: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
        })
    }
}

/// Basic is what a server supports that does not say (OpenID Connect Discovery 3).
fn client_auth(document: &Object) -> ClientAuth {
    let methods = names(document, "token_endpoint_auth_methods_supported");
    let has = |name: &str| methods.contains(&name);
    if !methods.is_empty() && !has("client_secret_basic") && has("client_secret_post") {
        ClientAuth::Post
    } else {
        ClientAuth::Basic
    }
}

/// RS256 is what a provider supports that does not say. One whose ID tokens could never be verified is refused here, before
/// anybody consents; where no ID token has a part in it, none is allowed and nothing is asked.
fn algorithms(document: &Object, allowed: &[Algorithm]) -> Result<Vec<Algorithm>, &'static str> {
    let named = names(document, "id_token_signing_alg_values_supported");
    if named.is_empty() && allowed.contains(&Algorithm::RS256) {
        return Ok(vec![Algorithm::RS256]);
    }
    let both: Vec<_> = allowed
        .iter()
        .filter(|algorithm| {
            named
                .iter()
                .any(|name| algorithm_named(name) == Some(**algorithm))
        })
        .copied()
        .collect();
    if both.is_empty() && !allowed.is_empty() {
        return Err("discovery_algorithms_unsupported");
    }
    Ok(both)
}

fn names<'a>(document: &'a Object, key: &str) -> Vec<&'a str> {
    let values = document.get(key).and_then(Value::as_array);
    values.into_iter().flatten().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALLOWED: &[Algorithm] = crate::jose::ALGORITHMS;
    const POLICY: AddressPolicy = AddressPolicy {
        loopback: false,
        private: false,
    };

    fn read(change: Value, overrides: &EndpointOverrides) -> Result<Discovered, &'static str> {
        let mut document = json!({
            "issuer": "https://id.example.com",
            "authorization_endpoint": "https://id.example.com/authorize",
            "token_endpoint": "https://id.example.com/token",
            "jwks_uri": "https://id.example.com/keys",
        });
        let object = document.as_object_mut().unwrap();
        object.extend(change.as_object().unwrap().clone());
        Discovered::read(object, "https://id.example.com", overrides, ALLOWED, POLICY)
    }

    #[test]
    fn metadata_issuer_mismatch_rejected() {
        let none = EndpointOverrides::default();
        for issuer in [
            "https://id.example.com/",
            "https://evil.example.com",
            "http://id.example.com",
            "",
        ] {
            assert_eq!(
                read(json!({"issuer": issuer}), &none),
                Err("discovery_issuer_mismatch"),
                "{issuer}"
            );
        }
        assert!(read(json!({}), &none).is_ok());
    }

    #[test]
    fn metadata_cannot_point_elsewhere() {
        let none = EndpointOverrides::default();
        for key in [
            "authorization_endpoint",
            "token_endpoint",
            "revocation_endpoint",
            "userinfo_endpoint",
            "jwks_uri",
        ] {
            let elsewhere = read(json!({ key: "https://evil.example.com/x" }), &none);
            assert_eq!(elsewhere, Err("discovery_endpoint_elsewhere"), "{key}");
            for bad in [
                "http://id.example.com/x",
                "https://127.0.0.1/x",
                "https://u:p@id.example.com/x",
                "x",
            ] {
                assert_eq!(
                    read(json!({ key: bad }), &none),
                    Err("discovery_endpoint_unusable"),
                    "{key} {bad}"
                );
            }
        }
        let configured = EndpointOverrides {
            jwks: Some("https://keys.example.net/".to_owned()),
            ..EndpointOverrides::default()
        };
        let taken = read(json!({"jwks_uri": "https://evil.example.com/x"}), &configured).unwrap();
        assert_eq!(taken.jwks, None);
    }

    #[test]
    fn authentication_and_algorithms_come_from_the_document_within_our_lists() {
        let none = EndpointOverrides::default();
        let plain = read(json!({}), &none).unwrap();
        assert_eq!(
            (plain.client_auth, plain.algorithms),
            (ClientAuth::Basic, vec![Algorithm::RS256])
        );
        let found = read(
            json!({
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", "ES256K", "Ed25519"],
                "authorization_response_iss_parameter_supported": true,
            }),
            &none,
        )
        .unwrap();
        assert_eq!(
            (found.client_auth, found.algorithms),
            (ClientAuth::Post, vec![Algorithm::ES256, Algorithm::EdDSA])
        );
        assert!(found.promises_issuer);
    }

    #[test]
    fn what_could_never_be_verified_is_refused_at_discovery() {
        let none = EndpointOverrides::default();
        for names in [
            json!(["none"]),
            json!(["HS256"]),
            json!(["HS256", "ES256K", "ES512", "none"]),
        ] {
            let found = read(json!({"id_token_signing_alg_values_supported": names}), &none);
            assert_eq!(found, Err("discovery_algorithms_unsupported"), "{names}");
        }
        for names in [
            json!(["HS256", "RS512"]),
            json!(["Ed25519"]),
            json!([]),
            json!(null),
        ] {
            let found = read(json!({"id_token_signing_alg_values_supported": names}), &none);
            assert!(found.is_ok(), "{names}");
        }
    }
}
