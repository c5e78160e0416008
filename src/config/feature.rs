//! Features of a provider: a list of scopes, or a table that says more.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer, StrDeserializer};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::list;

/// One feature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeatureConfig {
    /// What it does not work without.
    pub scopes: Vec<String>,
    /// What may be asked for by name as well.
    pub optional_scopes: Vec<String>,
    /// What users call it.
    pub display_name: Option<String>,
    /// One sentence for users.
    pub description: Option<String>,
    /// One sentence for users: what could go wrong.
    pub danger: Option<String>,
    /// Whether personal accounts cannot have it.
    pub work_account_only: bool,
    /// Whether it is asked for when nothing is named.
    pub default: bool,
}

/// What is known of a scope besides its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScopeConfig {
    /// Wider scopes that include it: whoever has one of them has it.
    #[serde(deserialize_with = "list::deserialize")]
    pub implied_by: Vec<String>,
}

impl ScopeConfig {
    /// What is wrong with it, if something is.
    pub(super) fn problem(&self, scope: &str) -> Option<&'static str> {
        let mut scopes = self.implied_by.iter().map(String::as_str).chain([scope]);
        let is_scope = |scope: &str| !scope.is_empty() && scope.bytes().all(is_scope_byte);
        (!scopes.all(is_scope)).then_some("a scope is text without spaces, quotes or backslashes")
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "list::deserialize")]
    scopes: Vec<String>,
    #[serde(default, deserialize_with = "list::deserialize")]
    optional_scopes: Vec<String>,
    display_name: Option<String>,
    description: Option<String>,
    danger: Option<String>,
    #[serde(default)]
    work_account_only: bool,
    #[serde(default)]
    default: bool,
}

impl FeatureConfig {
    fn of(scopes: Vec<String>) -> Self {
        Self {
            scopes,
            ..Self::default()
        }
    }

    /// What is wrong with it, if something is.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let mut scopes = self.scopes.iter().chain(&self.optional_scopes);
        let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(is_scope_byte);
        (!scopes.all(is_scope)).then_some("a scope is text without spaces, quotes or backslashes")
    }
}

/// `<provider>.<name>`
pub(super) fn is_feature_key(provider: &str, feature: &str) -> bool {
    let name = feature
        .strip_prefix(provider)
        .and_then(|rest| rest.strip_prefix('.'));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    name.is_some_and(|name| {
        name.len() <= 64
            && name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(plain)
    })
}

/// RFC 6749 section 3.3.
fn is_scope_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

impl<'de> Deserialize<'de> for FeatureConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FeatureConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of scopes, or a table with scopes and more")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<FeatureConfig, E> {
                list::deserialize(StrDeserializer::new(text)).map(FeatureConfig::of)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<FeatureConfig, A::Error> {
                list::deserialize(SeqAccessDeserializer::new(seq)).map(FeatureConfig::of)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FeatureConfig, A::Error> {
                let table = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FeatureConfig {
                    scopes: table.scopes,
                    optional_scopes: table.optional_scopes,
                    display_name: table.display_name,
                    description: table.description,
                    danger: table.danger,
                    work_account_only: table.work_account_only,
                    default: table.default,
                })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
