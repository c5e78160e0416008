//! Attacks on ID tokens. Names that begin with `rp_` are those of the OpenID relying-party suite.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::oauth::testing::{
    CLIENT_ID, NONCE, NOW,
    tokens::{Signer, at_hash, claims, key_set},
};

const ISSUER: &str = "https://id.example.com";
const ALL: &[Algorithm] = crate::jose::ALGORITHMS;

fn keys(keys: &[Value]) -> KeySet {
    KeySet::read(key_set(keys).to_string().as_bytes()).unwrap()
}

fn judge(token: &str, keys: &KeySet, algorithms: &[Algorithm]) -> Result<Claims, IdTokenError> {
    let expected = Expected {
        client_id: CLIENT_ID,
        issuers: &[ISSUER.to_owned()],
        algorithms,
        nonce: NONCE,
        nonce_rule: Nonce::Required,
        access_token: "access",
        now: Timestamp::from_second(NOW).unwrap(),
    };
    verify(token, keys, &expected)
}

/// Signs claims changed like this and judges them.
fn with(changes: Value) -> Result<Claims, IdTokenError> {
    let signer = Signer::ec();
    let token = signer.sign(Some("k1"), &claims(ISSUER, changes));
    judge(&token, &keys(&[signer.jwk(Some("k1"))]), ALL)
}

#[test]
fn every_allowed_algorithm_verifies() {
    let rsa = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512].map(Signer::rsa_by);
    let pss = [Algorithm::PS256, Algorithm::PS384, Algorithm::PS512].map(Signer::rsa_by);
    let curves = [Signer::ec(), Signer::ec384(), Signer::ed()];
    for signer in rsa.into_iter().chain(pss).chain(curves) {
        let token = signer.sign(Some("k1"), &claims(ISSUER, json!({})));
        let set = keys(&[signer.jwk(Some("k1"))]);
        let verified = judge(&token, &set, ALL).unwrap();
        assert_eq!(
            (verified.sub.as_str(), verified.text("name")),
            ("sub-1", Some("Ada"))
        );
        let others: Vec<_> = ALL.iter().copied().filter(|a| *a != signer.algorithm()).collect();
        assert_eq!(judge(&token, &set, &others).unwrap_err(), IdTokenError::Algorithm);
    }
}

#[test]
fn idtoken_alg_none_and_hs_confusion_refused() {
    let signer = Signer::rsa();
    let set = keys(&[signer.jwk(Some("k1"))]);
    let claims = claims(ISSUER, json!({}));
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for alg in ["none", "None", "NONE", "", "HS1"] {
        let unsigned = format!("{}.{}.", part(&json!({"alg": alg, "kid": "k1"})), part(&claims));
        assert_eq!(
            judge(&unsigned, &set, ALL).unwrap_err(),
            IdTokenError::Malformed,
            "{alg}"
        );
    }
    // The public key, which everybody has, used as a shared secret.
    let modulus = signer.jwk(None)["n"].as_str().unwrap().to_owned();
    let mut header = jsonwebtoken::Header::new(Algorithm::HS256);
    header.kid = Some("k1".to_owned());
    let secret = jsonwebtoken::EncodingKey::from_secret(modulus.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
    assert_eq!(judge(&confused, &set, ALL).unwrap_err(), IdTokenError::Algorithm);
    // And if HMAC were ever allowed by mistake, a shared secret in the set would still be no key.
    let shared = keys(&[json!({"kty": "oct", "k": "c2VjcmV0", "kid": "k1"})]);
    assert_eq!(
        judge(&confused, &shared, &[Algorithm::HS256]).unwrap_err(),
        IdTokenError::KeyUnknown
    );
}

#[test]
fn keys_named_in_the_header_are_never_used() {
    let (ours, attacker) = (Signer::ec(), Signer::ec());
    let set = keys(&[ours.jwk(Some("k1"))]);
    let claims = claims(ISSUER, json!({}));
    for extra in [
        json!({"jwk": attacker.jwk(None)}),
        json!({"jku": "https://evil.example.com/keys"}),
        json!({"x5u": "https://evil.example.com/cert"}),
    ] {
        let mut header = json!({"alg": "ES256", "kid": "k1"});
        header
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        assert!(
            judge(&attacker.sign_raw(&header, &claims), &set, ALL).is_err(),
            "{extra}"
        );
        // The same headers over our own signature change nothing.
        assert!(
            judge(&ours.sign_raw(&header, &claims), &set, ALL).is_ok(),
            "{extra}"
        );
    }
}

#[test]
fn kid_injection_is_inert() {
    let signer = Signer::ec();
    let set = keys(&[signer.jwk(Some("k1"))]);
    for kid in [
        "../../etc/passwd",
        "k1' OR '1'='1",
        "K1",
        "",
        "k1\0",
        "http://evil/",
    ] {
        let token = signer.sign(Some(kid), &claims(ISSUER, json!({})));
        assert_eq!(
            judge(&token, &set, ALL).unwrap_err(),
            IdTokenError::KeyUnknown,
            "{kid}"
        );
    }
}

#[test]
fn rp_id_token_kid_absent_single_and_multiple_jwks() {
    let (signer, other) = (Signer::ec(), Signer::ec());
    let token = signer.sign(None, &claims(ISSUER, json!({})));
    assert!(judge(&token, &keys(&[signer.jwk(Some("k1"))]), ALL).is_ok());
    let two = keys(&[signer.jwk(Some("k1")), other.jwk(Some("k2"))]);
    assert!(judge(&token, &two, ALL).is_ok(), "every key that fits is tried");
    let others = keys(&[other.jwk(Some("k1")), Signer::ec().jwk(Some("k2"))]);
    assert_eq!(judge(&token, &others, ALL).unwrap_err(), IdTokenError::KeyUnknown);
    // A key of another kind is no candidate.
    let mixed = keys(&[signer.jwk(Some("k1")), Signer::rsa().jwk(Some("k2"))]);
    assert!(judge(&token, &mixed, ALL).is_ok());
}

#[test]
fn rp_id_token_bad_signature() {
    let (signer, other) = (Signer::ec(), Signer::ec());
    let token = other.sign(Some("k1"), &claims(ISSUER, json!({})));
    let set = keys(&[signer.jwk(Some("k1"))]);
    assert_eq!(judge(&token, &set, ALL).unwrap_err(), IdTokenError::Signature);
}

#[test]
fn encryption_keys_and_weak_keys_are_no_keys() {
    let signer = Signer::rsa();
    let token = signer.sign(Some("k1"), &claims(ISSUER, json!({})));
    let mut encryption = signer.jwk(Some("k1"));
    encryption["use"] = json!("enc");
    let weak = json!({"kty": "RSA", "kid": "k1", "n": URL_SAFE_NO_PAD.encode([0xff; 128]), "e": "AQAB"});
    for key in [encryption, weak, json!({"kid": "k1"}), json!("k1")] {
        assert_eq!(
            judge(&token, &keys(&[key]), ALL).unwrap_err(),
            IdTokenError::KeyUnknown
        );
    }
}

#[test]
fn rp_id_token_issuer_mismatch() {
    for iss in [
        json!("https://evil.example.com"),
        json!("https://id.example.com/"),
        json!(null),
        json!(7),
        json!([ISSUER]),
    ] {
        assert_eq!(
            with(json!({ "iss": iss })).unwrap_err(),
            IdTokenError::Issuer,
            "{iss}"
        );
    }
}

#[test]
fn ms_tenant_issuer_template() {
    let signer = Signer::ec();
    let set = keys(&[signer.jwk(Some("k1"))]);
    let judge = |iss: &str, tid: Value| {
        let token = signer.sign(Some("k1"), &claims(iss, json!({ "tid": tid })));
        let expected = Expected {
            client_id: CLIENT_ID,
            issuers: &["https://login.example.com/{tenantid}/v2.0".to_owned()],
            algorithms: ALL,
            nonce: NONCE,
            nonce_rule: Nonce::Required,
            access_token: "access",
            now: Timestamp::from_second(NOW).unwrap(),
        };
        verify(&token, &set, &expected)
    };
    assert!(judge("https://login.example.com/t1/v2.0", json!("t1")).is_ok());
    assert!(judge("https://login.example.com/t2/v2.0", json!("t1")).is_err());
    assert!(judge("https://login.example.com/{tenantid}/v2.0", json!(null)).is_err());
}

#[test]
fn rp_id_token_aud() {
    let refused = IdTokenError::Audience;
    assert_eq!(with(json!({"aud": "other"})).unwrap_err(), refused);
    assert_eq!(with(json!({"aud": null})).unwrap_err(), refused);
    assert_eq!(with(json!({"aud": []})).unwrap_err(), refused);
    assert!(with(json!({"aud": [CLIENT_ID]})).is_ok());
    // Whoever else may read it: the party, where one is named, is us.
    assert!(with(json!({"aud": [CLIENT_ID, "https://api.example.com"]})).is_ok());
    assert_eq!(
        with(json!({"aud": ["other", "https://api.example.com"]})).unwrap_err(),
        refused
    );
    assert_eq!(
        with(json!({"aud": [CLIENT_ID, "other"], "azp": "other"})).unwrap_err(),
        refused
    );
    assert_eq!(with(json!({"azp": "other"})).unwrap_err(), refused);
    assert!(with(json!({"aud": [CLIENT_ID, "other"], "azp": CLIENT_ID})).is_ok());
}

#[test]
fn times_are_checked_with_a_minute_of_skew() {
    assert!(with(json!({"exp": NOW - 59})).is_ok());
    assert_eq!(with(json!({"exp": NOW - 60})).unwrap_err(), IdTokenError::Expired);
    assert_eq!(with(json!({"exp": null})).unwrap_err(), IdTokenError::Malformed);
    assert_eq!(with(json!({"exp": "soon"})).unwrap_err(), IdTokenError::Malformed);
    assert!(with(json!({"iat": NOW + 60})).is_ok());
    assert_eq!(
        with(json!({"iat": NOW + 61})).unwrap_err(),
        IdTokenError::NotYetValid
    );
    assert_eq!(with(json!({"iat": null})).unwrap_err(), IdTokenError::Malformed);
    assert_eq!(
        with(json!({"nbf": NOW + 61})).unwrap_err(),
        IdTokenError::NotYetValid
    );
}

#[test]
fn rp_id_token_sub() {
    for sub in [
        json!(null),
        json!(""),
        json!(5.5),
        json!(1e20),
        json!(true),
        json!(["sub-1"]),
    ] {
        assert_eq!(with(json!({ "sub": sub })).unwrap_err(), IdTokenError::Subject);
    }
}

#[test]
fn rp_nonce_invalid() {
    for nonce in [json!(null), json!("other"), json!(""), json!(1)] {
        assert_eq!(with(json!({ "nonce": nonce })).unwrap_err(), IdTokenError::Nonce);
    }
}

#[test]
fn at_hash_mismatch_refused() {
    assert!(with(json!({"at_hash": at_hash("access")})).is_ok());
    for bad in [json!(at_hash("other")), json!(""), json!(1)] {
        assert_eq!(with(json!({ "at_hash": bad })).unwrap_err(), IdTokenError::AtHash);
    }
}

#[test]
fn what_is_no_token_is_refused() {
    let set = keys(&[Signer::ec().jwk(None)]);
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b",
        "a.b.c.d",
        "eyJhbGciOiJFUzI1NiJ9..x",
    ] {
        assert!(judge(text, &set, ALL).is_err(), "{text}");
    }
}

#[test]
fn an_absent_party_may_be_written_as_null() {
    let signer = Signer::ec();
    let mut said = claims(ISSUER, json!({}));
    said["azp"] = Value::Null;
    let token = signer.sign(Some("k1"), &said);
    assert!(judge(&token, &keys(&[signer.jwk(Some("k1"))]), ALL).is_ok());
}

#[test]
fn a_numeric_subject_is_kept_as_it_is_written() {
    let signer = Signer::ec();
    let set = keys(&[signer.jwk(Some("k1"))]);
    for number in ["5", "100000000000000000001", "100000000000000000002"] {
        let said = claims(ISSUER, json!({})).to_string().replace("\"sub-1\"", number);
        let token = signer.sign_text(&json!({"alg": "ES256", "kid": "k1"}), &said);
        assert_eq!(judge(&token, &set, ALL).unwrap().sub, number);
        assert_eq!(unverified_subject(&token).as_deref(), Some(number));
    }
}

#[test]
fn a_key_without_an_id_is_tried_where_no_key_has_the_one_that_is_named() {
    let (signer, other) = (Signer::ec(), Signer::ec());
    let token = signer.sign(Some("k1"), &claims(ISSUER, json!({})));
    assert!(judge(&token, &keys(&[signer.jwk(None)]), ALL).is_ok());
    assert!(judge(&token, &keys(&[other.jwk(Some("k2")), signer.jwk(None)]), ALL).is_ok());
    assert_eq!(
        judge(&token, &keys(&[other.jwk(None)]), ALL).unwrap_err(),
        IdTokenError::KeyUnknown,
        "worth a look at the newest set"
    );
    // The key that has the id decides alone.
    let named = keys(&[other.jwk(Some("k1")), signer.jwk(None)]);
    assert_eq!(judge(&token, &named, ALL).unwrap_err(), IdTokenError::Signature);
}

#[test]
fn ed25519_is_the_name_of_eddsa_with_that_curve() {
    let signer = Signer::ed();
    let said = claims(ISSUER, json!({}));
    let token = signer.sign_raw(&json!({"alg": "Ed25519", "kid": "k1"}), &said);
    let mut jwk = signer.jwk(Some("k1"));
    for declared in [json!("Ed25519"), json!("EdDSA"), Value::Null] {
        jwk["alg"] = declared;
        assert!(judge(&token, &keys(&[jwk.clone()]), ALL).is_ok(), "{jwk}");
    }
}

#[test]
fn a_key_declared_for_one_algorithm_serves_no_other() {
    let signer = Signer::rsa_by(Algorithm::RS512);
    let token = signer.sign(Some("k1"), &claims(ISSUER, json!({})));
    let mut jwk = signer.jwk(Some("k1"));
    assert!(judge(&token, &keys(&[jwk.clone()]), ALL).is_ok());
    jwk["alg"] = json!("RS256");
    assert!(judge(&token, &keys(&[jwk]), ALL).is_err());
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    let signer = Signer::ec();
    let set = keys(&[signer.jwk(Some("k1"))]);
    for header in [
        json!({"alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false}),
        json!({"alg": "ES256", "kid": "k1", "crit": ["x"]}),
    ] {
        let token = signer.sign_raw(&header, &claims(ISSUER, json!({})));
        assert_eq!(judge(&token, &set, ALL).unwrap_err(), IdTokenError::Malformed);
    }
}

#[test]
fn a_nonce_may_be_missing_only_where_that_is_configured_and_is_never_another() {
    let signer = Signer::ec();
    let set = keys(&[signer.jwk(Some("k1"))]);
    let expected = Expected {
        client_id: CLIENT_ID,
        issuers: &[ISSUER.to_owned()],
        algorithms: ALL,
        nonce: NONCE,
        nonce_rule: Nonce::Optional,
        access_token: "access",
        now: Timestamp::from_second(NOW).unwrap(),
    };
    let judge = |changes: Value| {
        verify(
            &signer.sign(Some("k1"), &claims(ISSUER, changes)),
            &set,
            &expected,
        )
    };
    assert!(judge(json!({"nonce": null})).is_ok());
    assert!(judge(json!({})).is_ok());
    assert_eq!(judge(json!({"nonce": "other"})).unwrap_err(), IdTokenError::Nonce);
    assert_eq!(judge(json!({"nonce": ""})).unwrap_err(), IdTokenError::Nonce);
}

proptest! {
    #[test]
    fn no_text_verifies_or_panics(text in "[ -~]{0,80}") {
        prop_assert!(judge(&text, &keys(&[]), ALL).is_err());
    }
}
