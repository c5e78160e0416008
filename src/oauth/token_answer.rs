//! Reads a token answer (RFC 6749 5.1) the way providers write it and not only the way they should.
//!
//! Strict where something could go wrong later (a token that is no header value, a type that is not Bearer, a member given
//! twice with two values), lenient where nothing can (numbers as text, a missing type, scopes in any container). An answer that cannot be
//! used still gives up its rotated refresh token: see [`super::salvage`].

use jiff::Timestamp;
use oauth_manager_actors::domain::{
    reason::{ReasonCode, SCOPES_TRIMMED},
    scope::ScopeSet,
    secret::{AccessToken, RefreshToken},
    storable,
    token::TokenAnswer,
};
use serde_json::Value;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{
    declaration::{Dialect, Object},
    json, lifetime, salvage,
    token_response::{TokenResponse, says_something},
};

/// Names for the life of a refresh token: none is standard.
const REFRESH_LIVES: [&str; 3] = [
    "refresh_token_expires_in",
    "refresh_expires_in",
    "x_refresh_token_expires_in",
];

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
    declared: &TokenResponse,
) -> Result<Understood, Unusable> {
    let root = read_object(body)?;
    let root_says_error = says_error(&root);
    let mut object = declared.tokens_of(root);
    if root_says_error || says_error(&object) || says_error_otherwise(&object) {
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
        None => "Bearer".to_owned(),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("bearer") => text.clone(),
        // Whoever receives the token puts it behind the word that the protocol knows.
        Some(Value::String(text)) if declared.is_bearer(text) => "Bearer".to_owned(),
        // RFC 6749 7.1: a type we do not know must not be used.
        Some(_) => return Err(Unusable::Unreadable("token_type_unknown")),
    };
    let refresh_life = REFRESH_LIVES.into_iter().find_map(|name| object.get(name));
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
        Some(b'{') => json::unambiguous_object(text).ok_or(Unusable::Unreadable("answer_not_json")),
        Some(b'<') => Err(Unusable::Unreadable("answer_is_html")),
        Some(_) => read_form(text).ok_or(Unusable::Unreadable("answer_not_json")),
    }
}

fn read_form(text: &str) -> Option<Object> {
    let mut object = Object::new();
    for (key, value) in form_urlencoded::parse(text.as_bytes()) {
        let value = Value::String(value.into_owned());
        match object.get(key.as_ref()) {
            Some(before) if *before != value => return None,
            _ => drop(object.insert(key.into_owned(), value)),
        }
    }
    let is_ours = object.contains_key("access_token") || object.contains_key("error");
    is_ours.then_some(object)
}

fn says_error(object: &Object) -> bool {
    object.get("error").is_some_and(says_something) || object.get("ok") == Some(&Value::Bool(false))
}

/// Takes a text out.
fn take_text(object: &mut Object, key: &str) -> Result<Option<Zeroizing<String>>, Unusable> {
    match object.remove(key) {
        None => Ok(None),
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
        understand(body.as_bytes(), at(1_000_000), &Google, &TokenResponse::default())
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
            (json!(""), true),
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
            understand(b"\xff\xfe", at(0), &Google, &TokenResponse::default()).err(),
            Some(Unusable::Unreadable("answer_not_utf8"))
        );
        assert_eq!(
            read(r#"{"error":"invalid_grant","access_token":"a"}"#).err(),
            Some(Unusable::SaysError)
        );
        assert_eq!(read(r#"{"ok":false}"#).err(), Some(Unusable::SaysError));
        assert!(read("access_token=a&token_type=bearer&scope=repo%2Cuser").is_ok());
    }

    #[test]
    fn an_empty_text_is_what_is_absent_in_every_member() {
        let body = json!({
            "access_token": "a", "error": "", "refresh_token": "", "id_token": " ", "expires_in": "", "token_type": "",
            "scope": "", "refresh_token_expires_in": "", "error_description": "",
        });
        let understood = read(&body.to_string()).ok().unwrap();
        let plain = read(r#"{"access_token":"a"}"#).ok().unwrap();
        for read in [understood, plain] {
            assert_eq!(read.answer.token_type, "Bearer");
            assert_eq!(
                (read.answer.expires_at, read.answer.refresh_token_expires_at),
                (None, None)
            );
            assert!(read.answer.refresh_token.is_none() && read.id_token.is_none());
            assert!(read.answer.scopes.is_none());
            assert_eq!(read.answer.remark.unwrap().as_str(), "expires_in_absent");
        }
        assert_eq!(
            read(r#"{"access_token":""}"#).err(),
            Some(Unusable::Unreadable("access_token_missing"))
        );
    }

    #[test]
    fn a_member_given_twice_is_read_where_both_say_the_same() {
        let twice = r#"{"token_type":"Bearer","access_token":"a","token_type":"Bearer"}"#;
        assert!(read(twice).is_ok());
        assert!(read("access_token=a&token_type=bearer&token_type=bearer").is_ok());
        for different in [
            r#"{"access_token":"a","token_type":"Bearer","token_type":"bearer"}"#,
            r#"{"access_token":"a","scope":"x","scope":"x y"}"#,
            "access_token=a&scope=x&scope=y",
        ] {
            assert!(read(different).is_err(), "{different}");
        }
    }

    fn declared(token_response: &TokenResponse, body: &Value) -> Result<Understood, Unusable> {
        understand(
            body.to_string().as_bytes(),
            at(1_000_000),
            &Google,
            token_response,
        )
    }

    #[test]
    fn a_provider_may_declare_its_words_for_bearer() {
        let declaration = TokenResponse {
            token_types: vec!["bot".to_owned(), "User Access Token".to_owned()],
            ..TokenResponse::default()
        };
        for word in ["User Access Token", "user access token", "bot", "Bearer"] {
            let body = json!({"access_token": "a", "token_type": word});
            let understood = declared(&declaration, &body).ok().unwrap();
            assert_eq!(understood.answer.token_type, "Bearer");
        }
        for (declaration, word) in [
            (&declaration, "mac"),
            (&TokenResponse::default(), "User Access Token"),
        ] {
            let body = json!({"access_token": "a", "token_type": word});
            assert_eq!(
                declared(declaration, &body).err(),
                Some(Unusable::Unreadable("token_type_unknown"))
            );
        }
    }

    #[test]
    fn tokens_below_an_object_are_found_where_the_operator_says() {
        let slack = TokenResponse {
            token_types: vec!["user".to_owned()],
            token_pointer: Some("/authed_user".to_owned()),
            ..TokenResponse::default()
        };
        let token =
            |body: Value| declared(&slack, &body).map(|read| read.answer.access_token.expose().to_owned());
        let bot = json!({
            "ok": true, "access_token": "xoxb-bot", "token_type": "bot", "scope": "chat:write",
            "authed_user": {"id": "U1", "access_token": "xoxp-user", "token_type": "user", "scope": "search:read"},
        });
        assert_eq!(token(bot.clone()).ok().unwrap(), "xoxp-user");
        // A refresh is answered flat.
        let flat =
            json!({"ok": true, "access_token": "xoxe.xoxp-2", "token_type": "user", "refresh_token": "r"});
        assert_eq!(token(flat).ok().unwrap(), "xoxe.xoxp-2");
        // Somebody else's token is never taken for the user's.
        let mut none = bot.clone();
        none["authed_user"] = json!({"id": "U1"});
        assert_eq!(
            token(none).err(),
            Some(Unusable::Unreadable("access_token_missing"))
        );
        let mut failed = bot;
        failed["ok"] = json!(false);
        assert_eq!(token(failed).err(), Some(Unusable::SaysError));
    }

    #[test]
    fn names_of_members_are_declarable_and_intuits_is_known() {
        let ends = |understood: Understood| understood.answer.refresh_token_expires_at;
        let intuit = json!({"access_token": "a", "x_refresh_token_expires_in": 8_726_400});
        let known = declared(&TokenResponse::default(), &intuit).ok().unwrap();
        assert_eq!(ends(known), Some(at(9_726_400)));
        let declaration = TokenResponse {
            members: vec![
                ("refresh_token_expires_in", "rt_life".to_owned()),
                ("access_token", "token".to_owned()),
            ],
            ..TokenResponse::default()
        };
        let theirs = json!({"token": "a", "rt_life": "100"});
        assert_eq!(
            ends(declared(&declaration, &theirs).ok().unwrap()),
            Some(at(1_000_100))
        );
        assert!(declared(&TokenResponse::default(), &theirs).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer_or_a_reason(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = understand(&body, at(0), &Google, &TokenResponse::default());
        }
    }
}
