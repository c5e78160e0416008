//! Scopes and sets of them. A [`ScopeSet`] always holds a provider's canonical spelling: dialects normalise at the edge.

use std::{collections::BTreeSet, fmt, sync::Arc};

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "BTreeSet<Scope>")]
pub struct ScopeSet(
    /// `None`: the empty set, so that those who make one do not all count references in one place.
    Option<Arc<BTreeSet<Scope>>>,
);

static EMPTY: BTreeSet<Scope> = BTreeSet::new();

impl ScopeSet {
    fn scopes(&self) -> &BTreeSet<Scope> {
        self.0.as_deref().unwrap_or(&EMPTY)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.scopes().len()
    }

    /// Whether this very scope is in the set (implied ones are the catalogue's business).
    pub fn contains(&self, scope: &Scope) -> bool {
        self.scopes().contains(scope)
    }

    /// Adds one.
    pub fn insert(&mut self, scope: Scope) {
        Arc::make_mut(self.0.get_or_insert_default()).insert(scope);
    }

    /// In a stable order.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.scopes().iter()
    }

    /// Everything in either.
    pub fn union(&self, other: &Self) -> Self {
        if other.is_subset(self) {
            return self.clone();
        }
        Self::of(self.scopes().union(other.scopes()).cloned().collect())
    }

    /// What is here and not there.
    pub fn difference(&self, other: &Self) -> Self {
        Self::of(self.scopes().difference(other.scopes()).cloned().collect())
    }

    /// Whether all of these are there too.
    pub fn is_subset(&self, other: &Self) -> bool {
        self.is_same(other) || self.scopes().is_subset(other.scopes())
    }

    fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    fn of(scopes: BTreeSet<Scope>) -> Self {
        Self((!scopes.is_empty()).then(|| Arc::new(scopes)))
    }

    /// As plain strings, for storage and answers.
    pub fn to_strings(&self) -> Vec<String> {
        self.scopes().iter().map(Scope::to_string).collect()
    }

    /// Joined for a request parameter.
    pub fn join(&self, separator: &str) -> String {
        self.scopes()
            .iter()
            .map(Scope::as_str)
            .collect::<Vec<_>>()
            .join(separator)
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.scopes().serialize(serializer)
    }
}

impl From<BTreeSet<Scope>> for ScopeSet {
    fn from(scopes: BTreeSet<Scope>) -> Self {
        Self::of(scopes)
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
