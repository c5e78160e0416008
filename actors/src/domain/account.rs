//! The account at the provider that an integration stands for.

use serde::Serialize;

/// Longest name or e-mail kept of what a provider reports.
pub const ACCOUNT_TEXT_MAX_CHARS: usize = 320;

/// An account as its provider identifies it. The identity is issuer and id together, never the e-mail.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The provider's stable identifier (`sub`, `tid.oid`, workspace and bot, …).
    pub id: String,
    /// The issuer that vouches for it, where there is one.
    #[serde(skip)]
    pub issuer: Option<String>,
    /// A name to show.
    pub name: Option<String>,
    /// An address to show; changes and is not an identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
}

impl Account {
    /// Whether one that came back is this account: by issuer and id, whatever name and e-mail say. Where no issuer vouched
    /// for it so far, the id alone says it.
    pub fn is_same(&self, returned: &Self) -> bool {
        self.id == returned.id && (self.issuer.is_none() || self.issuer == returned.issuer)
    }

    /// The person at the issuer, whose grants there are one (OpenID Connect Core 2, `sub`). An account id may say more: a
    /// channel, a directory; `metadata` then holds the subject beside it.
    pub fn subject<'a>(&'a self, metadata: &'a serde_json::Value) -> &'a str {
        let kept = metadata.get("sub").and_then(serde_json::Value::as_str);
        kept.unwrap_or(&self.id)
    }
}

impl std::fmt::Debug for Account {
    /// Without name and e-mail: logs need the identity, not the person.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}
