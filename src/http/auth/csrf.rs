//! Forged requests (CSRF): what changes something with our cookie needs a token that only our pages know, and must come
//! from our own origin.
//!
//! The token is an HMAC keyed by the session cookie itself: any node can check it, and nothing is stored. Our pages send
//! `Referrer-Policy: no-referrer`, which makes browsers write `Origin: null` on our own forms; `Sec-Fetch-Site`, which
//! pages cannot forge, then tells ours from another's.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderName, HeaderValue, header};
use oauth_manager_actors::domain::secret::SessionToken;
use ring::hmac;

use crate::http::{
    problem::Problem,
    request_context::RequestHead,
    settings::{HttpSettings, WebOrigin},
};

/// Carries the token of scripts; forms have a field.
pub(crate) const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What the token is for, so that an HMAC of the cookie made for another purpose never passes.
const PURPOSE: &[u8] = b"oauth-manager csrf v1";

/// The token of this session.
pub(crate) fn token(session: &SessionToken) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key(session), PURPOSE))
}

/// Refuses what does not come from our own page.
pub(crate) fn check(
    head: &RequestHead,
    session: &SessionToken,
    token: &str,
    settings: &HttpSettings,
) -> Result<(), Problem> {
    let refused = || Problem::forbidden("this did not come from our own page; open it again and retry");
    let token = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
    // In constant time (ring::hmac::verify).
    hmac::verify(&key(session), PURPOSE, &token).map_err(|_| refused())?;
    if from_own_origin(head, settings) {
        Ok(())
    } else {
        Err(refused())
    }
}

fn key(session: &SessionToken) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, session.expose().as_bytes())
}

fn from_own_origin(head: &RequestHead, settings: &HttpSettings) -> bool {
    let own = WebOrigin::of(&settings.public_url);
    let site = head.headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes);
    let origin = head.headers.get(header::ORIGIN).map(HeaderValue::as_bytes);
    match (site, origin) {
        (Some(site), _) if site != b"same-origin" => false,
        (_, Some(origin)) if origin != b"null" => origin == own.as_str().as_bytes(),
        (Some(_same_origin), _) => true,
        // No word about where it comes from: an old browser, or a program. Browsers leave `Sec-Fetch-Site` out on plain
        // http away from loopback, which only a development set-up is.
        (None, Some(_null)) => settings.development,
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Uri};

    use super::*;
    use crate::http::testing::settings;

    fn outcome(headers: &[(&'static str, &str)], session: &str, token: &str) -> bool {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let now = "2030-01-01T00:00:00Z".parse().unwrap();
        let head = RequestHead::new(
            Method::POST,
            Uri::from_static("/"),
            headers,
            "10.0.0.1".parse().unwrap(),
            &[],
            now,
        );
        check(&head, &SessionToken::new(session), token, &settings()).is_ok()
    }

    #[test]
    fn csrf_matrix() {
        let right = token(&SessionToken::new("session"));
        let own = "https://oauth.example.com";
        let rows: &[(&[(&'static str, &str)], bool)] = &[
            (&[], true),
            (&[("origin", own)], true),
            (&[("origin", own), ("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("origin", "null")], false),
            (&[("origin", "null"), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", own), ("sec-fetch-site", "cross-site")], false),
            (&[("origin", own), ("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://evil.example")], false),
            (
                &[
                    ("origin", "https://evil.example"),
                    ("sec-fetch-site", "same-origin"),
                ],
                false,
            ),
            (&[("origin", "http://oauth.example.com")], false),
            (&[("origin", "https://oauth.example.com.evil.example")], false),
        ];
        for (headers, expected) in rows {
            assert_eq!(outcome(headers, "session", &right), *expected, "{headers:?}");
            // Wherever it comes from, without the token it is nothing.
            for wrong in ["", "x", &token(&SessionToken::new("another")), &right[1..]] {
                assert!(!outcome(headers, "session", wrong), "{headers:?}");
            }
        }
    }
}
