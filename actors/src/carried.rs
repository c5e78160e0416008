//! What an account's token gives to whom, worked out once for every grant like it. A hand-out from the shelf only compares;
//! why something is refused is [`answer`](crate::integration::answer)'s business, and the two never disagree.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use crate::{
    domain::{
        client::ServiceClient,
        feature::{FeatureKey, FeatureSpec},
        integration::StoredIntegration,
        provider::Provider,
        reach,
        scope::{Scope, ScopeSet},
    },
    integration::message::{Need, Recipient},
};

/// Of one provider's accounts, only few kinds of grants differ: as many as users choose different features.
const KINDS_MAX: usize = 1_024;

/// What a token gives.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The features that are granted and switched on, each with the words of a policy that reach it.
    active: Box<[(FeatureKey, Box<[String]>)]>,
    /// Whether a token may be had without saying what for.
    is_on: bool,
    /// What may be asked for by name: everything the grant amounts to, except what the user switched off.
    served: ScopeSet,
    /// For every scope the token carries: the words of which a policy must say one.
    words: Box<[Box<[String]>]>,
}

impl Carried {
    pub(crate) fn of(provider: &Provider, stored: &StoredIntegration) -> Self {
        let is_active = |feature: &&FeatureSpec| {
            stored.features.contains(&feature.key) && feature.missing_scopes(&stored.scopes).is_empty()
        };
        let with_words = |feature: &FeatureSpec| {
            let words = reach::words_of_feature(provider, feature);
            (feature.key.clone(), words.into())
        };
        let effective = provider.effective(&stored.scopes);
        let is_served = |scope: &&Scope| off(provider, stored, scope).is_none();
        let words: BTreeSet<_> = stored
            .scopes
            .iter()
            .filter_map(|scope| reach::words_of_scope(provider, scope))
            .collect();
        Self {
            is_on: all_off(provider, stored).is_none(),
            active: provider
                .features
                .iter()
                .filter(is_active)
                .map(with_words)
                .collect(),
            served: effective.iter().filter(is_served).collect(),
            words: words.into_iter().map(Into::into).collect(),
        }
    }

    /// Whether this is all that is needed, and whoever needs it may have it. `false` says nothing about why.
    pub(crate) fn gives(&self, provider: &Provider, need: &Need<'_>) -> bool {
        let carries = match need.feature {
            None => Some(None),
            Some(key) => self.active.iter().find(|(active, _)| active == key).map(Some),
        };
        let Some(feature) = carries else { return false };
        let is_on = self.is_on || need.feature.is_some() || !need.scopes.is_empty();
        is_on
            && need.scopes.is_subset(&self.served)
            && match need.recipient {
                Recipient::InProcess => true,
                Recipient::Client(client) => {
                    self.is_within(provider, client, feature.map(|(_, words)| &**words))
                }
            }
    }

    fn is_within(&self, provider: &Provider, client: &ServiceClient, feature: Option<&[String]>) -> bool {
        let (policy, key) = (&client.policy, &provider.key);
        let all = feature.into_iter().chain(self.words.iter().map(|words| &**words));
        policy.allows_all_of(key)
            || (policy.allows_provider(key) && { all }.all(|words| policy.says_any(key, words)))
    }
}

/// The feature because of which this scope is not served although it is granted: the user switched it off, and no feature
/// that is on needs the scope. A scope that was granted by itself, without a feature, is served.
pub(crate) fn off<'p>(
    provider: &'p Provider,
    stored: &StoredIntegration,
    scope: &Scope,
) -> Option<&'p FeatureKey> {
    if provider.base_scopes.contains(scope) {
        return None;
    }
    let features = provider.features_for(scope);
    if features
        .iter()
        .any(|feature| stored.features.contains(&feature.key))
    {
        return None;
    }
    let is_granted = |feature: &&&FeatureSpec| feature.missing_scopes(&stored.scopes).is_empty();
    features.iter().find(is_granted).map(|feature| &feature.key)
}

/// The feature because of which nothing is served of this account to whoever does not say what for: all that was granted
/// beyond what every token carries belongs to features that are off.
pub(crate) fn all_off<'p>(provider: &'p Provider, stored: &StoredIntegration) -> Option<&'p FeatureKey> {
    let granted = stored.scopes.difference(&provider.base_scopes);
    if granted.is_empty() {
        let is_granted = |feature: &&FeatureSpec| feature.missing_scopes(&stored.scopes).is_empty();
        let first = provider.features.iter().find(is_granted);
        return first
            .filter(|_| stored.features.is_empty())
            .map(|feature| &feature.key);
    }
    let mut first = None;
    for scope in granted.iter() {
        first = first.or(Some(off(provider, stored, scope)?));
    }
    first
}

/// What has been worked out for one provider. Cheap to ask, and forgotten when it grows too large.
#[derive(Debug, Default)]
pub(crate) struct Kinds(RwLock<HashMap<Kind, Arc<Carried>>>);

type Kind = (ScopeSet, BTreeSet<FeatureKey>);

impl Kinds {
    pub(crate) fn of(&self, provider: &Provider, stored: &StoredIntegration) -> Arc<Carried> {
        let kind = (stored.scopes.clone(), stored.features.clone());
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(carried) = known.get(&kind) {
            return Arc::clone(carried);
        }
        drop(known);
        let carried = Arc::new(Carried::of(provider, stored));
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KINDS_MAX {
            known.clear();
        }
        known.insert(kind, Arc::clone(&carried));
        carried
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        catalogue::{Wanted, within_policy},
        consent,
        domain::{
            Timestamp,
            client::Policy,
            feature::{FeatureNotes, Level, ScopeSpec},
            implication,
            integration::{Owner, Standing},
        },
        integration::answer,
        testing::provider::provider,
    };

    /// Two features with a level each, whose scopes include one another here and there, and one that shares a scope.
    fn google() -> Provider {
        let mut google = provider("google");
        let like = google.features.remove(0);
        let spec = |scope: &str, category: &str, required: bool, wider: &[&str]| ScopeSpec {
            scope: Scope::new(scope),
            category: category.into(),
            required,
            implied_by: wider.iter().collect(),
            ..like.scopes[0].clone()
        };
        let feature = |name: &str, scopes: Vec<ScopeSpec>, level, level_of: Option<&str>| FeatureSpec {
            key: format!("google.{name}").parse().unwrap(),
            scopes,
            notes: FeatureNotes {
                level,
                level_of: level_of.map(|name| format!("google.{name}").parse().unwrap()),
                ..FeatureNotes::default()
            },
            ..like.clone()
        };
        let see = |required| spec("see", "read", required, &["edit"]);
        let edit = |required| spec("edit", "write", required, &["all"]);
        google.features = vec![
            feature(
                "calendar",
                vec![see(true), edit(false), spec("all", "admin", false, &[])],
                Some(Level::Read),
                None,
            ),
            feature(
                "calendar.write",
                vec![edit(true)],
                Some(Level::Write),
                Some("calendar"),
            ),
            feature(
                "mail",
                vec![
                    spec("mail", "read", true, &["send"]),
                    spec("send", "write", false, &[]),
                ],
                Some(Level::Read),
                None,
            ),
            feature(
                "mail.write",
                vec![spec("send", "write", true, &[])],
                Some(Level::Write),
                Some("mail"),
            ),
            feature(
                "report",
                vec![see(true), spec("mail", "read", true, &[])],
                None,
                None,
            ),
        ];
        implication::complete(&mut google.features);
        google
    }

    fn stored(scopes: &[&str], features: &[&str]) -> StoredIntegration {
        StoredIntegration {
            id: "google_00000000000000000000000000000abc".parse().unwrap(),
            owner: Owner {
                user_id: crate::domain::ids::UserId(uuid::Uuid::nil()),
                subject: "ada".parse().unwrap(),
            },
            account: crate::domain::account::Account {
                id: "1".into(),
                issuer: None,
                name: None,
                email: None,
            },
            standing: Standing::active(),
            scopes: scopes.iter().collect(),
            features: features
                .iter()
                .map(|name| format!("google.{name}").parse().unwrap())
                .collect(),
            agreements: crate::domain::consent::Agreements::default(),
            metadata: serde_json::Value::Null,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
            last_refreshed_at: None,
            grant: None,
        }
    }

    fn client(allow: &[&str]) -> Recipient {
        Recipient::Client(Arc::new(ServiceClient {
            id: uuid::Uuid::nil(),
            name: "sync".into(),
            policy: Policy {
                allow: allow.iter().map(|entry| entry.parse().unwrap()).collect(),
                ..Policy::default()
            },
            created_at: Timestamp::UNIX_EPOCH,
            revoked_at: None,
        }))
    }

    const SCOPES: [&str; 7] = ["openid", "see", "edit", "all", "mail", "send", "unheard-of"];
    const FEATURES: [&str; 5] = ["calendar", "calendar.write", "mail", "mail.write", "report"];
    const ENTRIES: [&str; 9] = [
        "google:*",
        "google:calendar",
        "google:calendar.read",
        "google:calendar.write",
        "google:mail",
        "google:mail.read",
        "google:report",
        "notion:*",
        "google:calendar.admin",
    ];

    fn some(of: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
        proptest::sample::subsequence(of, 0..=most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// The shelf hands out exactly what the account's actor would.
        #[test]
        fn the_short_way_and_the_long_one_agree(
            granted in some(&SCOPES, 7), on in some(&FEATURES, 5), wanted in some(&SCOPES[..6], 2),
            feature in proptest::option::of(proptest::sample::select(FEATURES.as_slice())), allow in some(&ENTRIES, 3), in_process: bool
        ) {
            let (google, stored) = (google(), stored(&granted, &on));
            let recipient = if in_process { Recipient::InProcess } else { client(&allow) };
            let wanted = Wanted {
                provider: &google,
                feature: feature.map(|name| format!("google.{name}").parse().unwrap()),
                scopes: wanted.iter().collect(),
            };
            let need = Need { recipient: &recipient, feature: wanted.feature.as_ref(), scopes: &wanted.scopes };
            let long = within_policy(&wanted, &recipient).and_then(|()| answer::check(&google, &stored, &need, crate::domain::Timestamp::UNIX_EPOCH));
            let named = wanted.scopes.is_empty() || within_policy(&wanted, &recipient).is_ok();
            let holds = consent::holds(&google, &stored, &need, Timestamp::UNIX_EPOCH).is_ok();
            let short = named && holds && Carried::of(&google, &stored).gives(&google, &need);
            prop_assert_eq!(short, long.is_ok(), "{:?}", long);
        }

        /// Whatever is asked for, in whatever way: nobody receives a scope that no word of their policy reaches.
        #[test]
        fn nobody_receives_more_than_their_policy_reaches(
            granted in some(&SCOPES, 7), on in some(&FEATURES, 5), feature in proptest::option::of(proptest::sample::select(FEATURES.as_slice()))
        ) {
            let (google, stored) = (google(), stored(&granted, &on));
            let feature = feature.map(|name| format!("google.{name}").parse().unwrap());
            let none = ScopeSet::default();
            let gives = |recipient: Recipient| {
                let need = Need { recipient: &recipient, feature: feature.as_ref(), scopes: &none };
                Carried::of(&google, &stored).gives(&google, &need)
            };
            let beyond = |reached: &[&str]| granted.iter().any(|scope| !reached.contains(scope));
            prop_assert!(!(gives(client(&["google:calendar"])) && beyond(&["openid", "see", "edit", "all"])));
            prop_assert!(!(gives(client(&["google:calendar.write"])) && beyond(&["openid", "see", "edit"])));
            prop_assert!(!(gives(client(&["google:calendar.read"])) && beyond(&["openid", "see"])));
            prop_assert!(!gives(client(&["notion:*"])));
        }
    }

    #[test]
    fn a_scope_is_off_with_the_feature_that_needs_it_and_on_with_any_other() {
        let google = google();
        let off = |granted: &[&str], on: &[&str], scope: &str| {
            off(&google, &stored(granted, on), &Scope::new(scope)).map(ToString::to_string)
        };
        assert_eq!(
            off(&["mail", "see"], &["calendar"], "mail").as_deref(),
            Some("google.mail")
        );
        assert_eq!(off(&["mail", "see"], &["report"], "mail"), None);
        assert_eq!(
            off(&["edit"], &["calendar"], "edit").as_deref(),
            Some("google.calendar.write")
        );
        assert_eq!(off(&["edit"], &["calendar", "calendar.write"], "edit"), None);
        let all =
            |granted: &[&str], on: &[&str]| all_off(&google, &stored(granted, on)).map(ToString::to_string);
        assert_eq!(
            all(&["openid", "mail", "see"], &[]).as_deref(),
            Some("google.mail")
        );
        assert_eq!(all(&["openid", "mail", "see"], &["calendar"]), None);
        assert_eq!(all(&["openid"], &[]), None);
        assert_eq!(all(&["openid", "all", "unheard-of"], &[]), None);
        // Granted by itself, and no feature was ever whole.
        assert_eq!(off(&["all"], &["mail"], "openid"), None);
        assert_eq!(off(&["unheard-of"], &[], "unheard-of"), None);
    }
}
