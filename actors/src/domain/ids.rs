//! Identifiers. The external form of an integration id carries its provider, so that the registry routes it without
//! a lookup; nothing else about an id means anything.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Longest accepted provider key: it appears in URLs, cookie names and table columns.
pub const PROVIDER_KEY_MAX_CHARS: usize = 40;
/// Longest accepted subject: OpenID Connect Core 2 limits `sub` to 255 ASCII characters.
pub const SUBJECT_MAX_CHARS: usize = 255;

/// A value that is not of the form its type asks for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {what}")]
pub struct InvalidId {
    /// Which kind of identifier was meant.
    pub what: &'static str,
}

/// The key of a provider, as in configuration and URLs: `[a-z][a-z0-9-]*`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ProviderKey(Arc<str>);

impl ProviderKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProviderKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut bytes = text.bytes();
        let starts_well = bytes.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on_well = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if starts_well && goes_on_well && text.len() <= PROVIDER_KEY_MAX_CHARS {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { what: "provider key" })
        }
    }
}

impl fmt::Display for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProviderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for ProviderKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One connected account. Shown outside as `<provider>_<32 hex digits>`; a UUIDv7 inside.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntegrationId {
    /// The provider it is connected to.
    pub provider: ProviderKey,
    /// The key of its row.
    pub uuid: Uuid,
}

impl IntegrationId {
    /// The id of this row at this provider.
    pub fn new(provider: ProviderKey, uuid: Uuid) -> Self {
        Self { provider, uuid }
    }
}

impl fmt::Display for IntegrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.provider, self.uuid.simple())
    }
}

impl fmt::Debug for IntegrationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IntegrationId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "integration id",
        };
        let (provider, hex) = text.rsplit_once('_').ok_or(invalid.clone())?;
        if hex.len() != 32 || hex.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(invalid);
        }
        let uuid = Uuid::try_parse(hex).map_err(|_| invalid.clone())?;
        let provider = provider.parse().map_err(|_| invalid)?;
        Ok(Self { provider, uuid })
    }
}

impl Serialize for IntegrationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IntegrationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The application's name for one of its users: the `sub` of the JWT it issues. The owner of everything here.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Subject(Arc<str>);

impl Subject {
    /// The subject as the application spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Subject {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let fits = !text.is_empty() && text.chars().count() <= SUBJECT_MAX_CHARS;
        if fits && !text.chars().any(char::is_control) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidId { what: "user" })
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::try_parse(text).map(Self).map_err(|_| InvalidId { what: stringify!($name) })
            }
        }
    };
}

uuid_id!(
    /// The key of a user's row. Only storage and sealing see it; everything else speaks of [`Subject`].
    UserId
);
uuid_id!(
    /// One pending or finished connect flow.
    AuthorizationId
);
uuid_id!(
    /// One run of this program; written into claims so that an operator can tell who holds them.
    NodeId
);
uuid_id!(
    /// One attempt at a refresh: the fence of the claim it holds.
    AttemptId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integration_id_round_trips_through_its_external_form() {
        let id = IntegrationId::new("my-idp".parse().unwrap(), Uuid::from_u128(0xabc));
        assert_eq!(id.to_string(), "my-idp_00000000000000000000000000000abc");
        assert_eq!(id.to_string().parse::<IntegrationId>().unwrap(), id);
    }

    #[test]
    fn a_malformed_id_is_refused() {
        for text in [
            "",
            "google",
            "google_",
            "_00000000000000000000000000000abc",
            "google_ABC",
            "Google_00000000000000000000000000000abc",
            "google_00000000-0000-0000-0000-000000000abc",
        ] {
            assert!(text.parse::<IntegrationId>().is_err(), "{text}");
        }
        for text in ["", "1a", "a_b", "Ä", "a b"] {
            assert!(text.parse::<ProviderKey>().is_err(), "{text}");
        }
        assert!("a\nb".parse::<Subject>().is_err());
        assert!("x".repeat(256).parse::<Subject>().is_err());
    }
}
