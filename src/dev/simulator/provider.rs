//! Which provider a request is for, and which of its endpoints.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    Google,
    YouTube,
    Microsoft,
    Notion,
    /// A strict OpenID provider that belongs to nobody: single-use refresh tokens, PKCE always.
    Oidc,
}

impl Provider {
    pub const ALL: [Self; 5] = [
        Self::Google,
        Self::YouTube,
        Self::Microsoft,
        Self::Notion,
        Self::Oidc,
    ];

    /// The first segment of the paths under which the provider lives.
    pub fn key(self) -> &'static str {
        match self {
            Self::Google => "google",
            Self::YouTube => "youtube",
            Self::Microsoft => "microsoft",
            Self::Notion => "notion",
            Self::Oidc => "oidc",
        }
    }

    pub fn display_name(self) -> &'static str {
        match self {
            Self::Google => "Google",
            Self::YouTube => "YouTube",
            Self::Microsoft => "Microsoft",
            Self::Notion => "Notion",
            Self::Oidc => "OpenID provider",
        }
    }

    /// Whether the resources of `other` take tokens of this one. YouTube's take Google's: one server issued both.
    pub fn is_served_by(self, other: Self) -> bool {
        self == other || (self, other) == (Self::Google, Self::YouTube)
    }

    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|provider| provider.key() == key)
    }
}

/// What a request wants. `Token` never describes a request (that is always one of its kinds): in a fault or a filter it
/// stands for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    Authorize,
    Token,
    /// The token endpoint with `grant_type=authorization_code`.
    Exchange,
    /// The token endpoint with `grant_type=refresh_token`.
    Refresh,
    /// The token endpoint with anything else.
    UnknownGrant,
    Revoke,
    Introspect,
    Userinfo,
    Discovery,
    Jwks,
    /// The provider's resources (calendar, mail, pages …).
    Api,
}

impl Endpoint {
    /// Whether codes, grants or tokens may be others after a request to it.
    pub fn changes_what_is_known(self) -> bool {
        match self {
            Self::Authorize
            | Self::Token
            | Self::Exchange
            | Self::Refresh
            | Self::UnknownGrant
            | Self::Revoke => true,
            Self::Introspect | Self::Userinfo | Self::Discovery | Self::Jwks | Self::Api => false,
        }
    }

    /// Does a rule or filter for `self` cover a request to `actual`?
    pub fn covers(self, actual: Self) -> bool {
        self == actual
            || (self == Self::Token && matches!(actual, Self::Exchange | Self::Refresh | Self::UnknownGrant))
    }
}
