//! Parameters of the authorization request that the flow itself answers for: no setting may add or replace one.

/// What the flow sets (RFC 6749 4.1.1, RFC 7636 4.3, OpenID Connect Core 3.1.2.1).
const SET_BY_THE_FLOW: [&str; 8] = [
    "client_id",
    "code_challenge",
    "code_challenge_method",
    "nonce",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
];
/// What would replace it from elsewhere (RFC 9101), or describe another client (OpenID Connect Core 7.2.1).
const WOULD_REPLACE_THE_FLOW: [&str; 3] = ["registration", "request", "request_uri"];
/// What belongs to the token endpoint, where nobody looks on (RFC 6749 2.3.1 and 4.1.3, RFC 7521 4.2, RFC 7636 4.5).
const OF_THE_TOKEN_ENDPOINT: [&str; 6] = [
    "client_assertion",
    "client_assertion_type",
    "client_secret",
    "code",
    "code_verifier",
    "grant_type",
];

/// Why this parameter cannot be given by the operator; `None`: it can.
pub fn refusal(name: &str, value: &str) -> Option<&'static str> {
    if SET_BY_THE_FLOW.contains(&name) {
        Some("is set by the flow itself")
    } else if WOULD_REPLACE_THE_FLOW.contains(&name) {
        Some("would replace what the flow sets: leave it out")
    } else if OF_THE_TOKEN_ENDPOINT.contains(&name) {
        Some("belongs to the token endpoint and must not pass through a browser")
    } else if name == "dpop_jkt" {
        Some("would bind the tokens to a key that nobody holds")
    } else if name == "response_mode" && value != "query" {
        Some("answers are read from the query alone: leave it out, or give \"query\"")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_flow_answers_for_is_refused_and_everything_else_is_the_operators() {
        for name in [
            "state",
            "nonce",
            "request",
            "request_uri",
            "client_secret",
            "code_challenge",
            "scope",
        ] {
            assert!(refusal(name, "x").is_some(), "{name}");
        }
        for mode in ["form_post", "fragment", "query.jwt", "form_post.jwt", "jwt", ""] {
            assert!(refusal("response_mode", mode).is_some(), "{mode}");
        }
        assert_eq!(refusal("response_mode", "query"), None);
        for name in [
            "prompt",
            "audience",
            "access_type",
            "max_age",
            "acr_values",
            "resource",
            "claims",
            "State",
        ] {
            assert_eq!(refusal(name, "x"), None, "{name}");
        }
    }
}
