//! Service clients: internal services with a credential and a policy that says what they may receive.

use std::{fmt, str::FromStr};

use serde::Serialize;
use uuid::Uuid;

use super::{
    Timestamp,
    feature::FeatureKey,
    ids::{InvalidId, ProviderKey},
    provider::Provider,
    scope::ScopeSet,
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

    /// Whether a token may be received on behalf of this feature.
    pub fn allows_feature(&self, provider: &ProviderKey, feature: &FeatureKey) -> bool {
        feature.provider() == provider.as_str()
            && self
                .entries_for(provider)
                .any(|entry| entry.feature.as_deref().is_none_or(|name| name == feature.name()))
    }

    /// The scopes of a token that this policy does not reach; empty: it may be received.
    pub fn beyond(&self, provider: &Provider, granted: &ScopeSet) -> ScopeSet {
        if self.allows_all_of(&provider.key) {
            return ScopeSet::default();
        }
        let allowed: ScopeSet = provider
            .features
            .iter()
            .filter(|feature| self.allows_feature(&provider.key, &feature.key))
            .flat_map(|feature| feature.scopes.iter().map(|spec| &spec.scope))
            .chain(provider.base_scopes.iter())
            .collect();
        granted.difference(&allowed)
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

    #[test]
    fn a_policy_reaches_its_own_features_only() {
        let policy = Policy {
            allow: vec!["google:calendar".parse().unwrap()],
            ..Policy::default()
        };
        let google: ProviderKey = "google".parse().unwrap();
        assert!(policy.allows_feature(&google, &"google.calendar".parse().unwrap()));
        assert!(!policy.allows_feature(&google, &"google.gmail".parse().unwrap()));
        assert!(!policy.allows_feature(&google, &"notion.calendar".parse().unwrap()));
        assert!(!policy.allows_provider(&"notion".parse().unwrap()));
    }
}
