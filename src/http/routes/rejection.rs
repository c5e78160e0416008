//! A service says that a provider's interface did not accept a token.

use std::sync::Arc;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use http::StatusCode;
use oauth_manager_actors::domain::{caller::Actor, token::TokenRejection};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{
    Api,
    auth::authenticate_service,
    body::Body,
    catalogue::integration_id,
    endpoint::{Endpoint, POST, Route, as_json, body_route},
    problem::{Answer, Problem},
    reply,
    request_context::Call,
};

static REPORT: Endpoint = Endpoint {
    template: "/api/v1/oauth/integrations/{id}/token/rejected",
    methods: POST,
};

/// Longest `WWW-Authenticate` looked at: servers cap whole heads at about this.
const CHALLENGE_BYTES_MAX: usize = 8 * 1024;
/// Longest claims kept of it. They become part of an address, and those have an end too.
const CLAIMS_BYTES_MAX: usize = 2 * 1024;

/// Interfaces write either alphabet, with padding or without.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReportBody {
    token_sha256: Option<String>,
    status: u16,
    www_authenticate: Option<String>,
}

/// Takes the report; the refresh it causes is not waited for.
pub(crate) fn report(api: &Arc<Api>) -> Route {
    body_route(api, &REPORT, as_json, take)
}

async fn take(api: Arc<Api>, call: Call, body: Body) -> Answer {
    let client = authenticate_service(&api, &call).await?;
    call.query()?.only(&[], &[])?;
    let id = integration_id(call.capture(0))?;
    let body: ReportBody = body.json(&call.headers, &api.settings.limits).await?;
    let rejection = TokenRejection {
        token_sha256: body.token_sha256.as_deref().map(digest).transpose()?,
        status: body.status,
        claims: body.www_authenticate.as_deref().and_then(claims),
    };
    if !matches!(rejection.status, 401 | 403) {
        return Err(Problem::invalid(
            "status is what the provider's interface answered: 401 or 403; nothing else says that a token was rejected",
        ));
    }
    let context = call.context(Actor::Service(client));
    let generation_current = api.manager.token_rejected(&id, rejection, context).await?;
    reply::json(
        StatusCode::ACCEPTED,
        &json!({ "generation_current": generation_current }),
    )
}

fn digest(text: &str) -> Result<[u8; 32], Problem> {
    let wrong = || Problem::invalid("token_sha256 is the SHA-256 digest of the token: 64 hexadecimal digits");
    let digits = text.as_bytes();
    let mut digest = [0; 32];
    if digits.len() != 2 * digest.len() {
        return Err(wrong());
    }
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| {
            char::from(digit)
                .to_digit(16)
                .and_then(|value| u8::try_from(value).ok())
        };
        let (high, low) = (
            value(pair[0]).ok_or_else(wrong)?,
            value(pair[1]).ok_or_else(wrong)?,
        );
        *byte = high << 4 | low;
    }
    Ok(digest)
}

/// The claims that a challenge demands (base64 of a JSON object, as Microsoft Graph sends them), written anew. What is no such
/// thing is left out: the report is right without it.
fn claims(challenge: &str) -> Option<String> {
    if challenge.len() > CHALLENGE_BYTES_MAX {
        return None;
    }
    let value = parameter(challenge, "claims")?;
    let plain = STANDARD.decode(value).or_else(|_| URL_SAFE.decode(value)).ok()?;
    let object: Value = serde_json::from_slice(&plain).ok()?;
    let text = object.is_object().then(|| object.to_string())?;
    (text.len() <= CLAIMS_BYTES_MAX && !text.contains("\\u0000")).then_some(text)
}

/// The value of a quoted parameter of a challenge (RFC 9110 11.2), where it holds no escapes: base64 needs none.
fn parameter<'a>(challenge: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = challenge;
    loop {
        // Outside of quotes up to the next one; what stands before it is the parameter's name.
        let (before, quoted) = rest.split_once('"')?;
        let (value, after) = quoted.split_once('"')?;
        let before = before.trim_end().strip_suffix('=').map(str::trim_end);
        let found = before
            .and_then(|before| before.rsplit([' ', ',', '\t']).next())
            .is_some_and(|found| found.eq_ignore_ascii_case(name));
        if found {
            return Some(value);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Microsoft's documentation of continuous access evaluation shows it.
    const CHALLENGE: &str = "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
         client_id=\"00000003-0000-0000-c000-000000000000\", error=\"insufficient_claims\", \
         claims=\"eyJhY2Nlc3NfdG9rZW4iOnsibmJmIjp7ImVzc2VudGlhbCI6dHJ1ZSwidmFsdWUiOiIxNjA0MTA2NjUxIn19fQ==\"";

    #[test]
    fn a_claims_challenge_is_read_from_the_header_as_it_comes() {
        let wanted = r#"{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}"#;
        assert_eq!(claims(CHALLENGE).as_deref(), Some(wanted));
        assert_eq!(claims(&CHALLENGE.replace("==\"", "\"")).as_deref(), Some(wanted));
        assert_eq!(
            claims(&CHALLENGE.replace("claims=", "Claims = ")).as_deref(),
            Some(wanted)
        );
    }

    #[test]
    fn what_is_no_claims_challenge_is_left_out() {
        let encoded = |text: &str| format!("Bearer claims=\"{}\"", STANDARD.encode(text));
        for odd in [
            String::new(),
            "Bearer".to_owned(),
            "Bearer claims=\"".to_owned(),
            "Bearer claims=\"%%%\"".to_owned(),
            "Bearer error=\"claims=\"".to_owned(),
            CHALLENGE.replace("claims=", "not_claims="),
            encoded("[]"),
            encoded("no json"),
            encoded("{\"a\":\"\\u0000\"}"),
            encoded(&format!("{{\"a\":\"{}\"}}", "x".repeat(CLAIMS_BYTES_MAX))),
            format!("{CHALLENGE}{}", " ".repeat(CHALLENGE_BYTES_MAX)),
        ] {
            assert_eq!(claims(&odd), None, "{odd:.80}");
        }
    }

    #[test]
    fn a_digest_is_64_hexadecimal_digits() {
        assert_eq!(digest(&"aF".repeat(32)).unwrap(), [0xaf; 32]);
        for odd in ["", "a", &"a".repeat(63), &"g".repeat(64), &"é".repeat(32)] {
            assert!(digest(odd).is_err(), "{odd}");
        }
    }
}
