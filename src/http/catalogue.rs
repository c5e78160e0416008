//! Names that callers use, turned into what the system knows; an unknown one is answered with those that exist.

use std::sync::Arc;

use oauth_manager_actors::domain::{
    error::ServiceError,
    feature::{FeatureKey, FeatureSpec},
    ids::{IntegrationId, ProviderKey},
    provider::Provider,
    scope::{Scope, ScopeSet},
};

use super::problem::Problem;

/// More than any provider offers; bounds what one request makes us look up.
const NAMES_MAX: usize = 100;

/// The providers there are.
#[derive(Clone, Copy)]
pub(crate) struct Catalogue<'a>(pub(crate) &'a [Arc<Provider>]);

impl<'a> Catalogue<'a> {
    /// The provider of this key, named in a body or a query.
    pub(crate) fn provider(self, name: &str) -> Result<&'a Arc<Provider>, Problem> {
        self.find(name)
            .ok_or_else(|| unknown("there is no such provider", self.provider_names()))
    }

    /// The provider of this key, named in a path.
    pub(crate) fn provider_of_path(self, name: &str) -> Result<&'a Arc<Provider>, Problem> {
        self.find(name).ok_or_else(|| {
            ServiceError::NotFound {
                what: "provider",
                known: self.provider_names(),
            }
            .into()
        })
    }

    /// A feature of any provider.
    pub(crate) fn feature(self, name: &str) -> Result<FeatureKey, Problem> {
        let key = name.parse::<FeatureKey>().ok();
        let provider = key.as_ref().and_then(|key| self.find(key.provider()));
        match (key, provider) {
            (Some(key), Some(provider)) if provider.feature(&key).is_some() => Ok(key),
            (_, Some(provider)) => Err(unknown("there is no such feature", feature_names(provider))),
            (_, None) => Err(unknown(
                "there is no such feature",
                self.0
                    .iter()
                    .flat_map(|provider| feature_names(provider))
                    .collect(),
            )),
        }
    }

    /// Scopes of this provider, or of any where none is named.
    pub(crate) fn scopes_of<S: AsRef<str>>(
        self,
        provider: Option<&Provider>,
        names: &[S],
    ) -> Result<ScopeSet, Problem> {
        bounded(names)?;
        if names.iter().any(|name| !well_formed(name.as_ref())) {
            return Err(Problem::invalid(
                "a scope is printable ASCII without spaces, quotes and backslashes",
            ));
        }
        let scopes: ScopeSet = names.iter().collect();
        let knows_all = |provider: &Provider| scopes.iter().all(|scope| provider.knows_scope(scope));
        match provider {
            Some(provider) if !knows_all(provider) => {
                Err(unknown("the provider has no such scope", scope_names(provider)))
            }
            None if !scopes.is_empty() && !self.0.iter().any(|provider| knows_all(provider)) => Err(unknown(
                "no provider has these scopes",
                self.0.iter().flat_map(|provider| scope_names(provider)).collect(),
            )),
            Some(_) | None => Ok(scopes),
        }
    }

    fn find(self, name: &str) -> Option<&'a Arc<Provider>> {
        self.0.iter().find(|provider| provider.key.as_str() == name)
    }

    fn provider_names(self) -> Vec<String> {
        self.0.iter().map(|provider| provider.key.to_string()).collect()
    }
}

/// Features of this provider.
pub(crate) fn features_of<S: AsRef<str>>(
    provider: &Provider,
    names: &[S],
) -> Result<Vec<FeatureKey>, Problem> {
    bounded(names)?;
    names
        .iter()
        .map(|name| {
            let known = name
                .as_ref()
                .parse()
                .ok()
                .filter(|key| provider.feature(key).is_some());
            known.ok_or_else(|| unknown("the provider has no such feature", feature_names(provider)))
        })
        .collect()
}

/// Refuses scopes that belong to features of which none is named, although some are: both cannot be meant.
pub(crate) fn agree(provider: &Provider, features: &[FeatureKey], scopes: &ScopeSet) -> Result<(), Problem> {
    if features.is_empty() {
        return Ok(());
    }
    let is_named = |base: &FeatureKey| {
        let named = features.iter().filter_map(|key| provider.feature(key));
        { named }.any(|feature| feature.base() == base)
    };
    for scope in scopes
        .iter()
        .filter(|scope| !provider.base_scopes.contains(scope))
    {
        let has = |feature: &&FeatureSpec| feature.scopes.iter().any(|spec| spec.scope == *scope);
        let owners: Vec<_> = provider.features.iter().filter(has).collect();
        if !owners.is_empty() && !owners.iter().any(|feature| is_named(feature.base())) {
            return Err(ServiceError::InvalidRequest {
                detail: format!(
                    "scope {scope} does not belong to what is named as feature; name one it belongs to as well, or leave out \
                     one of the two"
                ),
                known: owners.iter().map(|feature| feature.key.to_string()).collect(),
            }
            .into());
        }
    }
    Ok(())
}

/// An integration's id. One that is no id is answered as one that does not exist.
pub(crate) fn integration_id(text: &str) -> Result<IntegrationId, Problem> {
    text.parse()
        .map_err(|_| ServiceError::not_found("integration").into())
}

/// Refuses an integration of another provider than the one that was named.
pub(crate) fn same_provider(id: &IntegrationId, provider: &ProviderKey) -> Result<(), Problem> {
    if id.provider == *provider {
        Ok(())
    } else {
        Err(Problem::invalid("integration_id belongs to another provider"))
    }
}

fn unknown(detail: &str, known: Vec<String>) -> Problem {
    ServiceError::InvalidRequest {
        detail: detail.into(),
        known,
    }
    .into()
}

fn bounded<S>(names: &[S]) -> Result<(), Problem> {
    if names.len() > NAMES_MAX {
        return Err(Problem::invalid(format!(
            "more than {NAMES_MAX} names in one list"
        )));
    }
    Ok(())
}

/// RFC 6749 3.3, and not longer than any scope there is.
fn well_formed(name: &str) -> bool {
    (1..=256).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

fn feature_names(provider: &Provider) -> Vec<String> {
    provider
        .features
        .iter()
        .map(|feature| feature.key.to_string())
        .collect()
}

fn scope_names(provider: &Provider) -> Vec<String> {
    let of_features = provider
        .features
        .iter()
        .flat_map(|feature| feature.scopes.iter().map(|spec| &spec.scope));
    let names: std::collections::BTreeSet<&Scope> = provider.base_scopes.iter().chain(of_features).collect();
    names.into_iter().map(Scope::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::testing::providers;

    fn known(problem: Problem) -> Vec<String> {
        match problem {
            Problem::Service(
                ServiceError::InvalidRequest { known, .. } | ServiceError::NotFound { known, .. },
            ) => known,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_that_exist() {
        let providers = providers();
        let catalogue = Catalogue(&providers);
        let google = catalogue.provider("google").unwrap();
        assert_eq!(
            known(catalogue.provider("gogle").unwrap_err()),
            ["google", "notion"]
        );
        assert_eq!(
            known(catalogue.provider_of_path("Google").unwrap_err()),
            ["google", "notion"]
        );
        assert_eq!(
            known(catalogue.feature("google.calender").unwrap_err()),
            ["google.calendar"]
        );
        assert_eq!(
            known(catalogue.feature("nonsense").unwrap_err()),
            ["google.calendar", "notion.pages"]
        );
        assert_eq!(
            known(features_of(google, &["notion.pages"]).unwrap_err()),
            ["google.calendar"]
        );
        assert_eq!(
            known(
                catalogue
                    .scopes_of(Some(google), &["calendar.write"])
                    .unwrap_err()
            ),
            ["calendar.read", "openid"]
        );
        assert!(catalogue.scopes_of(None, &["calendar.read"]).is_ok());
        assert!(catalogue.scopes_of(None, &["nothing"]).is_err());
    }

    #[test]
    fn scopes_of_another_feature_contradict_the_one_that_is_named() {
        let mut google = Provider::clone(&providers()[0]);
        let mut mail = google.features[0].clone();
        mail.key = "google.gmail".parse().unwrap();
        mail.scopes[0].scope = Scope::new("mail.read");
        let mut shared = mail.clone();
        shared.key = "google.report".parse().unwrap();
        shared.scopes.push(google.features[0].scopes[0].clone());
        google.features.extend([mail, shared]);
        let judged = |features: &[&str], scopes: &[&str]| {
            let features: Vec<_> = features.iter().map(|key| key.parse().unwrap()).collect();
            agree(&google, &features, &scopes.iter().collect())
        };
        for scopes in [
            [].as_slice(),
            &["openid"],
            &["calendar.read"],
            &["not-in-the-catalogue"],
        ] {
            assert!(judged(&["google.calendar"], scopes).is_ok(), "{scopes:?}");
        }
        assert!(
            judged(
                &["google.calendar", "google.gmail"],
                &["mail.read", "calendar.read"]
            )
            .is_ok()
        );
        assert!(judged(&["google.gmail"], &["calendar.read"]).is_err());
        assert!(judged(&[], &["mail.read"]).is_ok());
        let named = known(judged(&["google.calendar"], &["mail.read"]).unwrap_err());
        assert_eq!(named, ["google.gmail", "google.report"]);
    }

    #[test]
    fn lists_and_names_are_bounded() {
        let providers = providers();
        let google = &providers[0];
        let catalogue = Catalogue(&providers);
        assert!(
            catalogue
                .scopes_of(Some(google), &vec!["openid"; NAMES_MAX + 1])
                .is_err()
        );
        for name in ["", "a b", "a\"", "a\\", "ä", "a\n"] {
            assert!(catalogue.scopes_of(Some(google), &[name]).is_err(), "{name:?}");
        }
    }
}
