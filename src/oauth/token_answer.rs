//! Reads a token answer (RFC 6749 5.1) the way providers write it and not only the way they should.
//!
//! Strict where something could go wrong later (a token that is no header value, a type that is not Bearer, a key given
//! twice), lenient where nothing can (numbers as text, a missing type, scopes in any container). An answer that cannot be
//! used still gives up its rotated refresh token: see [`super::salvage`].

use std::fmt;

use jiff::Timestamp;
use oauth_manager_actors::domain::{
    reason::{ReasonCode, SCOPES_TRIMMED},
    scope::ScopeSet,
    secret::{AccessToken, RefreshToken},
    storable,
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
        || object.get("ok") == Some(&Value::Bool(false));
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
    let (scopes, is_trimmed) = scopes(object.get("scope"), dialect);
    let remark = if is_trimmed {
        Some(SCOPES_TRIMMED)
    } else {
        lifetime::remark(&object, sent_at)
    };

    Ok(Understood {
        answer: TokenAnswer {
            access_token,
            token_type,
            expires_at: lifetime::expires_at(&object, sent_at),
            refresh_token,
            refresh_token_expires_at: refresh_life.and_then(|life| lifetime::after(sent_at, life)),
            scopes,
            remark: remark.map(ReasonCode::new),
        },
        id_token,
        rest: object,
    })
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
    text.len() <= storable::TOKEN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

/// Scopes in a text (separated by spaces or commas) or in an array, and whether some had to be left out because nobody can
/// keep them. Absent, null and empty mean "as before" (RFC 6749 5.1).
fn scopes(value: Option<&Value>, dialect: &dyn Dialect) -> (Option<ScopeSet>, bool) {
    let texts: Vec<&str> = match value {
        Some(Value::String(text)) => vec![text],
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let names = texts
        .iter()
        .flat_map(|text| text.split([' ', ',', '\t', '\n', '\r']))
        .filter(|name| !name.is_empty());
    let (kept, lost): (Vec<&str>, Vec<&str>) = names.partition(|name| storable::is_scope(name));
    let canonical = || -> ScopeSet {
        kept.iter()
            .filter_map(|name| dialect.canonical_scope(name))
            .collect()
    };
    ((!kept.is_empty()).then(canonical), !lost.is_empty())
}

/// Keeps no more scopes than an account can have, and of too many first those that were known or asked for.
pub(super) fn bound_scopes(answer: &mut TokenAnswer, known: &ScopeSet) {
    let Some(given) = &answer.scopes else { return };
    let kept = storable::scopes(given, known);
    if kept.len() < given.len() {
        answer.remark = Some(ReasonCode::new(SCOPES_TRIMMED));
        answer.scopes = Some(kept);
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
    fn an_empty_scope_is_an_absent_one() {
        for scope in [
            json!(""),
            json!("  "),
            json!([]),
            json!([""]),
            json!(["", " "]),
            json!(null),
        ] {
            let body = json!({"access_token": "a", "scope": scope}).to_string();
            let answer = read(&body).ok().unwrap().answer;
            assert_eq!(answer.scopes, None, "{scope}");
            assert_ne!(answer.remark, Some(ReasonCode::new(SCOPES_TRIMMED)), "{scope}");
        }
    }

    #[test]
    fn a_scope_that_nobody_can_keep_is_left_out_and_on_record() {
        let trimmed = Some(ReasonCode::new(SCOPES_TRIMMED));
        let long = "s".repeat(storable::SCOPE_CHARS_MAX + 1);
        for hostile in ["admin\0", "\u{1b}[2K", "a\u{202e}b", &long] {
            let body = json!({"access_token": "a", "scope": format!("openid {hostile}")}).to_string();
            let answer = read(&body).ok().unwrap().answer;
            assert_eq!(
                answer.scopes,
                Some(ScopeSet::from_iter(["openid"])),
                "{hostile:?}"
            );
            assert_eq!(answer.remark, trimmed, "{hostile:?}");
            // Of an answer that names nothing else, nothing is known: as before.
            let body = json!({"access_token": "a", "scope": [hostile]}).to_string();
            let answer = read(&body).ok().unwrap().answer;
            assert_eq!(
                (answer.scopes, answer.remark),
                (None, trimmed.clone()),
                "{hostile:?}"
            );
        }
    }

    #[test]
    fn too_many_scopes_are_cut_and_the_known_ones_stay() {
        let many: Vec<_> = (0..501).map(|n| format!("scope.{n:03}")).collect();
        let body = json!({"access_token": "a", "scope": many.join(" ")}).to_string();
        let mut answer = read(&body).ok().unwrap().answer;
        let known = ScopeSet::from_iter(["scope.500"]);
        bound_scopes(&mut answer, &known);
        let kept = answer.scopes.unwrap();
        assert_eq!(kept.len(), storable::SCOPES_MAX);
        assert!(known.is_subset(&kept));
        assert_eq!(answer.remark, Some(ReasonCode::new(SCOPES_TRIMMED)));
    }

    #[test]
    fn a_token_too_long_to_be_kept_is_unfit() {
        let long = "t".repeat(storable::TOKEN_BYTES_MAX + 1);
        for (token, good) in [(&long[1..], true), (&long[..], false)] {
            let body = json!({"access_token": token}).to_string();
            assert_eq!(read(&body).is_ok(), good);
            let body = json!({"access_token": "a", "refresh_token": token}).to_string();
            assert_eq!(read(&body).is_ok(), good);
        }
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
