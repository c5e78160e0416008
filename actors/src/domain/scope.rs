//! Scopes and sets of them. A [`ScopeSet`] always holds a provider's canonical spelling: dialects normalise at the edge.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, LazyLock},
};

use serde::{Deserialize, Serialize};

/// One scope in its provider's canonical spelling (RFC 6749 3.3).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(Arc<str>);

impl Scope {
    /// A scope of this name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of scopes; compared as a set, never as text. Cheap to clone: every hand-out carries one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(Arc<BTreeSet<Scope>>);

static NONE: LazyLock<ScopeSet> = LazyLock::new(|| ScopeSet(Arc::default()));

impl Default for ScopeSet {
    fn default() -> Self {
        NONE.clone()
    }
}

impl ScopeSet {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this very scope is in the set (implied ones are the catalogue's business).
    pub fn contains(&self, scope: &Scope) -> bool {
        self.0.contains(scope)
    }

    /// Adds one.
    pub fn insert(&mut self, scope: Scope) {
        Arc::make_mut(&mut self.0).insert(scope);
    }

    /// In a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Everything in either.
    pub fn union(&self, other: &Self) -> Self {
        if other.is_subset(self) {
            return self.clone();
        }
        Self::of(self.0.union(&other.0).cloned().collect())
    }

    /// What is here and not there.
    pub fn difference(&self, other: &Self) -> Self {
        Self::of(self.0.difference(&other.0).cloned().collect())
    }

    /// Whether all of these are there too.
    pub fn is_subset(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.is_subset(&other.0)
    }

    fn of(scopes: BTreeSet<Scope>) -> Self {
        if scopes.is_empty() {
            return Self::default();
        }
        Self(Arc::new(scopes))
    }

    /// As plain strings, for storage and answers.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(Scope::to_string).collect()
    }

    /// Joined for a request parameter.
    pub fn join(&self, separator: &str) -> String {
        self.0
            .iter()
            .map(Scope::as_str)
            .collect::<Vec<_>>()
            .join(separator)
    }
}

impl<S: AsRef<str>> FromIterator<S> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self::of(names.into_iter().map(Scope::new).collect())
    }
}

impl AsRef<str> for Scope {
    fn as_ref(&self) -> &str {
        &self.0
    }
}
