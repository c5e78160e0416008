//! Google: consent is asked for only when no refresh token is held, and scopes come back in another spelling.

use std::borrow::Cow;

use jsonwebtoken::Algorithm;
use oauth_manager_actors::{
    domain::{provider::RefreshClass, scope::Scope},
    ports::oauth::{AuthorizationUrlRequest, FailureKind},
};

use super::{
    classify::ErrorAnswer,
    declaration::{BodyFormat, DAY, Dialect, Facts, Identity, Refined, RevokeRule},
    settings::ClientAuth,
};

/// Both spellings occur in ID tokens; no other does.
pub(super) const ISSUERS: &[&str] = &["https://accounts.google.com", "accounts.google.com"];
/// Without `access_type=offline` there is no refresh token.
const OFFLINE: (&str, Cow<'static, str>) = ("access_type", Cow::Borrowed("offline"));

const FACTS: Facts = Facts {
    issuers: ISSUERS,
    authorization: "https://accounts.google.com/o/oauth2/v2/auth",
    token: "https://oauth2.googleapis.com/token",
    revocation: "https://oauth2.googleapis.com/revoke",
    userinfo: "https://openidconnect.googleapis.com/v1/userinfo",
    jwks: "https://www.googleapis.com/oauth2/v3/certs",
    client_auth: Some(ClientAuth::Post),
    body: BodyFormat::Form,
    asks_for_scopes: true,
    reports_scopes: true,
    // With `include_granted_scopes=true`; the refresh token of an earlier consent stays as narrow as it was.
    incremental: true,
    identity: Identity::IdToken,
    revoke: RevokeRule::WholeGrant,
    // Refresh tokens do not rotate.
    refresh_class: RefreshClass::Safe,
    // A refresh token that is not used for six months ends: twice as often.
    keep_alive: Some(DAY.saturating_mul(90)),
    max_concurrency: 64,
    narrows: false,
    algorithms: &[Algorithm::RS256],
    callback_issuer: true,
};

/// The dialect of Google.
pub(super) struct Google;

impl Dialect for Google {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn authorization_parameters(
        &self,
        request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        authorization_parameters(request, true)
    }

    fn canonical_scope(&self, raw: &str) -> Option<Scope> {
        Some(canonical_scope(raw))
    }

    fn refine(&self, error: &ErrorAnswer) -> Option<Refined> {
        refine(error)
    }
}

/// Shared with YouTube, which differs in `include_granted_scopes`.
pub(super) fn authorization_parameters(
    request: &AuthorizationUrlRequest,
    include_granted: bool,
) -> Vec<(&'static str, Cow<'static, str>)> {
    let include_granted = if include_granted { "true" } else { "false" };
    let mut parameters = vec![
        OFFLINE,
        ("include_granted_scopes", Cow::Borrowed(include_granted)),
    ];
    if !request.has_grant {
        // The refresh token comes only with a consent, and consent is otherwise shown only the first time.
        parameters.push(("prompt", Cow::Borrowed("consent")));
    }
    if let Some(hint) = &request.login_hint {
        parameters.push(("login_hint", Cow::Owned(hint.clone())));
    }
    parameters
}

/// `email` and `profile` are reported in a longer form; the catalogue has the short one. Case matters.
pub(super) fn canonical_scope(raw: &str) -> Scope {
    Scope::new(match raw {
        "https://www.googleapis.com/auth/userinfo.email" => "email",
        "https://www.googleapis.com/auth/userinfo.profile" => "profile",
        other => other,
    })
}

/// Google's own error codes.
pub(super) fn refine(error: &ErrorAnswer) -> Option<Refined> {
    // An administrator's session policy ended the grant: the user reconnects, and should be told why.
    if let Some(subtype @ ("invalid_rapt" | "rapt_required")) = error.subcode.as_deref() {
        return Some(Refined::new(FailureKind::DeadGrant, subtype));
    }
    let Some(code) = error.code.as_deref() else {
        // Google's own client tries again on the description alone.
        let passes = error.mentions("internal failure");
        return passes.then(|| Refined::new(FailureKind::Passing, "internal_failure"));
    };
    let kind = match code {
        "admin_policy_enforced" | "access_denied" | "org_internal" => FailureKind::Admin,
        // Delegation for a whole domain, which its administrator grants.
        "unauthorized_client" if error.mentions("not authorized for any of the scopes") => FailureKind::Admin,
        "invalid_request" | "disallowed_useragent" => FailureKind::BadRequest,
        _ => return None,
    };
    Some(Refined::new(kind, code))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_canonical_spelling_is_stable(raw in "[ -~]{0,60}") {
            let once = canonical_scope(&raw);
            prop_assert_eq!(canonical_scope(once.as_str()), once);
        }
    }

    #[test]
    fn reported_identity_scopes_compare_equal_to_requested_ones() {
        assert_eq!(
            canonical_scope("https://www.googleapis.com/auth/userinfo.email").as_str(),
            "email"
        );
        assert_eq!(
            canonical_scope("https://www.googleapis.com/auth/userinfo.profile").as_str(),
            "profile"
        );
        assert_eq!(canonical_scope("openid").as_str(), "openid");
        assert_eq!(canonical_scope("EMAIL").as_str(), "EMAIL");
    }
}
