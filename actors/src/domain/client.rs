//! Service clients: internal services with a credential and a policy that says what they may receive.

use std::{fmt, str::FromStr};

use serde::Serialize;
use uuid::Uuid;

use super::{
    Timestamp,
    feature::FeatureKey,
    ids::{InvalidId, ProviderKey},
    provider::Provider,
    reach,
    scope::{Scope, ScopeSet},
};

/// One entry of a policy: `PROVIDER:FEATURE`, `*` standing for any.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Allow {
    /// `None`: any provider.
    pub provider: Option<ProviderKey>,
    /// The part after the provider in a feature key; `None`: any feature, and scopes outside features.
    pub feature: Option<String>,
}

impl FromStr for Allow {
    type Err = InvalidId;

    /// Reads `google:*`, `google:calendar`, `google:google.calendar` or `*:*`.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "policy entry (PROVIDER:FEATURE, * for any)",
        };
        let (provider, feature) = text.split_once(':').ok_or(invalid.clone())?;
        let feature = feature.strip_prefix(&format!("{provider}.")).unwrap_or(feature);
        let provider = match provider {
            "*" => None,
            key => Some(key.parse::<ProviderKey>().map_err(|_| invalid.clone())?),
        };
        let feature = match (feature, &provider) {
            ("*", _) => None,
            (_, None) | ("", _) => return Err(invalid),
            (name, Some(key)) => {
                format!("{key}.{name}")
                    .parse::<FeatureKey>()
                    .map_err(|_| invalid)?;
                Some(name.to_owned())
            }
        };
        Ok(Self { provider, feature })
    }
}

impl fmt::Display for Allow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = self.provider.as_ref().map_or("*", ProviderKey::as_str);
        write!(f, "{provider}:{}", self.feature.as_deref().unwrap_or("*"))
    }
}

impl Serialize for Allow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a client may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Which tokens it may receive.
    pub allow: Vec<Allow>,
    /// Whether it may open sessions for users (`POST P/sessions`).
    pub sessions: bool,
    /// Whether it is an administrator's.
    pub admin: bool,
}

impl Policy {
    fn entries_for<'a>(&'a self, provider: &'a ProviderKey) -> impl Iterator<Item = &'a Allow> {
        self.allow
            .iter()
            .filter(move |entry| entry.provider.as_ref().is_none_or(|key| key == provider))
    }

    /// Whether anything of this provider may be received.
    pub fn allows_provider(&self, provider: &ProviderKey) -> bool {
        self.entries_for(provider).next().is_some()
    }

    /// Whether every token of this provider may be received, whatever it carries.
    pub fn allows_all_of(&self, provider: &ProviderKey) -> bool {
        self.entries_for(provider).any(|entry| entry.feature.is_none())
    }

    /// Whether one of its entries is one of these words of the provider's.
    pub fn says_any(&self, provider: &ProviderKey, words: &[String]) -> bool {
        let is_said = |entry: &Allow| entry.feature.as_ref().is_none_or(|word| words.contains(word));
        self.entries_for(provider).any(is_said)
    }

    /// Whether a token may be received on behalf of this feature.
    pub fn allows_feature(&self, provider: &Provider, key: &FeatureKey) -> bool {
        let feature = provider.feature(key);
        feature
            .is_some_and(|feature| self.says_any(&provider.key, &reach::words_of_feature(provider, feature)))
    }

    /// The scopes of a token that this policy does not reach; empty: it may be received.
    pub fn beyond(&self, provider: &Provider, granted: &ScopeSet) -> ScopeSet {
        if granted.is_empty() || self.allows_all_of(&provider.key) {
            return ScopeSet::default();
        }
        let is_beyond = |scope: &&Scope| {
            let words = reach::words_of_scope(provider, scope);
            words.is_some_and(|words| !self.says_any(&provider.key, &words))
        };
        granted.iter().filter(is_beyond).collect()
    }
}

/// A service client, authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceClient {
    /// Its row.
    pub id: Uuid,
    /// Its name, unique; appears in the audit.
    pub name: String,
    /// What it may do.
    pub policy: Policy,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::feature::{FeatureNotes, FeatureSpec, Level, ScopeSpec},
        testing::provider::provider,
    };

    #[test]
    fn a_policy_entry_round_trips_and_nonsense_is_refused() {
        for text in ["google:*", "google:calendar", "*:*"] {
            assert_eq!(text.parse::<Allow>().unwrap().to_string(), text);
        }
        assert_eq!(
            "google:google.calendar".parse::<Allow>().unwrap().to_string(),
            "google:calendar"
        );
        for text in [
            "",
            "google",
            "google:",
            ":*",
            "*:calendar",
            "Google:*",
            "google:Cal",
        ] {
            assert!(text.parse::<Allow>().is_err(), "{text}");
        }
    }

    fn policy(allow: &[&str]) -> Policy {
        Policy {
            allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
            ..Policy::default()
        }
    }

    /// `google.calendar` (read), `google.calendar.write`, `google.mail`, and `google.mail.write`, which is no level.
    fn google() -> Provider {
        let mut google = provider("google");
        let like = google.features.remove(0);
        let spec = |scope: &str, category: &str, required: bool| ScopeSpec {
            scope: Scope::new(scope),
            category: category.into(),
            required,
            ..like.scopes[0].clone()
        };
        let feature =
            |key: &str, scopes: Vec<ScopeSpec>, level: Option<Level>, level_of: Option<&str>| FeatureSpec {
                key: key.parse().unwrap(),
                scopes,
                notes: FeatureNotes {
                    level,
                    level_of: level_of.map(|key| key.parse().unwrap()),
                    ..FeatureNotes::default()
                },
                ..like.clone()
            };
        let calendar = vec![
            spec("see", "read", true),
            spec("busy", "read", false),
            spec("edit", "write", false),
            spec("share", "admin", false),
        ];
        google.features = vec![
            feature("google.calendar", calendar, Some(Level::Read), None),
            feature(
                "google.calendar.write",
                vec![spec("see", "read", true), spec("edit", "write", true)],
                Some(Level::Write),
                Some("google.calendar"),
            ),
            feature("google.mail", vec![spec("mail", "read", true)], None, None),
            feature("google.mail.write", vec![spec("send", "write", true)], None, None),
        ];
        google
    }

    #[test]
    fn a_policy_reaches_its_own_features_only() {
        let allows = |policy: &Policy, key: &str| policy.allows_feature(&google(), &key.parse().unwrap());
        for (entry, reached) in [
            (
                "google:calendar",
                ["google.calendar", "google.calendar.write"].as_slice(),
            ),
            ("google:calendar.read", &["google.calendar"]),
            (
                "google:calendar.write",
                &["google.calendar", "google.calendar.write"],
            ),
            ("google:mail", &["google.mail"]),
            ("google:mail.write", &["google.mail.write"]),
            ("google:mail.read", &[]),
            ("notion:calendar", &[]),
            (
                "google:*",
                &[
                    "google.calendar",
                    "google.calendar.write",
                    "google.mail",
                    "google.mail.write",
                ],
            ),
        ] {
            for feature in google().features {
                let key = feature.key.as_str();
                assert_eq!(
                    allows(&policy(&[entry]), key),
                    reached.contains(&key),
                    "{entry} {key}"
                );
            }
        }
        assert!(!allows(&policy(&["google:*"]), "notion.calendar"));
        assert!(!policy(&["google:*"]).allows_provider(&"notion".parse().unwrap()));
    }

    #[test]
    fn what_a_policy_does_not_reach_is_named() {
        let granted: ScopeSet = [
            "openid",
            "see",
            "busy",
            "edit",
            "share",
            "mail",
            "send",
            "unheard-of",
        ]
        .into_iter()
        .collect();
        for (entries, beyond) in [
            (
                ["google:calendar"].as_slice(),
                ["mail", "send", "unheard-of"].as_slice(),
            ),
            (
                &["google:calendar.write"],
                &["mail", "send", "share", "unheard-of"],
            ),
            (
                &["google:calendar.read"],
                &["edit", "mail", "send", "share", "unheard-of"],
            ),
            (
                &["google:calendar", "google:mail", "google:mail.write"],
                &["unheard-of"],
            ),
            (&["notion:*", "google:*"], &[]),
            (&["*:*"], &[]),
        ] {
            assert_eq!(
                policy(entries).beyond(&google(), &granted).to_strings(),
                beyond,
                "{entries:?}"
            );
        }
    }
}
