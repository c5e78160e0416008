//! Notion: JSON bodies, Basic authentication, a version header, capabilities instead of scopes, and an identity that
//! comes with the token answer.

use std::borrow::Cow;

use http::HeaderValue;
use oauth_manager_actors::{
    domain::{
        account::{ACCOUNT_TEXT_MAX_CHARS, Account},
        provider::RefreshClass,
        scope::ScopeSet,
    },
    ports::oauth::{AuthorizationUrlRequest, FailureKind},
};
use serde_json::{Value, json};

use super::{
    classify::ErrorAnswer,
    declaration::{AnswerAccount, BodyFormat, Dialect, Facts, Identity, Object, Refined, RevokeRule},
    settings::ClientAuth,
};

/// The version whose answers this was written against.
const VERSION: &str = "2025-09-03";
/// What an integration may do unless the operator says otherwise: Notion reports capabilities nowhere.
const CAPABILITIES: [&str; 6] = [
    "capability:read_content",
    "capability:update_content",
    "capability:insert_content",
    "capability:read_comments",
    "capability:insert_comments",
    "capability:user_no_email",
];

const FACTS: Facts = Facts {
    issuers: &[],
    authorization: "https://api.notion.com/v1/oauth/authorize",
    token: "https://api.notion.com/v1/oauth/token",
    revocation: "https://api.notion.com/v1/oauth/revoke",
    userinfo: "",
    jwks: "",
    client_auth: Some(ClientAuth::Basic),
    body: BodyFormat::Json,
    asks_for_scopes: false,
    reports_scopes: false,
    // Capabilities belong to the registration: every token has all of them.
    incremental: true,
    identity: Identity::Answer,
    revoke: RevokeRule::EachToken,
    // The old pair stops with the refresh; whether a repeat is forgiven is documented nowhere.
    refresh_class: RefreshClass::SingleUse,
    // How long unused refresh tokens live is not documented.
    keep_alive: None,
    max_concurrency: 16,
    narrows: false,
    algorithms: &[],
    callback_issuer: false,
};

/// The dialect of Notion, for one integration.
pub(super) struct Notion {
    version: HeaderValue,
    capabilities: ScopeSet,
}

impl Notion {
    pub(super) fn new(version: Option<&str>, capabilities: Option<&ScopeSet>) -> Result<Self, &'static str> {
        let version =
            HeaderValue::from_str(version.unwrap_or(VERSION)).map_err(|_| "notion_version is no header")?;
        let capabilities = capabilities
            .cloned()
            .unwrap_or_else(|| CAPABILITIES.into_iter().collect());
        Ok(Self {
            version,
            capabilities,
        })
    }
}

impl Dialect for Notion {
    fn facts(&self) -> &'static Facts {
        &FACTS
    }

    fn authorization_parameters(
        &self,
        _request: &AuthorizationUrlRequest,
    ) -> Vec<(&'static str, Cow<'static, str>)> {
        vec![("owner", Cow::Borrowed("user"))]
    }

    fn headers(&self) -> Vec<(&'static str, HeaderValue)> {
        vec![("notion-version", self.version.clone())]
    }

    fn granted(
        &self,
        _reported: Option<ScopeSet>,
        _present: &ScopeSet,
        _has_refresh_token: bool,
    ) -> Option<ScopeSet> {
        Some(self.capabilities.clone())
    }

    /// User, workspace and bot together: one person connects several workspaces, and revoking is per bot.
    fn account_from_answer(&self, answer: &Object) -> AnswerAccount {
        let text = |key: &str| {
            answer
                .get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        let (Some(workspace), Some(bot)) = (text("workspace_id"), text("bot_id")) else {
            return Err("identity_missing");
        };
        let user = answer.get("owner").and_then(|owner| owner.get("user"));
        let user_text = |pointer: &str| {
            user.and_then(|user| user.pointer(pointer))
                .and_then(Value::as_str)
        };
        let id = match user_text("/id") {
            Some(user) => format!("{user}.{workspace}.{bot}"),
            // The whole workspace is the owner.
            None => format!("{workspace}.{bot}"),
        };
        let bounded = |text: &str| text.chars().take(ACCOUNT_TEXT_MAX_CHARS).collect::<String>();
        let metadata = json!({
            "workspace_id": bounded(workspace),
            "bot_id": bounded(bot),
            "workspace_name": text("workspace_name").map(bounded),
            "duplicated_template_id": text("duplicated_template_id").map(bounded),
        });
        let account = Account {
            id,
            issuer: None,
            name: text("workspace_name")
                .or_else(|| user_text("/name"))
                .map(str::to_owned),
            email: user_text("/person/email").map(str::to_owned),
        };
        Ok((account, metadata))
    }

    fn is_about_another(&self, answer: &Object, metadata: &Value) -> bool {
        let new = answer.get("bot_id").and_then(Value::as_str);
        let kept = metadata.get("bot_id").and_then(Value::as_str);
        matches!((new, kept), (Some(new), Some(kept)) if new != kept)
    }

    /// The workspace: its owners decide who may connect it.
    fn upstream_tenant<'a>(&self, metadata: &'a Value) -> Option<&'a str> {
        metadata.get("workspace_id").and_then(Value::as_str)
    }

    fn refine(&self, error: &ErrorAnswer) -> Option<Refined> {
        // Cloudflare in front of Notion refuses this request, our address or our user agent: no answer of Notion's at all.
        if error.status == 403 && error.is_html {
            return Some(Refined::new(FailureKind::BadRequest, "blocked_at_the_edge"));
        }
        let code = error.code.as_deref()?;
        let kind = match code {
            "invalid_request"
            | "test_env_error"
            | "missing_version"
            | "validation_error"
            | "invalid_json"
            | "invalid_request_url" => FailureKind::BadRequest,
            "restricted_resource" => FailureKind::Admin,
            "conflict_error" => FailureKind::Passing,
            _ => return None,
        };
        Some(Refined::new(kind, code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(value: Value) -> Object {
        value.as_object().unwrap().clone()
    }

    /// Whoever copies the example must not go back to an older one.
    #[test]
    fn the_documented_version_is_the_one_spoken() {
        let reference = include_str!("../config/default.toml");
        assert!(reference.contains(&format!("# notion_version = \"{VERSION}\"")));
    }

    #[test]
    fn identity_is_user_workspace_and_bot() {
        let notion = Notion::new(None, None).unwrap();
        let (account, metadata) = notion
            .account_from_answer(&answer(json!({
                "bot_id": "b", "workspace_id": "w", "workspace_name": "Acme", "duplicated_template_id": null,
                "owner": {"type": "user", "user": {"id": "u", "name": "A", "person": {"email": "a@example.com"}}}
            })))
            .unwrap();
        assert_eq!(
            (account.id.as_str(), account.email.as_deref()),
            ("u.w.b", Some("a@example.com"))
        );
        assert_eq!(metadata["workspace_name"], "Acme");
        let whole = notion.account_from_answer(&answer(json!({
            "bot_id": "b", "workspace_id": "w", "owner": {"type": "workspace", "workspace": true}
        })));
        assert_eq!(whole.unwrap().0.id, "w.b");
        assert!(
            notion
                .account_from_answer(&answer(json!({"bot_id": "b"})))
                .is_err()
        );
    }

    #[test]
    fn another_bot_is_another_account() {
        let notion = Notion::new(None, None).unwrap();
        let kept = json!({"bot_id": "b"});
        assert!(notion.is_about_another(&answer(json!({"bot_id": "c"})), &kept));
        assert!(!notion.is_about_another(&answer(json!({"bot_id": "b"})), &kept));
        assert!(!notion.is_about_another(&answer(json!({})), &kept));
    }
}
