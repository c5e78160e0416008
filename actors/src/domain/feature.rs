//! Features: what a user switches on (`google.calendar`), and the scopes each needs.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Timestamp,
    consent::{Lapse, WordingVersion},
    ids::{InvalidId, ProviderKey},
    scope::{Scope, ScopeSet},
};

/// The key of a feature: `<provider>.<name>`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FeatureKey(Arc<str>);

impl FeatureKey {
    /// The whole key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider it belongs to.
    pub fn provider(&self) -> &str {
        self.0.split_once('.').map_or("", |(provider, _)| provider)
    }

    /// The part after the provider.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl FromStr for FeatureKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId { what: "feature" };
        let (provider, name) = text.split_once('.').ok_or(invalid.clone())?;
        provider.parse::<ProviderKey>().map_err(|_| invalid.clone())?;
        let well_formed = !name.is_empty()
            && name.len() <= 64
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(invalid)
        }
    }
}

impl fmt::Display for FeatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FeatureKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for FeatureKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One scope of the catalogue, with the words a consent shows for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScopeSpec {
    /// Canonical name.
    pub scope: Scope,
    /// A few words.
    pub display_name: String,
    /// One sentence for the user.
    pub description: String,
    /// `read`, `write` or `admin`.
    pub category: String,
    /// Whether the feature does not work without it.
    pub required: bool,
    /// Whether the provider restricts it or it reaches far.
    pub dangerous: bool,
    /// Wider scopes that include this one, directly or through others.
    pub implied_by: ScopeSet,
    /// Whether it is asked for by name.
    pub kind: ScopeKind,
}

/// How a provider lets a scope be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScopeKind {
    /// Named in the authorization request, granted or refused by the user.
    #[default]
    Scope,
    /// Set by the operator in the provider's own settings, the same for every user; the user chooses only what it reaches
    /// (Notion's page picker).
    Capability,
}

/// How far a feature goes. A wider level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Looks, and changes nothing.
    Read,
    /// Changes things as well.
    Write,
}

impl Level {
    /// From the narrowest to the widest.
    pub const ALL: [Self; 2] = [Self::Read, Self::Write];

    /// As in keys (`google.calendar.write`), policies and answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    /// Whether scopes of this category (`read`, `write`, `admin`) go no further.
    pub fn covers(self, category: &str) -> bool {
        category == "read" || (category == "write" && self == Self::Write)
    }
}

/// What a user should know of a feature, and a developer of its place among the others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct FeatureNotes {
    /// How far it goes, where that is a choice.
    pub level: Option<Level>,
    /// The feature this one widens (`google.calendar` of `google.calendar.write`): it is switched on with it, and this one
    /// goes off with it.
    pub level_of: Option<FeatureKey>,
    /// What could go wrong if the user allows it, in one sentence; `None`: it reaches nothing that would hurt.
    pub danger: Option<String>,
    /// Whether personal accounts cannot have it.
    pub work_account_only: bool,
    /// What its name promises and the provider no longer offers; its description says what there is instead.
    pub no_longer_offered: Option<String>,
}

/// A feature as declared by its provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureSpec {
    /// `<provider>.<name>`.
    pub key: FeatureKey,
    /// A few words.
    pub display_name: String,
    /// One sentence for the user; says so where the provider no longer offers what the name promises.
    pub description: String,
    /// Version of these words, as a consent names it.
    pub wording_version: WordingVersion,
    /// Requested when the caller names neither features nor scopes.
    pub default: bool,
    /// Every scope that belongs to it.
    pub scopes: Vec<ScopeSpec>,
    /// What else there is to know.
    #[serde(flatten)]
    pub notes: FeatureNotes,
}

impl FeatureSpec {
    /// What a user agrees to by switching it on, sentence by sentence: what it is for, what to mind, and what it needs.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let danger = self.notes.danger.iter().map(|danger| format!("Mind: {danger}"));
        let needs = self.scopes.iter().filter(|spec| spec.required);
        let need = |spec: &ScopeSpec| format!("{}: {}", spec.display_name, spec.description);
        let about = std::iter::once(self.description.clone()).chain(danger);
        about.chain(needs.map(need))
    }

    /// The feature that this one is a level of; itself, if it is none.
    pub fn base(&self) -> &FeatureKey {
        self.notes.level_of.as_ref().unwrap_or(&self.key)
    }

    /// The scopes without which the feature does not work.
    pub fn required_scopes(&self) -> ScopeSet {
        self.scopes
            .iter()
            .filter(|spec| spec.required)
            .map(|spec| &spec.scope)
            .collect()
    }

    /// What is missing of the required scopes in this grant; a wider scope that implies one satisfies it.
    pub fn missing_scopes(&self, granted: &ScopeSet) -> ScopeSet {
        self.scopes
            .iter()
            .filter(|spec| spec.required && !granted.contains(&spec.scope))
            .filter(|spec| !spec.implied_by.iter().any(|wider| granted.contains(wider)))
            .map(|spec| &spec.scope)
            .collect()
    }
}

/// How a feature stands for one integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureStatus {
    /// Not switched on.
    Inactive,
    /// Switched on, and the provider granted its scopes.
    Active,
    /// Switched on, but the provider granted less.
    MissingScopes,
    /// Switched on and granted, but what the user agreed to does not hold any more: they must be asked again.
    ConsentRequired,
    /// Switched on, but the whole grant is dead.
    ReauthRequired,
}

impl FeatureStatus {
    /// Of several accounts, the one that serves the user best decides.
    pub fn rank(self) -> u8 {
        match self {
            Self::Active => 4,
            Self::ConsentRequired => 3,
            Self::MissingScopes => 2,
            Self::ReauthRequired => 1,
            Self::Inactive => 0,
        }
    }
}

/// A feature's standing, as shown in views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureState {
    /// Which.
    pub key: FeatureKey,
    /// How it stands.
    pub status: FeatureStatus,
    /// What is missing when it stands at `missing_scopes`.
    pub missing_scopes: ScopeSet,
    /// Until when what the user agreed to holds; `None`: until taken back.
    pub consent_expires_at: Option<Timestamp>,
    /// Why it does not hold when it stands at `consent_required`.
    pub consent_lapse: Option<Lapse>,
}
