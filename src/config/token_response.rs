//! `[providers.<key>.token_response]`: where token answers differ from RFC 6749 5.1 in names and places.

use serde::Deserialize;

use super::list;

/// Whether an ID token must repeat the nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Nonce {
    /// One without it is refused.
    Required,
    /// For a provider that does not repeat it.
    Optional,
}

/// What differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenResponseConfig {
    /// Further words for Bearer.
    #[serde(deserialize_with = "list::deserialize")]
    pub token_types: Vec<String>,
    /// JSON pointer to the object that holds the tokens.
    pub token_pointer: Option<String>,
    /// What the provider calls its members.
    pub members: MemberNames,
    /// Whether the ID token in it must repeat the nonce.
    pub nonce: Option<Nonce>,
}

/// Names, where they are not the standard ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemberNames {
    access_token: Option<String>,
    expires_in: Option<String>,
    id_token: Option<String>,
    refresh_token: Option<String>,
    refresh_token_expires_in: Option<String>,
    scope: Option<String>,
    token_type: Option<String>,
}

impl MemberNames {
    /// The standard name and the provider's, of those that have another.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [
            ("access_token", &self.access_token),
            ("expires_in", &self.expires_in),
            ("id_token", &self.id_token),
            ("refresh_token", &self.refresh_token),
            ("refresh_token_expires_in", &self.refresh_token_expires_in),
            ("scope", &self.scope),
            ("token_type", &self.token_type),
        ]
        .into_iter()
        .filter_map(|(standard, theirs)| theirs.as_deref().map(|theirs| (standard, theirs)))
    }
}

impl TokenResponseConfig {
    /// What is wrong with it, if something is: its key and why.
    pub(super) fn problem(&self) -> Option<(String, &'static str)> {
        if self.token_types.iter().any(|word| !is_word(word)) {
            return Some(("token_types".to_owned(), "expected words such as \"bot\""));
        }
        if self.token_types.iter().any(|word| is_another_scheme(word)) {
            return Some((
                "token_types".to_owned(),
                "tokens of this type are bound to a key or signed: they do not work as Bearer",
            ));
        }
        let is_pointer = |pointer: &String| pointer.starts_with('/') && pointer.len() > 1;
        if self
            .token_pointer
            .as_ref()
            .is_some_and(|pointer| !is_pointer(pointer))
        {
            return Some((
                "token_pointer".to_owned(),
                "expected a JSON pointer such as \"/authed_user\"",
            ));
        }
        let unusable = self
            .members
            .given()
            .find(|(_, theirs)| !is_word(theirs) || theirs.contains('"'));
        unusable.map(|(standard, _)| (format!("members.{standard}"), "expected the name of a member"))
    }
}

fn is_word(text: &str) -> bool {
    !text.trim().is_empty() && !text.chars().any(char::is_control)
}

/// Types whose tokens are proved by more than showing them (RFC 9449, the MAC drafts).
fn is_another_scheme(word: &str) -> bool {
    ["dpop", "mac", "pop", "hmac"].contains(&word.trim().to_ascii_lowercase().as_str())
}
