//! The last resort for a rotated refresh token: found in the raw bytes of an answer that cannot be used otherwise.
//!
//! By the time an answer turns out to be unusable the provider may have rotated, and the token in it is the only one that
//! still works. So it is looked for in whatever arrived: JSON that ends in the middle, JSON with a fault elsewhere, a
//! form. A token cut off itself is not one.

use oauth_manager_actors::domain::{secret::RefreshToken, storable::TOKEN_BYTES_MAX};
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::token_response::TokenResponse;

const REFRESH_TOKEN: &str = "refresh_token";

/// The refresh token in these bytes, if there is a whole one that is not the one we presented.
pub(super) fn refresh_token(
    body: &[u8],
    complete: bool,
    presented: Option<&RefreshToken>,
    declared: &TokenResponse,
) -> Option<RefreshToken> {
    let name = declared.name_of(REFRESH_TOKEN);
    let below = declared.holder().and_then(|holder| after_name(body, holder));
    let found = below
        .and_then(|below| in_json(below, name))
        .or_else(|| in_json(body, name))
        .or_else(|| in_form(body, complete, name))?;
    let is_new = presented.is_none_or(|presented| presented.expose() != found.as_str());
    (is_new && is_refresh_token(&found)).then(|| RefreshToken::new(found.as_str()))
}

/// RFC 6749 A.17 allows visible characters and the space; what must never happen is a control character.
pub(super) fn is_refresh_token(text: &str) -> bool {
    (1..=TOKEN_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The string after the first key of that name that has one. An escaped quote cannot end the key, so the name inside
/// another string is not taken for a key.
fn in_json(body: &[u8], name: &str) -> Option<Zeroizing<String>> {
    let mut rest = body;
    loop {
        rest = after_name(rest, name)?;
        let after_colon = rest
            .trim_ascii_start()
            .strip_prefix(b":")
            .map(<[u8]>::trim_ascii_start);
        if let Some(value) = after_colon.and_then(json_string) {
            return Some(value);
        }
    }
}

/// What follows this member's name.
fn after_name<'a>(body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let quoted = format!("\"{name}\"");
    let at = body
        .windows(quoted.len())
        .position(|window| window == quoted.as_bytes())?;
    Some(&body[at + quoted.len()..])
}

/// A whole JSON string at the start of these bytes.
fn json_string(bytes: &[u8]) -> Option<Zeroizing<String>> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<String>();
    values.next()?.ok().map(Zeroizing::new)
}

fn in_form(body: &[u8], complete: bool, name: &str) -> Option<Zeroizing<String>> {
    let start = format!("{name}=");
    let at = body
        .windows(start.len())
        .position(|window| window == start.as_bytes())
        .filter(|&at| at == 0 || body[at - 1] == b'&')?;
    let pair = &body[at..];
    let end = pair.iter().position(|&b| b == b'&');
    // Without an end mark the value is whole only if the body is.
    let pair = match end {
        Some(end) => &pair[..end],
        None if complete => pair,
        None => return None,
    };
    let (_, value) = form_urlencoded::parse(pair).next()?;
    Some(Zeroizing::new(value.into_owned()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn salvaged(body: &[u8], complete: bool) -> Option<String> {
        refresh_token(
            body,
            complete,
            Some(&RefreshToken::new("old")),
            &TokenResponse::default(),
        )
        .map(|t| t.expose().to_owned())
    }

    #[test]
    fn malformed_success_salvages_refresh_token() {
        for (body, expected) in [
            (
                r#"{"access_token":"a","refresh_token":"new","expires_in""#,
                Some("new"),
            ),
            (r#"{"refresh_token" : "new", "access_token": 17"#, Some("new")),
            (r#"{"refresh_token":"n\u0065w","x":NaN}"#, Some("new")),
            (r#"{"data":{"refresh_token":"new"}}"#, Some("new")),
            (
                r#"{"refresh_token":null,"more":{"refresh_token":"new"}}"#,
                Some("new"),
            ),
            ("\u{feff}{\"refresh_token\":\"new\"}", Some("new")),
            ("refresh_token=n%65w&access_token=a", Some("new")),
            ("access_token=a&refresh_token=new", Some("new")),
            // A token cut off is not one.
            (r#"{"refresh_token":"ne"#, None),
            (r#"{"refresh_token":"new"#, None),
            // Not new, empty, no string, unfit, or only the name inside a text.
            (r#"{"refresh_token":"old"}"#, None),
            (r#"{"refresh_token":""}"#, None),
            (r#"{"refresh_token":12}"#, None),
            (r#"{"refresh_token":"a\nb"}"#, None),
            (r#"{"hint":"set \"refresh_token\": \"x\""}"#, None),
            ("my_refresh_token=new", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(salvaged(body.as_bytes(), true).as_deref(), expected, "{body}");
        }
        assert_eq!(salvaged(b"a=b&refresh_token=ne", false), None);
        assert_eq!(
            salvaged(b"\xff\xfe{\"refresh_token\":\"new\"", false).as_deref(),
            Some("new")
        );
    }

    #[test]
    fn the_token_is_salvaged_from_where_the_operator_says_it_is() {
        let slack = TokenResponse {
            token_pointer: Some("/authed_user".to_owned()),
            members: vec![("refresh_token", "rt".to_owned())],
            ..TokenResponse::default()
        };
        for body in [
            r#"{"rt":"the bot's","authed_user":{"access_token":7,"rt":"new","#,
            r#"{"rt":"new","x":NaN}"#,
            "access_token=a&rt=new",
        ] {
            let found = refresh_token(body.as_bytes(), true, None, &slack);
            assert_eq!(found.as_ref().map(RefreshToken::expose), Some("new"), "{body}");
        }
    }

    proptest! {
        #[test]
        fn a_cut_never_yields_a_shortened_token(token in "[!-~]{1,40}", cut in 0usize..120) {
            let body = serde_json::json!({"access_token": "a", "refresh_token": token, "expires_in": 3600}).to_string();
            let cut = cut.min(body.len());
            if let Some(found) = salvaged(&body.as_bytes()[..cut], false) {
                prop_assert_eq!(found, token);
            }
        }
    }
}
