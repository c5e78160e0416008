//! Microsoft's errors: AADSTS numbers at the token endpoint, codes at Graph.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::answer::Answer;
use super::client_auth::ClientRefusal;
use super::clock::{Millis, seconds};
use super::ledger::{CodeRefusal, request_id};
use super::world::Call;

/// What a CAE challenge asks for.
const CLAIMS: &str = r#"{"access_token":{"nbf":{"essential":true,"value":"1767225600"}}}"#;

struct Kind {
    error: &'static str,
    status: u16,
    suberror: Option<&'static str>,
    text: &'static str,
}

fn kind(number: u32) -> Kind {
    let new = |error, status, suberror, text| Kind {
        error,
        status,
        suberror,
        text,
    };
    let dead = |text| new("invalid_grant", 400, Some("bad_token"), text);
    let interaction = |text| new("interaction_required", 400, Some("basic_action"), text);
    let config = |text| new("invalid_request", 400, None, text);
    match number {
        50173 => {
            dead("The provided grant has expired due to it being revoked, a fresh auth token is needed.")
        }
        70000 => new(
            "invalid_grant",
            400,
            None,
            "Provided grant is invalid or malformed.",
        ),
        70008 => new(
            "invalid_grant",
            400,
            Some("token_expired"),
            "The provided authorization code or refresh token has expired.",
        ),
        700_082 => new(
            "invalid_grant",
            400,
            Some("token_expired"),
            "The refresh token has expired due to inactivity.",
        ),
        700_084 => new(
            "invalid_grant",
            400,
            Some("token_expired"),
            "The refresh token was issued to a single page app.",
        ),
        70043 => new(
            "invalid_grant",
            400,
            Some("token_expired"),
            "The refresh token has expired due to sign-in frequency checks.",
        ),
        54005 => new(
            "invalid_grant",
            400,
            None,
            "OAuth2 Authorization code was already redeemed.",
        ),
        501_481 => new(
            "invalid_grant",
            400,
            None,
            "The Code_Verifier does not match the code_challenge supplied.",
        ),
        50147 => new("invalid_grant", 400, None, "Missing code verifier."),
        50196 => new(
            "invalid_grant",
            400,
            None,
            "The server terminated an operation because it encountered a client request loop.",
        ),
        65001 => new(
            "invalid_grant",
            400,
            Some("consent_required"),
            "The user or administrator has not consented to use the application.",
        ),
        65004 => new(
            "access_denied",
            400,
            None,
            "User declined to consent to access the app.",
        ),
        90094 | 90095 => new("access_denied", 400, None, "Admin consent is required."),
        50055 => new(
            "invalid_grant",
            400,
            Some("user_password_expired"),
            "The password is expired.",
        ),
        50057 => new("invalid_grant", 400, None, "The user account is disabled."),
        50020 | 50034 | 50105 | 500_212 | 500_213 => {
            new("invalid_grant", 400, None, "The account cannot be used here.")
        }
        50076 | 50079 | 50072 | 50074 => {
            interaction("You must use multi-factor authentication to access the resource.")
        }
        50078
        | 50089
        | 50097
        | 50131
        | 50132
        | 50133
        | 50135
        | 50158
        | 53000..=53011
        | 530_032
        | 530_035
        | 16000 => interaction("A policy asks for interaction."),
        7_000_215 => new("invalid_client", 401, None, "Invalid client secret provided."),
        7_000_222 => new(
            "invalid_client",
            401,
            None,
            "The provided client secret keys are expired.",
        ),
        7_000_218 => new(
            "invalid_client",
            401,
            None,
            "The request body must contain: 'client_assertion' or 'client_secret'.",
        ),
        700_016 => new(
            "unauthorized_client",
            400,
            None,
            "Application was not found in the directory.",
        ),
        7_000_112 => new("unauthorized_client", 400, None, "Application is disabled."),
        70003 => new(
            "unsupported_grant_type",
            400,
            None,
            "The application returned an unsupported grant type.",
        ),
        70011 => new(
            "invalid_scope",
            400,
            None,
            "The provided value for the input parameter 'scope' is not valid.",
        ),
        28002 | 28003 | 700_022 | 700_023 => new(
            "invalid_scope",
            400,
            None,
            "The scope contains more than one resource.",
        ),
        50033 | 50087 | 50088 | 90006 | 90012 | 90024 | 90033 | 90090 | 90091 | 70012 | 50166 | 80002
        | 80005 => new(
            "temporarily_unavailable",
            503,
            None,
            "A transient error has occurred. Please try again.",
        ),
        90055 => new("temporarily_unavailable", 429, None, "The tenant is throttled."),
        90002 => config("Tenant not found."),
        900_144 => config("The request body must contain all required parameters."),
        9_002_313 => config("Invalid request. Request is malformed or invalid."),
        9_002_326 => config(
            "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
        ),
        50011 => config("The redirect URI specified in the request does not match."),
        _ => config("The request was refused."),
    }
}

/// The token endpoint's error with this number.
pub fn aadsts(call: &Call<'_>, number: u32) -> Answer {
    let Kind {
        error,
        status,
        suberror,
        text,
    } = kind(number);
    let (trace, correlation, timestamp) = (request_id(), request_id(), timestamp(call.now));
    let mut body = json!({
        "error": error,
        "error_description": format!(
            "AADSTS{number}: {text}\r\nTrace ID: {trace}\r\nCorrelation ID: {correlation}\r\nTimestamp: {timestamp}"
        ),
        "error_codes": [number],
        "timestamp": timestamp,
        "trace_id": trace,
        "correlation_id": correlation,
        "error_uri": format!("https://login.microsoftonline.com/error?code={number}"),
    });
    if let Some(suberror) = suberror {
        body["suberror"] = json!(suberror);
    }
    if error == "interaction_required" {
        body["claims"] = json!(CLAIMS);
    }
    Answer::json(status, body).because(format!("AADSTS{number}: {text}"))
}

/// An error by its name or its number: `AADSTS50173`, `50173`, `invalid_grant`.
pub fn by_code(call: &Call<'_>, code: &str) -> Answer {
    let number = match code.strip_prefix("AADSTS").unwrap_or(code).parse() {
        Ok(number) => number,
        Err(_) => match code {
            "invalid_grant" => 50173,
            "invalid_client" => 7_000_215,
            "unauthorized_client" => 700_016,
            "interaction_required" => 50076,
            "consent_required" => 65001,
            "invalid_scope" => 70011,
            "unsupported_grant_type" => 70003,
            "temporarily_unavailable" | "server_error" => 90033,
            _ => 9_002_313,
        },
    };
    aadsts(call, number)
}

pub fn client_error(call: &Call<'_>, refusal: ClientRefusal) -> Answer {
    let number = match refusal {
        ClientRefusal::Missing => 900_144,
        ClientRefusal::SecretMissing => 7_000_218,
        ClientRefusal::UnknownClient => 700_016,
        ClientRefusal::WrongSecret => 7_000_215,
        ClientRefusal::Malformed | ClientRefusal::TwoMethods | ClientRefusal::MethodNotOffered => 9_002_313,
    };
    aadsts(call, number).because(refusal.to_string())
}

pub fn code_error(call: &Call<'_>, refusal: CodeRefusal) -> Answer {
    let number = match refusal {
        CodeRefusal::Unknown | CodeRefusal::OtherClient => 70000,
        CodeRefusal::Spent(_) => 54005,
        CodeRefusal::Expired => 70008,
        CodeRefusal::RedirectUri => 50011,
        CodeRefusal::VerifierMissing => 50147,
        CodeRefusal::VerifierWrong | CodeRefusal::VerifierUnexpected => 501_481,
    };
    aadsts(call, number).because(refusal.to_string())
}

/// Throttling is not even JSON.
pub fn too_many_requests() -> Answer {
    Answer::text(429, "Too Many Requests")
}

/// An error of Graph by its code.
pub fn graph_error(code: &str) -> Answer {
    let (status, text) = match code {
        "InvalidAuthenticationToken" => (401, "Access token has expired or is not yet valid."),
        "insufficient_claims" => return insufficient_claims(),
        "ErrorAccessDenied" => (403, "Access is denied. Check credentials and try again."),
        "Authorization_RequestDenied" => (403, "Insufficient privileges to complete the operation."),
        "MailboxNotEnabledForRESTAPI" => (
            404,
            "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        ),
        "itemNotFound" => (404, "The resource could not be found."),
        "activityLimitReached" | "TooManyRequests" => (429, "Too many requests."),
        "serviceNotAvailable" => (503, "The service is not available."),
        _ => (400, "Bad request."),
    };
    let request = request_id();
    let body = json!({ "error": {
        "code": code, "message": text,
        "innerError": { "request-id": request, "client-request-id": request },
    }});
    Answer::json(status, body).because(format!("{code}: {text}"))
}

/// Continuous access evaluation: the token is fine, but no longer enough.
fn insufficient_claims() -> Answer {
    let body = json!({ "error": {
        "code": "InvalidAuthenticationToken", "message": "Continuous access evaluation resulted in claims challenge.",
    }});
    let challenge = format!(
        "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\", \
         error=\"insufficient_claims\", claims=\"{}\"",
        STANDARD.encode(CLAIMS)
    );
    Answer::json(401, body)
        .with_header("www-authenticate", challenge)
        .because("insufficient_claims")
}

fn timestamp(now: Millis) -> String {
    jiff::Timestamp::from_second(seconds(now)).map_or_else(
        |_| String::new(),
        |at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_comes_under_the_error_that_the_provider_puts_it_under() {
        let table: &[(&[u32], &str, u16)] = &[
            (
                &[50173, 70000, 70008, 700_082, 700_084, 70043, 54005],
                "invalid_grant",
                400,
            ),
            (
                &[501_481, 50147, 50196, 65001, 50055, 50057, 50020, 50034],
                "invalid_grant",
                400,
            ),
            (&[65004, 90094, 90095], "access_denied", 400),
            (
                &[50076, 50079, 50072, 50074, 53000, 16000],
                "interaction_required",
                400,
            ),
            (&[7_000_215, 7_000_222, 7_000_218], "invalid_client", 401),
            (&[700_016, 7_000_112], "unauthorized_client", 400),
            (&[70003], "unsupported_grant_type", 400),
            (&[70011], "invalid_scope", 400),
            (&[90055], "temporarily_unavailable", 429),
            (&[90002, 900_144, 9_002_313, 50011, 12345], "invalid_request", 400),
        ];
        for (numbers, error, status) in table {
            for number in *numbers {
                let kind = kind(*number);
                assert_eq!((kind.error, kind.status), (*error, *status), "AADSTS{number}");
            }
        }
    }

    #[test]
    fn graph_tells_a_token_that_is_not_enough_from_one_that_is_not_good() {
        for (code, status) in [
            ("InvalidAuthenticationToken", 401),
            ("insufficient_claims", 401),
            ("ErrorAccessDenied", 403),
            ("Authorization_RequestDenied", 403),
            ("MailboxNotEnabledForRESTAPI", 404),
            ("itemNotFound", 404),
            ("TooManyRequests", 429),
            ("serviceNotAvailable", 503),
            ("anything", 400),
        ] {
            let answer = graph_error(code);
            assert_eq!(answer.status.as_u16(), status, "{code}");
            let challenged = answer.headers.iter().any(|(name, _)| name == "www-authenticate");
            assert_eq!(challenged, code == "insufficient_claims", "{code}");
        }
    }
}
