//! The catalogue of the built-in providers: which features exist, which scopes each needs, in which words a consent
//! names them. The data is `catalogue.json`; adding a scope is one line there.
//!
//! Google's data-portability scopes are absent on purpose: they must not be requested together with any other scope, so
//! they can only be a provider of their own, never an extra of `youtube.history`.

use std::collections::BTreeMap;

use oauth_manager_actors::domain::{
    consent::WordingVersion,
    feature::{FeatureSpec, ScopeSpec},
    ids::ProviderKey,
    scope::{Scope, ScopeSet},
};
use serde::Deserialize;

use super::settings::{FeatureSettings, InvalidSettings, ProviderKind, ProviderSettings};

const CATALOGUE: &str = include_str!("catalogue.json");

/// What the catalogue says about one provider.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) display_name: String,
    pub(super) base_scopes: ScopeSet,
    pub(super) features: Vec<FeatureSpec>,
}

#[derive(Deserialize)]
struct RawEntry {
    display_name: String,
    base_scopes: ScopeSet,
    features: Vec<RawFeature>,
}

#[derive(Deserialize)]
struct RawFeature {
    name: String,
    display_name: String,
    description: String,
    #[serde(default)]
    wording: Option<WordingVersion>,
    default: bool,
    scopes: Vec<RawScope>,
}

#[derive(Deserialize)]
struct RawScope {
    scope: Scope,
    display_name: String,
    description: String,
    category: String,
    required: bool,
    dangerous: bool,
    #[serde(default)]
    implied_by: ScopeSet,
}

/// The features and base scopes of a provider: the catalogue's for a built-in one, and those the operator configured.
pub(super) fn entry(settings: &ProviderSettings) -> Result<Entry, InvalidSettings> {
    let mut entry = match settings.kind {
        ProviderKind::Oidc | ProviderKind::Oauth2 => Entry {
            display_name: settings.key.to_string(),
            base_scopes: settings
                .base_scopes
                .clone()
                .unwrap_or_else(|| match settings.kind {
                    ProviderKind::Oidc => ["openid"].into_iter().collect(),
                    _ => ScopeSet::default(),
                }),
            features: Vec::new(),
        },
        built_in => built_in_entry(&settings.key, built_in)?,
    };
    for feature in &settings.features {
        entry.features.push(custom_feature(&settings.key, feature)?);
    }
    for (key, version) in &settings.wording_versions {
        let feature = entry.features.iter_mut().find(|feature| feature.key == *key);
        let unknown = || {
            InvalidSettings::new(
                &settings.key,
                format!("has no feature {key} whose wording has a version"),
            )
        };
        feature.ok_or_else(unknown)?.wording_version = *version;
    }
    settle_default(&mut entry.features);
    if let Some(name) = &settings.display_name {
        entry.display_name.clone_from(name);
    }
    Ok(entry)
}

fn built_in_entry(key: &ProviderKey, kind: ProviderKind) -> Result<Entry, InvalidSettings> {
    let mut all: BTreeMap<String, RawEntry> = serde_json::from_str(CATALOGUE)
        .map_err(|error| InvalidSettings::new(key, format!("the catalogue cannot be read: {error}")))?;
    let raw = all
        .remove(kind.as_str())
        .ok_or_else(|| InvalidSettings::new(key, "is not in the catalogue"))?;
    let features = raw
        .features
        .into_iter()
        .map(|feature| feature.under(key))
        .collect::<Result<_, _>>()?;
    Ok(Entry {
        display_name: raw.display_name,
        base_scopes: raw.base_scopes,
        features,
    })
}

impl RawFeature {
    /// The feature of the provider with this key: a second Google registration has features of its own.
    fn under(self, key: &ProviderKey) -> Result<FeatureSpec, InvalidSettings> {
        let feature_key = format!("{key}.{}", self.name)
            .parse()
            .map_err(|_| InvalidSettings::new(key, format!("{} is not a feature name", self.name)))?;
        let scopes = self
            .scopes
            .into_iter()
            .map(|scope| ScopeSpec {
                scope: scope.scope,
                display_name: scope.display_name,
                description: scope.description,
                category: scope.category,
                required: scope.required,
                dangerous: scope.dangerous,
                implied_by: scope.implied_by,
            })
            .collect();
        Ok(FeatureSpec {
            key: feature_key,
            display_name: self.display_name,
            description: self.description,
            wording_version: self.wording.unwrap_or(WordingVersion::FIRST),
            default: self.default,
            scopes,
        })
    }
}

fn custom_feature(provider: &ProviderKey, feature: &FeatureSettings) -> Result<FeatureSpec, InvalidSettings> {
    if feature.key.provider() != provider.as_str() {
        let problem = format!("feature {} must begin with the provider's key", feature.key);
        return Err(InvalidSettings::new(provider, problem));
    }
    let display_name = feature
        .display_name
        .clone()
        .unwrap_or_else(|| feature.key.name().to_owned());
    let description = feature
        .description
        .clone()
        .unwrap_or_else(|| format!("Lets the application use {display_name}."));
    let scopes = feature
        .scopes
        .iter()
        .map(|scope| ScopeSpec {
            scope: scope.clone(),
            display_name: scope.to_string(),
            description: description.clone(),
            // What a scope of an unknown provider allows is not ours to guess: the careful word stands.
            category: "write".to_owned(),
            required: true,
            dangerous: false,
            implied_by: ScopeSet::default(),
        })
        .collect();
    Ok(FeatureSpec {
        key: feature.key.clone(),
        display_name,
        description,
        wording_version: WordingVersion::FIRST,
        default: feature.default,
        scopes,
    })
}

/// Exactly one default: the last that claims it (an operator's word counts more than the catalogue's), or the first.
fn settle_default(features: &mut [FeatureSpec]) {
    let chosen = features.iter().rposition(|feature| feature.default).unwrap_or(0);
    for (index, feature) in features.iter_mut().enumerate() {
        feature.default = index == chosen;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built_in(kind: ProviderKind) -> Entry {
        entry(&ProviderSettings::new(kind.as_str().parse().unwrap(), kind)).unwrap()
    }

    #[test]
    fn each_provider_has_one_default_and_every_feature_a_required_scope() {
        for kind in ProviderKind::BUILT_IN {
            let entry = built_in(kind);
            assert_eq!(entry.features.iter().filter(|f| f.default).count(), 1, "{kind:?}");
            for feature in &entry.features {
                assert!(!feature.required_scopes().is_empty(), "{}", feature.key);
                assert!(
                    feature
                        .scopes
                        .iter()
                        .all(|s| !s.scope.as_str().contains("dataportability"))
                );
                for spec in &feature.scopes {
                    assert!(
                        ["read", "write", "admin"].contains(&spec.category.as_str()),
                        "{}",
                        spec.scope
                    );
                }
            }
        }
        let default = |kind| {
            let features = built_in(kind).features;
            features.into_iter().find(|f| f.default).unwrap().key.to_string()
        };
        assert_eq!(default(ProviderKind::Google), "google.calendar");
        assert_eq!(default(ProviderKind::Microsoft), "microsoft.calendar");
        assert_eq!(default(ProviderKind::Notion), "notion.pages");
        assert_eq!(default(ProviderKind::Youtube), "youtube.playlists");
    }

    #[test]
    fn what_youtube_no_longer_offers_is_said_plainly() {
        for feature in built_in(ProviderKind::Youtube).features {
            if ["youtube.history", "youtube.recommendations"].contains(&feature.key.as_str()) {
                assert!(
                    feature.description.contains("no longer offers"),
                    "{}",
                    feature.key
                );
            }
        }
    }

    #[test]
    fn a_wider_scope_satisfies_a_narrower_one() {
        let entry = built_in(ProviderKind::Google);
        let granted = ["https://www.googleapis.com/auth/calendar"].into_iter().collect();
        let calendar = entry
            .features
            .iter()
            .find(|f| f.key.name() == "calendar")
            .unwrap();
        assert!(calendar.missing_scopes(&granted).is_empty());
    }

    #[test]
    fn a_second_registration_has_features_under_its_own_key() {
        let entry = entry(&ProviderSettings::new(
            "work".parse().unwrap(),
            ProviderKind::Google,
        ))
        .unwrap();
        assert!(entry.features.iter().all(|f| f.key.provider() == "work"));
    }

    #[test]
    fn a_custom_feature_must_carry_its_providers_key() {
        let mut settings = ProviderSettings::new("acme".parse().unwrap(), ProviderKind::Oidc);
        settings.features.push(FeatureSettings {
            key: "other.profile".parse().unwrap(),
            display_name: None,
            description: None,
            scopes: ["profile"].into_iter().collect(),
            default: false,
        });
        assert!(entry(&settings).is_err());
        settings.features[0].key = "acme.profile".parse().unwrap();
        let entry = entry(&settings).unwrap();
        assert!(entry.features[0].default);
        assert_eq!(entry.base_scopes, ["openid"].into_iter().collect());
    }
}
