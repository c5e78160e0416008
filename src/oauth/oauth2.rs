//! A plain OAuth 2 server: everything is configured, nothing is assumed.
//!
//! Without a userinfo endpoint nothing says whose token it is; the account's id is then [`ONLY_ACCOUNT`], which allows
//! one account per user.

use oauth_manager_actors::domain::{account::Account, provider::RefreshClass};
use serde_json::Value;

use super::{
    declaration::{BodyFormat, Dialect, Facts, Identity, Object, RevokeRule},
    json::{self, NoIdentifier},
    settings::ClientAuth,
    token_response::says_something,
};

/// The id of the account at a provider that cannot tell accounts apart.
pub(super) const ONLY_ACCOUNT: &str = "default";

const FACTS: Facts = Facts {
    issuers: &[],
    authorization: "",
    token: "",
    revocation: "",
    userinfo: "",
    jwks: "",
    client_auth: Some(ClientAuth::Basic),
    body: BodyFormat::Form,
    asks_for_scopes: true,
    reports_scopes: true,
    // RFC 6749 knows no such thing: a new grant is what was asked for with it.
    incremental: false,
    identity: Identity::Userinfo,
    revoke: RevokeRule::Rfc7009,
    refresh_class: RefreshClass::SingleUse,
    keep_alive: None,
    max_concurrency: 16,
    narrows: false,
    algorithms: &[],
    callback_issuer: true,
};

/// The dialect of RFC 6749 itself.
pub(super) struct Oauth2;

impl Dialect for Oauth2 {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }
}

/// The account in a userinfo answer: its id where the operator says, or at the two usual places.
pub(super) fn account(answer: &Object, pointer: Option<&str>) -> Result<Account, NoIdentifier> {
    let id = match pointer {
        Some(pointer) => json::identifier(Value::Object(answer.clone()).pointer(pointer)),
        None => json::identifier(answer.get("sub")).or_else(|fault| match fault {
            NoIdentifier::Missing => json::identifier(answer.get("id")),
            NoIdentifier::NotWhole => Err(fault),
        }),
    }?;
    let text = |name: &str| {
        let text = answer.get(name).filter(|value| says_something(value));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    Ok(Account {
        id,
        issuer: None,
        name: text("name").or_else(|| text("login")),
        email: text("email"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_id_is_found_where_the_operator_says() {
        let answer = json!({"data": {"user": {"id": 42}}, "sub": "s", "name": "N"});
        let answer = answer.as_object().unwrap();
        assert_eq!(account(answer, Some("/data/user/id")).unwrap().id, "42");
        assert_eq!(account(answer, None).unwrap().id, "s");
        assert_eq!(
            account(answer, Some("/missing")).unwrap_err(),
            NoIdentifier::Missing
        );
    }
}
