//! Consents: who agreed to what, and what came of it. They outlive the integration they describe.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Timestamp,
    feature::FeatureKey,
    ids::{IntegrationId, InvalidId, ProviderKey, Subject},
    scope::ScopeSet,
};

/// Version of the words that name a feature to a user. The major part counts up when their meaning changes: whoever agreed
/// to an older one is asked again. The minor part is for everything that changes no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WordingVersion {
    /// What was agreed to.
    pub major: u32,
    /// How it was said.
    pub minor: u32,
}

impl WordingVersion {
    /// Of words that never changed.
    pub const FIRST: Self = Self { major: 1, minor: 0 };
}

impl fmt::Display for WordingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for WordingVersion {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let number = |part: &str| part.parse().ok().filter(|_| !part.starts_with('+'));
        text.split_once('.')
            .and_then(|(major, minor)| {
                Some(Self {
                    major: number(major)?,
                    minor: number(minor)?,
                })
            })
            .ok_or(InvalidId {
                what: "wording version",
            })
    }
}

impl Serialize for WordingVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for WordingVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The words a user is shown before leaving for a provider, for one feature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wording {
    /// Which feature; `None`: scopes that were asked for by name.
    pub feature: Option<FeatureKey>,
    /// Their version.
    pub wording_version: WordingVersion,
    /// Their digest, in hexadecimal.
    pub wording_hash: String,
    /// The words themselves.
    pub wording: String,
}

/// Which words a connect flow showed: [`Wording`] without the words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Which feature; `None`: scopes that were asked for by name.
    pub feature: Option<FeatureKey>,
    /// Their version.
    pub version: WordingVersion,
    /// Their digest, in hexadecimal.
    pub hash: String,
}

impl From<&Wording> for Shown {
    fn from(wording: &Wording) -> Self {
        Self {
            feature: wording.feature.clone(),
            version: wording.wording_version,
            hash: wording.wording_hash.clone(),
        }
    }
}

/// What stands agreed to for one feature of an account: of its last consent, what a hand-out must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// To which words.
    pub wording: WordingVersion,
    /// Until when it holds; `None`: until taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Whether it was taken back. Said of scopes asked for by name only: a feature that was taken back is off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// Why a consent that was given does not hold any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Lapse {
    /// Its user took it back.
    Withdrawn,
    /// Its time is over.
    Expired,
    /// The words mean something else by now.
    WordingChanged,
}

impl Lapse {
    /// As shown to callers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "consent_withdrawn",
            Self::Expired => "consent_expired",
            Self::WordingChanged => "consent_outdated",
        }
    }
}

impl Agreement {
    /// Why it does not hold for these words at this moment, if so.
    pub fn lapse(&self, wording: WordingVersion, now: Timestamp) -> Option<Lapse> {
        if self.withdrawn {
            Some(Lapse::Withdrawn)
        } else if self.expires_at.is_some_and(|end| end <= now) {
            Some(Lapse::Expired)
        } else if self.wording.major < wording.major {
            Some(Lapse::WordingChanged)
        } else {
            None
        }
    }
}

/// What stands agreed to for an account.
///
/// A feature that is on and not listed was switched on before versions were kept: its words were the first ones. A feature
/// that is listed and not on was taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agreements {
    /// By feature.
    pub features: BTreeMap<FeatureKey, Agreement>,
    /// For scopes that were asked for by name.
    pub scopes: Option<Agreement>,
}

impl Agreements {
    /// Where the agreement about scopes stands in the stored form: no feature's key, for want of a dot.
    pub const SCOPES: &str = "scopes";

    /// What these consents make stand.
    pub fn of<'a>(consents: impl IntoIterator<Item = &'a NewConsent>) -> Self {
        let mut agreements = Self::default();
        for consent in consents {
            let agreement = Agreement {
                wording: consent.wording_version,
                expires_at: consent.expires_at,
                withdrawn: false,
            };
            for feature in &consent.features {
                agreements.features.insert(feature.clone(), agreement);
            }
            if consent.features.is_empty() {
                agreements.scopes = Some(agreement);
            }
        }
        agreements
    }

    /// Adds what was agreed to later.
    pub fn extend(&mut self, later: Self) {
        self.features.extend(later.features);
        self.scopes = later.scopes.or(self.scopes);
    }

    /// As stored.
    pub fn to_json(&self) -> serde_json::Value {
        let features = self.features.iter().map(|(key, value)| (key.as_str(), value));
        let scopes = self.scopes.iter().map(|value| (Self::SCOPES, value));
        serde_json::json!(features.chain(scopes).collect::<BTreeMap<_, _>>())
    }

    /// As read.
    ///
    /// # Errors
    /// It is not what [`to_json`](Self::to_json) writes.
    pub fn from_json(stored: serde_json::Value) -> Result<Self, serde_json::Error> {
        let mut all: BTreeMap<String, Agreement> = serde_json::from_value(stored)?;
        let scopes = all.remove(Self::SCOPES);
        let one = |(key, value): (String, Agreement)| {
            let key = key.parse::<FeatureKey>().map_err(serde::de::Error::custom)?;
            Ok((key, value))
        };
        let features = all
            .into_iter()
            .map(one)
            .collect::<Result<_, serde_json::Error>>()?;
        Ok(Self { features, scopes })
    }
}

/// A consent on its way into storage, written in the transaction of the connection it allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConsent {
    /// What was asked for.
    pub requested_scopes: ScopeSet,
    /// What the provider granted.
    pub granted_scopes: ScopeSet,
    /// What was to be switched on: one feature, or none if scopes were asked for by name.
    pub features: BTreeSet<FeatureKey>,
    /// Version of the wording shown.
    pub wording_version: WordingVersion,
    /// SHA-256 of the wording shown, in hexadecimal.
    pub wording_hash: String,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// Until when it holds; `None`: until taken back.
    pub expires_at: Option<Timestamp>,
}

/// A consent as shown to its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsentView {
    /// Its row.
    pub id: Uuid,
    /// What it was for.
    pub integration_id: IntegrationId,
    /// Provider key.
    pub provider: ProviderKey,
    /// Whose.
    pub user: Subject,
    /// What was to be switched on.
    pub features: BTreeSet<FeatureKey>,
    /// What was asked for.
    pub requested_scopes: ScopeSet,
    /// What the provider granted.
    pub granted_scopes: ScopeSet,
    /// Version of the wording shown.
    pub wording_version: WordingVersion,
    /// SHA-256 of the wording shown.
    pub wording_hash: String,
    /// The wording shown; `None`: it was not kept yet.
    pub wording: Option<String>,
    /// When.
    pub granted_at: Timestamp,
    /// Until when it holds.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub withdrawn_at: Option<Timestamp>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}
