//! Google's errors: the token endpoint's RFC 6749 objects, and the nested ones of the resource APIs.

use serde_json::json;

use super::answer::Answer;
use super::client_auth::ClientRefusal;
use super::ledger::CodeRefusal;

pub fn error(code: &str) -> Answer {
    let text = match code {
        "invalid_grant" => "Token has been expired or revoked.",
        "invalid_client" => "The provided client secret is invalid.",
        "invalid_rapt" | "rapt_required" => {
            let body = json!({
                "error": "invalid_grant",
                "error_description": format!("reauth related error ({code})"),
                "error_subtype": code,
            });
            return Answer::json(400, body);
        }
        "account_deleted" => return described("invalid_grant", "The account has been deleted."),
        "deleted_client" => "The OAuth client was deleted.",
        "admin_policy_enforced" => {
            "Access to your account data is restricted by policies within your organization."
        }
        "access_denied" => "Account restricted",
        "internal_failure" => "Backend Error",
        "rate_limit_exceeded" => "Rate Limit Exceeded",
        _ => "Bad Request",
    };
    described(code, text)
}

pub fn described(code: &str, text: &str) -> Answer {
    let status = match code {
        "invalid_client" | "deleted_client" | "unauthorized_client" => 401,
        "rate_limit_exceeded" => 403,
        "internal_failure" => 500,
        _ => 400,
    };
    let body = json!({ "error": code, "error_description": text });
    Answer::json(status, body).because(format!("{code}: {text}"))
}

pub fn client_error(refusal: ClientRefusal) -> Answer {
    match refusal {
        ClientRefusal::Missing => described("invalid_request", "Could not determine client ID from request."),
        ClientRefusal::UnknownClient => described("invalid_client", "The OAuth client was not found."),
        ClientRefusal::SecretMissing => described("invalid_request", "client_secret is missing."),
        ClientRefusal::WrongSecret => error("invalid_client"),
        ClientRefusal::Malformed | ClientRefusal::TwoMethods | ClientRefusal::MethodNotOffered => {
            error("invalid_request").because(refusal.to_string())
        }
    }
}

pub fn code_error(refusal: CodeRefusal) -> Answer {
    let answer = match refusal {
        CodeRefusal::RedirectUri => error("redirect_uri_mismatch"),
        CodeRefusal::Unknown => described("invalid_grant", "Malformed auth code."),
        CodeRefusal::VerifierMissing => described("invalid_grant", "Missing code verifier."),
        CodeRefusal::VerifierWrong => described("invalid_grant", "Invalid code verifier."),
        CodeRefusal::Spent(_)
        | CodeRefusal::Expired
        | CodeRefusal::OtherClient
        | CodeRefusal::VerifierUnexpected => described("invalid_grant", "Bad Request"),
    };
    answer.because(refusal.to_string())
}

/// Errors of the resource APIs, by status or reason.
pub fn api_error_by_code(code: &str) -> Option<Answer> {
    let status = match code {
        "rateLimitExceeded"
        | "userRateLimitExceeded"
        | "quotaExceeded"
        | "dailyLimitExceeded"
        | "accessNotConfigured"
        | "domainPolicy"
        | "forbidden"
        | "accountDelegationForbidden"
        | "authenticatedUserAccountClosed"
        | "authenticatedUserAccountSuspended" => 403,
        "insufficientPermissions" => return Some(api_error(403)),
        "youtubeSignupRequired" | "unauthenticated" => 401,
        "channelNotFound" => 404,
        _ => return None,
    };
    let domain = if code.ends_with("Exceeded") {
        "usageLimits"
    } else {
        "global"
    };
    let body = json!({ "error": {
        "code": status, "message": code, "errors": [{ "domain": domain, "reason": code }],
    }});
    Some(Answer::json(status, body))
}

pub fn api_error(status: u16) -> Answer {
    let body = match status {
        401 => json!({ "error": {
            "code": 401, "message": "Request had invalid authentication credentials.", "status": "UNAUTHENTICATED",
        }}),
        403 => json!({ "error": {
            "code": 403, "message": "Request had insufficient authentication scopes.",
            "status": "PERMISSION_DENIED",
            "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
            }],
        }}),
        404 => json!({ "error": { "code": 404, "message": "Not Found", "status": "NOT_FOUND" } }),
        429 => json!({ "error": {
            "code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED",
        }}),
        other => json!({ "error": { "code": other, "message": "Backend Error", "status": "INTERNAL" } }),
    };
    Answer::json(status, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_errors_have_the_status_that_goes_with_them() {
        for (code, status) in [
            ("invalid_grant", 400),
            ("invalid_rapt", 400),
            ("account_deleted", 400),
            ("admin_policy_enforced", 400),
            ("access_denied", 400),
            ("invalid_client", 401),
            ("deleted_client", 401),
            ("rate_limit_exceeded", 403),
            ("internal_failure", 500),
            ("anything", 400),
        ] {
            assert_eq!(error(code).status.as_u16(), status, "{code}");
        }
    }

    #[test]
    fn api_errors_name_their_reason_and_unknown_ones_are_none() {
        for (code, status) in [
            ("quotaExceeded", 403),
            ("accessNotConfigured", 403),
            ("insufficientPermissions", 403),
            ("youtubeSignupRequired", 401),
            ("channelNotFound", 404),
        ] {
            let answer = api_error_by_code(code).unwrap();
            assert_eq!(answer.status.as_u16(), status, "{code}");
        }
        assert!(api_error_by_code("invalid_grant").is_none());
    }
}
