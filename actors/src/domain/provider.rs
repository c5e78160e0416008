//! What the actors and the API know of a provider: its catalogue and its rules. Its wire dialect is the engine's business.

use std::{fmt, sync::Arc, time::Duration};

use serde::Serialize;

pub use super::refresh_class::RefreshClass;
use super::{
    feature::{FeatureKey, FeatureSpec, ScopeSpec},
    ids::ProviderKey,
    scope::{Scope, ScopeSet},
};

/// What calls to a provider are counted against: its token endpoint and our client id there. Two providers of one
/// registration (Google and YouTube in one project) share it, because the provider throttles and refuses the client; two
/// registrations at one provider do not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct BudgetKey(Arc<str>);

impl BudgetKey {
    /// Takes a name; the same on every node that is configured alike, and nothing secret.
    pub fn new(key: &str) -> Self {
        Self(key.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BudgetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A provider as the rest of the system sees it.
#[derive(Debug, Clone, Serialize)]
pub struct Provider {
    /// Its key.
    pub key: ProviderKey,
    /// Its name for users.
    pub display_name: String,
    /// Whether client credentials are configured; without them it can be shown but not connected.
    pub configured: bool,
    /// Scopes asked for with every authorization: identity, and what a refresh token needs.
    pub base_scopes: ScopeSet,
    /// What can be switched on.
    pub features: Vec<FeatureSpec>,
    /// Whether scopes outside the catalogue may be asked for (a custom provider whose operator allows it).
    pub open_scopes: bool,
    /// Whether its answers say which scopes were granted; if not, what was requested stands (RFC 6749 5.1).
    pub reports_scopes: bool,
    /// Whether new tokens carry, unasked, what the account granted before: then only what is missing is asked for.
    #[serde(skip)]
    pub incremental: bool,
    /// Whether all connections of one account at one client are one grant, which ends as a whole.
    #[serde(skip)]
    pub shares_grants: bool,
    /// What a lost refresh answer means.
    pub refresh_class: RefreshClass,
    /// How long before its end a token is refreshed at the latest; `None`: the general rule alone.
    #[serde(skip)]
    pub refresh_margin: Option<Duration>,
    /// How often an account that nobody asks for is refreshed, so that its refresh token does not end unused; `None`: its
    /// rules are not known, and what has an end is refreshed as if it were in use.
    #[serde(skip)]
    pub keep_alive: Option<Duration>,
    /// How long a refresh token lives from the consent, however often it is used, where the provider does not say.
    #[serde(skip)]
    pub refresh_token_lifetime: Option<Duration>,
    /// What calls to it are counted against.
    #[serde(skip)]
    pub budget: BudgetKey,
    /// How many calls of one node may be under way at once.
    #[serde(skip)]
    pub max_concurrency: usize,
    /// Whether a refresh that names fewer scopes may give a token that carries fewer.
    #[serde(skip)]
    pub narrows: bool,
    /// How many calls per second all nodes together may make; `None`: as many as there are.
    #[serde(skip)]
    pub rate: Option<f64>,
    /// Whether the provider has a way to revoke a grant, and what a user can do where it has none.
    pub revocation: RevocationSupport,
}

/// Whether a grant can be ended at the provider by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "support", rename_all = "snake_case")]
pub enum RevocationSupport {
    /// It has a revocation endpoint.
    Supported,
    /// It has none.
    Unsupported {
        /// Why, and what the user can do there.
        reason: String,
    },
}

impl Provider {
    /// The feature of this key, if declared.
    pub fn feature(&self, key: &FeatureKey) -> Option<&FeatureSpec> {
        self.features.iter().find(|feature| feature.key == *key)
    }

    /// Whether this scope is in the catalogue (or any scope may be asked for).
    pub fn knows_scope(&self, scope: &Scope) -> bool {
        self.open_scopes
            || self.base_scopes.contains(scope)
            || self
                .features
                .iter()
                .any(|feature| feature.scopes.iter().any(|spec| spec.scope == *scope))
    }

    /// Which of the wanted scopes this grant does not cover, wider scopes counting for what they include.
    pub fn uncovered(&self, wanted: &ScopeSet, granted: &ScopeSet) -> ScopeSet {
        wanted
            .iter()
            .filter(|scope| !self.covers(granted, scope))
            .collect()
    }

    /// What a grant amounts to: what was granted, and what that includes.
    pub fn effective(&self, granted: &ScopeSet) -> ScopeSet {
        let included = self
            .specs()
            .filter(|spec| spec.implied_by.iter().any(|wider| granted.contains(wider)));
        granted.union(&included.map(|spec| &spec.scope).collect())
    }

    fn covers(&self, granted: &ScopeSet, scope: &Scope) -> bool {
        let includes = |spec: &ScopeSpec| {
            spec.scope == *scope && spec.implied_by.iter().any(|wider| granted.contains(wider))
        };
        granted.contains(scope) || self.specs().any(includes)
    }

    fn specs(&self) -> impl Iterator<Item = &ScopeSpec> {
        self.features.iter().flat_map(|feature| &feature.scopes)
    }

    /// The levels of this feature, or of the one it is a level of; the narrowest first.
    pub fn levels_of(&self, feature: &FeatureSpec) -> impl Iterator<Item = &FeatureSpec> {
        let base = feature.base();
        let is_level = move |other: &&FeatureSpec| other.notes.level_of.as_ref() == Some(base);
        self.features.iter().filter(is_level)
    }

    /// What is on when this feature is: itself, what it widens, and the narrower levels between.
    pub fn included_in<'a>(&'a self, key: &'a FeatureKey) -> impl Iterator<Item = &'a FeatureKey> {
        let feature = self
            .feature(key)
            .filter(|feature| feature.notes.level_of.is_some());
        let narrower = feature.into_iter().flat_map(|feature| {
            let levels = self.levels_of(feature);
            let below = levels.filter(|other| other.notes.level < feature.notes.level);
            std::iter::once(feature.base()).chain(below.map(|other| &other.key))
        });
        narrower.chain(std::iter::once(key))
    }

    /// What goes off when this feature does: every level that includes it, the widest first, then itself.
    pub fn including<'a>(&'a self, key: &'a FeatureKey) -> Vec<&'a FeatureKey> {
        let feature = self.feature(key);
        let wider = feature.into_iter().flat_map(|feature| {
            self.levels_of(feature)
                .filter(|other| feature.notes.level_of.is_none() || other.notes.level > feature.notes.level)
        });
        let mut keys: Vec<_> = wider
            .map(|other| &other.key)
            .filter(|other| *other != key)
            .collect();
        keys.reverse();
        keys.push(key);
        keys
    }

    /// The features a scope is for: those that need it, or, where none does, those it belongs to.
    pub fn features_for(&self, scope: &Scope) -> Vec<&FeatureSpec> {
        let with = |needed: bool| {
            let has = move |spec: &ScopeSpec| spec.scope == *scope && (spec.required || !needed);
            let features = self.features.iter();
            features.filter(move |feature| feature.scopes.iter().any(has))
        };
        let needing: Vec<_> = with(true).collect();
        if needing.is_empty() {
            with(false).collect()
        } else {
            needing
        }
    }
}
