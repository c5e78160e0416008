//! Words and sentences by which providers say what is wrong, where no dialect knows better: RFC 6749 5.2, OpenID Connect
//! Core 3.1.2.6, and what is common beyond them.
//!
//! Only a word that names the client or its secret is about our registration: it is said before anything else is looked at.
//! `unauthorized_client` and `access_denied` are not among them, because providers say them about one grant too.

/// It passes.
pub(super) const PASSING: &[&str] = &[
    "rate_limited",
    "ratelimited",
    "slow_down",
    "rate_limit_exceeded",
    "too_many_requests",
    "too_many_attempts",
    "temporarily_unavailable",
    "server_error",
    "internal_failure",
    "internal_error",
    "internal_server_error",
    "service_unavailable",
    "fatal_error",
    "request_timeout",
];
/// Our client is not known, or not with this secret.
pub(super) const CLIENT: &[&str] = &[
    "invalid_client",
    "incorrect_client_credentials",
    "invalid_client_credentials",
    "invalid_client_id",
    "invalid_client_secret",
    "bad_client_id",
    "bad_client_secret",
    "deleted_client",
    "disabled_client",
    "app_disabled",
];
/// The administrator of the account's organisation must act.
pub(super) const ADMIN: &[&str] = &[
    "admin_policy_enforced",
    "org_internal",
    "inactive_org",
    "invalid_app_access",
    "team_access_not_granted",
    "org_login_required",
    "ekm_access_denied",
];
/// The user must act; the grant may live on.
pub(super) const INTERACTION: &[&str] = &[
    "interaction_required",
    "login_required",
    "consent_required",
    "account_selection_required",
    "mfa_required",
    "inactive_user",
];
/// The grant is over.
pub(super) const DEAD: &[&str] = &[
    "invalid_grant",
    "bad_refresh_token",
    "invalid_refresh_token",
    "token_revoked",
    "token_expired",
    "account_inactive",
    "app_uninstalled",
    "bad_verification_code",
    "invalid_code",
    "code_already_used",
];
/// It is about how we ask.
pub(super) const BAD_REQUEST: &[&str] = &[
    "unsupported_grant_type",
    "invalid_scope",
    "redirect_uri_mismatch",
    "bad_redirect_uri",
    "invalid_redirect_uri",
];

/// What `error` may say beside a sentence that says more: it says little by itself.
pub(super) const VAGUE: &[&str] = &[
    "invalid_request",
    "unauthorized_client",
    "access_denied",
    "unauthorized",
    "bad_request",
    "invalid_token",
];
/// The refresh token that was presented is over. Whole sentences: one that holds these words among others says something else.
pub(super) const DEAD_SENTENCES: &[&str] = &[
    "refresh token is invalid",
    "the refresh token is invalid",
    "invalid refresh token",
    "invalid params invalid refresh token",
    "unknown or invalid refresh token",
    "refresh token is invalid or expired",
    "the refresh token is invalid or expired",
    "refresh token is invalid expired or revoked",
    "the provided authorization grant or refresh token is invalid expired or revoked",
    "refresh token has expired",
    "the refresh token has expired",
    "refresh token expired",
    "refresh token revoked",
    "value passed for the token was invalid",
];
/// An administrator has to approve our application, whatever the code beside it says.
pub(super) const ADMIN_SENTENCES: &[&str] = &[
    "user hasn t approved this consumer",
    "user is not admin approved to access this app",
];
/// Our client is not known, or not with this secret.
pub(super) const CLIENT_SENTENCES: &[&str] = &[
    "client authentication failed",
    "client authentication failed due to unknown client no client authentication included or unsupported \
     authentication method",
    "invalid client or invalid client credentials",
    "invalid client credentials",
    "invalid client id or client secret",
    "invalid client id",
    "invalid client secret",
    "missing or unknown client id",
    "the provided client secret is invalid",
];
