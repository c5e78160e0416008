//! Reads a token answer (RFC 6749 5.1) the way providers write it and not only the way they should.
//!
//! Strict where something could go wrong later (a token that is no header value, a type that is not Bearer, a key given
//! twice), lenient where nothing can (numbers as text, a missing type, scopes in any container). An answer that cannot be
//! used still gives up its rotated refresh token: see [`super::salvage`].

use std::fmt;

use jiff::Timestamp;
use oauth_manager_actors::domain::{
    reason::ReasonCode,
    scope::ScopeSet,
    secret::{AccessToken, RefreshToken},
    token::TokenAnswer,
};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    declaration::{Dialect, Object},
    lifetime, salvage,
};

/// An answer understood.
pub(super) struct Understood {
    /// The tokens; the scopes are what was reported, normalised.
    pub(super) answer: TokenAnswer,
    /// OpenID Connect Core 3.1.3.3.
    pub(super) id_token: Option<Zeroizing<String>>,
    /// The rest of the answer, tokens taken out.
    pub(super) rest: Object,
}

/// Why an answer with a success status is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unusable {
    /// Neither an object nor a form.
    Unreadable(&'static str),
    /// It says that it is an error: classify it.
    SaysError,
}

/// Reads an answer that came with a success status. `sent_at` is when the request was begun: counted from there, a token
/// is never thought to live longer than it does.
pub(super) fn understand(
    body: &[u8],
    sent_at: Timestamp,
    dialect: &dyn Dialect,
) -> Result<Understood, Unusable> {
    let mut object = read_object(body)?;
    let says_error = object.get("error").is_some_and(|error| !error.is_null())
        || object.get("ok") == Some(&Value::Bool(false))
        || says_error_otherwise(&object);
    if says_error {
        return Err(Unusable::SaysError);
    }

    let access_token = match take_text(&mut object, "access_token")? {
        Some(text) if is_header_token(&text) => AccessToken::new(text.as_str()),
        Some(_) => return Err(Unusable::Unreadable("access_token_unfit")),
        None => return Err(Unusable::Unreadable("access_token_missing")),
    };
    let refresh_token = match take_text(&mut object, "refresh_token")? {
        Some(text) if salvage::is_refresh_token(&text) => Some(RefreshToken::new(text.as_str())),
        Some(_) => return Err(Unusable::Unreadable("refresh_token_unfit")),
        None => None,
    };
    let id_token = take_text(&mut object, "id_token")?;
    let token_type = match object.get("token_type") {
        None | Some(Value::Null) => "Bearer".to_owned(),
        // RFC 6749 7.1: compared without case, and a type we do not know must not be used.
        Some(Value::String(text)) if text.eq_ignore_ascii_case("bearer") => text.clone(),
        Some(_) => return Err(Unusable::Unreadable("token_type_unknown")),
    };
    let refresh_life = ["refresh_token_expires_in", "refresh_expires_in"]
        .into_iter()
        .find_map(|key| object.get(key));

    Ok(Understood {
        answer: TokenAnswer {
            access_token,
            token_type,
            expires_at: lifetime::expires_at(&object, sent_at),
            refresh_token,
            refresh_token_expires_at: refresh_life.and_then(|life| lifetime::after(sent_at, life)),
            scopes: object.get("scope").and_then(|scope| scopes(scope, dialect)),
            remark: lifetime::remark(&object, sent_at).map(ReasonCode::new),
        },
        id_token,
        rest: object,
    })
}

/// Providers that answer every request with 200 say so in words of their own.
fn says_error_otherwise(object: &Object) -> bool {
    let is_number = |key: &str| {
        object
            .get(key)
            .and_then(Value::as_i64)
            .is_some_and(|code| code != 0)
    };
    let has_tokens = object.contains_key("access_token") || object.contains_key("refresh_token");
    let is_failure = object.get("success") == Some(&Value::Bool(false));
    !has_tokens && (is_failure || is_number("errcode") || is_number("error_code"))
}

/// The body as an object: JSON, or a form (GitHub, without `Accept`).
fn read_object(body: &[u8]) -> Result<Object, Unusable> {
    let text = std::str::from_utf8(body).map_err(|_| Unusable::Unreadable("answer_not_utf8"))?;
    // A byte order mark is nobody's data.
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.as_bytes().first() {
        None => Err(Unusable::Unreadable("answer_empty")),
        Some(b'{') => serde_json::from_str(text)
            .map(|StrictObject(object)| object)
            .map_err(|_| Unusable::Unreadable("answer_not_json")),
        Some(b'<') => Err(Unusable::Unreadable("answer_is_html")),
        Some(_) => read_form(text).ok_or(Unusable::Unreadable("answer_not_json")),
    }
}

fn read_form(text: &str) -> Option<Object> {
    let mut object = Object::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        if object
            .insert(key.into_owned(), Value::String(value.into_owned()))
            .is_some()
        {
            return None;
        }
    }
    let is_ours = object.contains_key("access_token") || object.contains_key("error");
    is_ours.then_some(object)
}

/// A JSON object whose keys are given once. Of two values for one key, two readers may take different ones.
struct StrictObject(Object);

impl<'de> Deserialize<'de> for StrictObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = StrictObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StrictObject, A::Error> {
                let mut object = Object::new();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if object.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key is given twice"));
                    }
                }
                Ok(StrictObject(object))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Takes a text out; absent, null and empty mean the same.
fn take_text(object: &mut Object, key: &str) -> Result<Option<Zeroizing<String>>, Unusable> {
    match object.remove(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(Zeroizing::new(text))),
        Some(_) => Err(Unusable::Unreadable("token_not_text")),
    }
}

/// What may stand behind `Bearer ` in a header: visible ASCII. Wider than RFC 6750's b64token, because providers are; a
/// line end, a NUL or a space never passes.
fn is_header_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_graphic())
}

/// Scopes in a text (separated by spaces or commas) or in an array; absent and null mean "as before" (RFC 6749 5.1).
fn scopes(value: &Value, dialect: &dyn Dialect) -> Option<ScopeSet> {
    let canonical = |text: &str| -> ScopeSet {
        text.split([' ', ',', '\t', '\n', '\r'])
            .filter(|name| !name.is_empty())
            .filter_map(|name| dialect.canonical_scope(name))
            .collect()
    };
    match value {
        Value::String(text) => Some(canonical(text)),
        Value::Array(items) => Some(
            items
                .iter()
                .filter_map(Value::as_str)
                .flat_map(|text| canonical(text).iter().cloned().collect::<Vec<_>>())
                .collect(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::oauth::google::Google;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn read(body: &str) -> Result<Understood, Unusable> {
        understand(body.as_bytes(), at(1_000_000), &Google)
    }

    #[test]
    fn token_with_crlf_or_nul_never_becomes_header() {
        for token in ["a\r\nX: y", "a\0", "a b", "a\tb", "ä", "\u{7f}"] {
            let body = json!({"access_token": token}).to_string();
            assert_eq!(
                read(&body).err(),
                Some(Unusable::Unreadable("access_token_unfit")),
                "{token:?}"
            );
        }
        let body = json!({"access_token": "a", "refresh_token": "a\nb"}).to_string();
        assert_eq!(
            read(&body).err(),
            Some(Unusable::Unreadable("refresh_token_unfit"))
        );
    }

    #[test]
    fn the_token_type_is_compared_without_case_and_an_unknown_one_refused() {
        for (token_type, good) in [
            (json!("bearer"), true),
            (json!("BEARER"), true),
            (json!(null), true),
            (json!("mac"), false),
            (json!("DPoP"), false),
            (json!(""), false),
            (json!(1), false),
        ] {
            let body = json!({"access_token": "a", "token_type": token_type}).to_string();
            assert_eq!(read(&body).is_ok(), good, "{token_type}");
        }
    }

    #[test]
    fn an_empty_or_null_refresh_token_keeps_the_present_one() {
        for value in [json!(""), json!(null)] {
            let body = json!({"access_token": "a", "refresh_token": value}).to_string();
            assert!(read(&body).ok().unwrap().answer.refresh_token.is_none());
        }
    }

    #[test]
    fn scopes_come_in_any_container() {
        let expected: ScopeSet = ["email", "openid"].into_iter().collect();
        for scope in [
            json!("openid email"),
            json!("openid,https://www.googleapis.com/auth/userinfo.email"),
            json!(["email", "openid"]),
            json!(["email openid"]),
        ] {
            let body = json!({"access_token": "a", "scope": scope}).to_string();
            assert_eq!(
                read(&body).ok().unwrap().answer.scopes,
                Some(expected.clone()),
                "{scope}"
            );
        }
        assert!(
            read(r#"{"access_token":"a","scope":null}"#)
                .ok()
                .unwrap()
                .answer
                .scopes
                .is_none()
        );
    }

    #[test]
    fn hostile_body_corpus() {
        let deep = "[".repeat(60_000);
        let many = (0..6_000)
            .map(|n| format!("\"k{n}\":1,"))
            .collect::<Vec<_>>()
            .concat();
        for body in [
            "",
            "   ",
            "<html><body>nope</body></html>",
            "null",
            "[]",
            "17",
            "\"text\"",
            "{",
            "{}",
            r#"{"access_token":"a","access_token":"b"}"#,
            r#"{"access_token":"a","expires_in":NaN}"#,
            r#"{"access_token":{"x":1}}"#,
            "access_token=a&access_token=b",
            &format!("{{\"access_token\":{deep}"),
            &format!("{{{many}\"access_token\":1}}"),
        ] {
            assert!(read(body).is_err(), "{}", &body[..body.len().min(60)]);
        }
        assert_eq!(
            understand(b"\xff\xfe", at(0), &Google).err(),
            Some(Unusable::Unreadable("answer_not_utf8"))
        );
        assert_eq!(
            read(r#"{"error":"invalid_grant","access_token":"a"}"#).err(),
            Some(Unusable::SaysError)
        );
        assert_eq!(read(r#"{"ok":false}"#).err(), Some(Unusable::SaysError));
        assert!(read("access_token=a&token_type=bearer&scope=repo%2Cuser").is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_or_a_reason(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = understand(&body, at(0), &Google);
        }
    }
}
