//! The catalogue of the built-in providers: which features exist, which scopes each needs, in which words a consent
//! names them. The data is `catalogue.json`; adding a scope is one line there.
//!
//! Google's data-portability scopes are absent on purpose: they must not be requested together with any other scope, so
//! they can only be a provider of their own, never an extra of `youtube.history`.

use std::collections::BTreeMap;

use oauth_manager_actors::domain::{
    consent::WordingVersion,
    feature::{FeatureKey, FeatureNotes, FeatureSpec, Level, ScopeKind, ScopeSpec},
    ids::ProviderKey,
    implication,
    scope::{Scope, ScopeSet},
};
use serde::Deserialize;

use super::{
    feature_override, microsoft,
    settings::{FeatureSettings, InvalidSettings, ProviderKind, ProviderSettings},
};

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
#[serde(deny_unknown_fields)]
struct RawFeature {
    name: String,
    display_name: String,
    description: String,
    #[serde(default)]
    wording: Option<WordingVersion>,
    default: bool,
    danger: Option<String>,
    no_longer_offered: Option<String>,
    #[serde(default)]
    work_account_only: bool,
    level: Option<Level>,
    #[serde(default)]
    levels: Vec<RawLevel>,
    scopes: Vec<RawScope>,
}

/// A wider level of a feature: a feature of its own, with words of its own, that includes what it widens.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLevel {
    level: Level,
    display_name: String,
    description: String,
    danger: String,
    requires: ScopeSet,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScope {
    scope: Scope,
    display_name: String,
    description: String,
    category: String,
    required: bool,
    dangerous: bool,
    #[serde(default)]
    implied_by: ScopeSet,
    #[serde(default)]
    kind: ScopeKind,
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
    if settings.tenant.as_deref().is_some_and(microsoft::is_consumers) {
        // Nobody who can sign in there could have them.
        entry.features.retain(|feature| !feature.notes.work_account_only);
    }
    for feature in &settings.features {
        let made = custom_feature(&settings.key, feature)?;
        feature_override::take_in(&mut entry.features, feature, made);
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
    declare_inclusions(settings, &mut entry.features)?;
    settle_default(&mut entry.features);
    implication::complete(&mut entry.features);
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
    let mut features = Vec::new();
    for feature in raw.features {
        features.extend(feature.under(key)?);
    }
    Ok(Entry {
        display_name: raw.display_name,
        base_scopes: raw.base_scopes,
        features,
    })
}

impl RawFeature {
    /// The feature of the provider with this key, and its levels: a second Google registration has features of its own.
    fn under(self, key: &ProviderKey) -> Result<Vec<FeatureSpec>, InvalidSettings> {
        let feature_key = |name: &str| {
            let parsed = format!("{key}.{name}").parse::<FeatureKey>();
            parsed.map_err(|_| InvalidSettings::new(key, format!("{name} is not a feature name")))
        };
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
                kind: scope.kind,
            })
            .collect();
        let base = FeatureSpec {
            key: feature_key(&self.name)?,
            display_name: self.display_name,
            description: self.description,
            wording_version: self.wording.unwrap_or(WordingVersion::FIRST),
            default: self.default,
            scopes,
            notes: FeatureNotes {
                level: self.level,
                level_of: None,
                danger: self.danger,
                work_account_only: self.work_account_only,
                no_longer_offered: self.no_longer_offered,
            },
        };
        let mut features = vec![base];
        for level in self.levels {
            let key = feature_key(&format!("{}.{}", self.name, level.level.as_str()))?;
            let widened = level.of(&features[0], key);
            features.push(widened);
        }
        Ok(features)
    }
}

impl RawLevel {
    /// It needs what it widens needs, except what its own scopes include anyway.
    fn of(self, base: &FeatureSpec, key: FeatureKey) -> FeatureSpec {
        let is_included =
            |spec: &ScopeSpec| spec.implied_by.iter().any(|wider| self.requires.contains(wider));
        let is_needed =
            |spec: &&ScopeSpec| self.requires.contains(&spec.scope) || (spec.required && !is_included(spec));
        let needed = base.scopes.iter().filter(is_needed).map(|spec| ScopeSpec {
            required: true,
            ..spec.clone()
        });
        FeatureSpec {
            key,
            display_name: self.display_name,
            description: self.description,
            wording_version: base.wording_version,
            default: false,
            scopes: needed.collect(),
            notes: FeatureNotes {
                level: Some(self.level),
                level_of: Some(base.key.clone()),
                danger: Some(self.danger),
                work_account_only: base.notes.work_account_only,
                no_longer_offered: None,
            },
        }
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
    let spec = |scope: &Scope, required: bool| ScopeSpec {
        scope: scope.clone(),
        display_name: scope.to_string(),
        description: description.clone(),
        // What a scope of an unknown provider allows is not ours to guess: the careful word stands.
        category: "write".to_owned(),
        required,
        dangerous: feature.danger.is_some(),
        implied_by: ScopeSet::default(),
        kind: ScopeKind::Scope,
    };
    let optional = feature.optional_scopes.difference(&feature.scopes);
    let scopes = feature
        .scopes
        .iter()
        .map(|scope| spec(scope, true))
        .chain(optional.iter().map(|scope| spec(scope, false)))
        .collect();
    Ok(FeatureSpec {
        key: feature.key.clone(),
        display_name,
        description,
        wording_version: WordingVersion::FIRST,
        default: feature.default,
        scopes,
        notes: FeatureNotes {
            danger: feature.danger.clone(),
            work_account_only: feature.work_account_only,
            ..FeatureNotes::default()
        },
    })
}

/// What the operator says about which scopes include which. An inclusion may go through scopes that no feature names; one
/// of a scope that plays no part is a slip of the pen.
fn declare_inclusions(
    settings: &ProviderSettings,
    features: &mut [FeatureSpec],
) -> Result<(), InvalidSettings> {
    let declared = &settings.implied_by;
    let is_named = |scope: &Scope| {
        features
            .iter()
            .any(|feature| feature.scopes.iter().any(|spec| spec.scope == *scope))
    };
    let is_wider = |scope: &Scope| declared.values().any(|wider| wider.contains(scope));
    if let Some(scope) = declared.keys().find(|scope| !is_named(scope) && !is_wider(scope)) {
        return Err(InvalidSettings::new(
            &settings.key,
            format!("no feature needs the scope {scope}"),
        ));
    }
    for spec in features.iter_mut().flat_map(|feature| &mut feature.scopes) {
        let mut open = vec![spec.scope.clone()];
        while let Some(scope) = open.pop() {
            for wider in declared.get(&scope).into_iter().flat_map(ScopeSet::iter) {
                if *wider != spec.scope && !spec.implied_by.contains(wider) {
                    spec.implied_by.insert(wider.clone());
                    open.push(wider.clone());
                }
            }
        }
    }
    Ok(())
}

/// Exactly one default: the last that claims it (an operator's word counts more than the catalogue's), or the first.
fn settle_default(features: &mut [FeatureSpec]) {
    let chosen = features.iter().rposition(|feature| feature.default).unwrap_or(0);
    for (index, feature) in features.iter_mut().enumerate() {
        feature.default = index == chosen;
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
