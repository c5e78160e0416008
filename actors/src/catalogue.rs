//! What a token request means in terms of the providers' catalogues, and whether a policy reaches that far.

use std::sync::Arc;

use crate::{
    domain::error::ServiceResult,
    domain::{
        error::ServiceError,
        feature::FeatureKey,
        ids::ProviderKey,
        provider::Provider,
        scope::ScopeSet,
        token::{TokenTarget, Want},
    },
    integration::message::Recipient,
};

/// A token request, resolved.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) provider: &'a Provider,
    pub(crate) feature: Option<FeatureKey>,
    pub(crate) scopes: ScopeSet,
}

/// Resolves what is wanted; refuses names that do not exist, and contradictions.
pub(crate) fn wanted<'a>(providers: &'a [Arc<Provider>], target: &TokenTarget) -> ServiceResult<Wanted<'a>> {
    match target {
        TokenTarget::Integration(id) => {
            let found = providers.iter().find(|provider| provider.key == id.provider);
            let provider = found.ok_or(ServiceError::not_found("integration"))?;
            Ok(Wanted {
                provider,
                feature: None,
                scopes: ScopeSet::default(),
            })
        }
        TokenTarget::User { want, .. } => {
            let provider = provider_of(providers, want)?;
            if let Some(key) = &want.feature
                && provider.feature(key).is_none()
            {
                return Err(unknown_feature(provider, key));
            }
            if let Some(unknown) = want.scopes.iter().find(|scope| !provider.knows_scope(scope)) {
                return Err(ServiceError::InvalidRequest {
                    detail: format!("provider {} has no scope {unknown}", provider.key),
                    known: scopes_of(provider),
                });
            }
            Ok(Wanted {
                provider,
                feature: want.feature.clone(),
                scopes: want.scopes.clone(),
            })
        }
    }
}

fn provider_of<'a>(providers: &'a [Arc<Provider>], want: &Want) -> ServiceResult<&'a Provider> {
    let by_key = |key: &str| providers.iter().find(|provider| provider.key.as_str() == key);
    let names = || {
        providers
            .iter()
            .map(|provider| provider.key.to_string())
            .collect::<Vec<_>>()
    };
    let unknown = |key: &dyn std::fmt::Display| ServiceError::InvalidRequest {
        detail: format!("there is no provider {key}"),
        known: names(),
    };
    match (&want.provider, &want.feature) {
        (Some(provider), Some(feature)) if feature.provider() != provider.as_str() => Err(
            ServiceError::invalid(format!("feature {feature} is not of provider {provider}")),
        ),
        (Some(provider), _) => by_key(provider.as_str())
            .map(AsRef::as_ref)
            .ok_or_else(|| unknown(provider)),
        (None, Some(feature)) => match by_key(feature.provider()) {
            Some(provider) => Ok(provider),
            None => Err(ServiceError::InvalidRequest {
                detail: format!("there is no feature {feature}"),
                known: providers
                    .iter()
                    .flat_map(|provider| features_of(provider))
                    .collect(),
            }),
        },
        (None, None) => by_scopes(providers, &want.scopes),
    }
}

/// Scopes alone name a provider if exactly one knows them all.
fn by_scopes<'a>(providers: &'a [Arc<Provider>], scopes: &ScopeSet) -> ServiceResult<&'a Provider> {
    if scopes.is_empty() {
        return Err(ServiceError::invalid(
            "say what the token is for: feature, provider or scopes",
        ));
    }
    let mut knowing = providers
        .iter()
        .filter(|provider| !provider.open_scopes && scopes.iter().all(|scope| provider.knows_scope(scope)));
    match (knowing.next(), knowing.next()) {
        (Some(provider), None) => Ok(provider),
        (None, _) => Err(ServiceError::InvalidRequest {
            detail: "no provider knows all of these scopes".into(),
            known: providers
                .iter()
                .flat_map(|provider| scopes_of(provider))
                .collect::<ScopeSet>()
                .to_strings(),
        }),
        (Some(one), Some(other)) => Err(ServiceError::invalid(format!(
            "these scopes are known to several providers ({}, {}, …): say which with provider",
            one.key, other.key
        ))),
    }
}

fn unknown_feature(provider: &Provider, key: &FeatureKey) -> ServiceError {
    ServiceError::InvalidRequest {
        detail: format!("provider {} has no feature {key}", provider.key),
        known: features_of(provider),
    }
}

fn features_of(provider: &Provider) -> Vec<String> {
    provider
        .features
        .iter()
        .map(|feature| feature.key.to_string())
        .collect()
}

fn scopes_of(provider: &Provider) -> Vec<String> {
    let specs = provider
        .features
        .iter()
        .flat_map(|feature| &feature.scopes)
        .map(|spec| &spec.scope);
    specs
        .chain(provider.base_scopes.iter())
        .collect::<ScopeSet>()
        .to_strings()
}

/// Whether the recipient may have anything of the kind. What the token itself carries is checked where it is.
pub(crate) fn within_policy(wanted: &Wanted<'_>, recipient: &Recipient) -> ServiceResult<()> {
    let Recipient::Client(client) = recipient else {
        return Ok(());
    };
    let key: &ProviderKey = &wanted.provider.key;
    let allowed = match &wanted.feature {
        Some(feature) => client.policy.allows_feature(wanted.provider, feature),
        None => client.policy.allows_provider(key),
    };
    // What the user granted is not told to a client that could not receive it anyway.
    let beyond = client.policy.beyond(wanted.provider, &wanted.scopes);
    if allowed && beyond.is_empty() {
        return Ok(());
    }
    let what = match &wanted.feature {
        Some(feature) if !allowed => feature.to_string(),
        None if !allowed => key.to_string(),
        Some(_) | None => beyond.to_strings().join(", "),
    };
    Err(ServiceError::Forbidden {
        detail: format!("the policy of client {} does not allow {what}", client.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::client::{Policy, ServiceClient},
        testing::provider::provider,
    };

    fn providers() -> Vec<Arc<Provider>> {
        vec![Arc::new(provider("google")), Arc::new(provider("notion"))]
    }

    fn asked(want: Want) -> TokenTarget {
        TokenTarget::User {
            subject: "ada".parse().unwrap(),
            want,
            account: None,
        }
    }

    fn known_for(want: Want) -> Vec<String> {
        match wanted(&providers(), &asked(want)) {
            Err(ServiceError::InvalidRequest { known, .. }) => known,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_feature_names_its_provider() {
        let want = Want {
            feature: Some("notion.read".parse().unwrap()),
            ..Want::default()
        };
        let providers = providers();
        let wanted = wanted(&providers, &asked(want)).unwrap();
        assert_eq!(wanted.provider.key.as_str(), "notion");
    }

    #[test]
    fn names_that_do_not_exist_are_answered_with_those_that_do() {
        let unknown_provider = Want {
            provider: Some("gogle".parse().unwrap()),
            ..Want::default()
        };
        assert_eq!(known_for(unknown_provider), ["google", "notion"]);
        let unknown_feature = Want {
            feature: Some("google.mail".parse().unwrap()),
            ..Want::default()
        };
        assert_eq!(known_for(unknown_feature), ["google.read", "google.write"]);
        let nobodys_feature = Want {
            feature: Some("gogle.read".parse().unwrap()),
            ..Want::default()
        };
        assert_eq!(known_for(nobodys_feature).len(), 4);
        let unknown_scope = Want {
            provider: Some("google".parse().unwrap()),
            scopes: ["everything"].into_iter().collect(),
            ..Want::default()
        };
        assert_eq!(known_for(unknown_scope), ["openid", "read", "write"]);
        let nobodys_scope = Want {
            scopes: ["everything"].into_iter().collect(),
            ..Want::default()
        };
        assert_eq!(known_for(nobodys_scope), ["openid", "read", "write"]);
    }

    #[test]
    fn a_contradiction_and_nothing_at_all_are_refused() {
        let contradiction = Want {
            provider: Some("google".parse().unwrap()),
            feature: Some("notion.read".parse().unwrap()),
            ..Want::default()
        };
        assert!(known_for(contradiction).is_empty());
        assert!(known_for(Want::default()).is_empty());
        // Both know it: which one is meant?
        assert!(
            known_for(Want {
                scopes: ["read"].into_iter().collect(),
                ..Want::default()
            })
            .is_empty()
        );
    }

    #[test]
    fn scopes_that_one_provider_knows_name_it() {
        let mut only = provider("acme");
        only.base_scopes = ["acme.profile"].into_iter().collect();
        let providers = vec![Arc::new(provider("google")), Arc::new(only)];
        let want = Want {
            scopes: ["acme.profile"].into_iter().collect(),
            ..Want::default()
        };
        assert_eq!(
            wanted(&providers, &asked(want)).unwrap().provider.key.as_str(),
            "acme"
        );
    }

    #[test]
    fn an_integration_of_no_known_provider_is_not_found() {
        let id = "acme_00000000000000000000000000000abc".parse().unwrap();
        let found = wanted(&providers(), &TokenTarget::Integration(id)).map(|_| ());
        assert_eq!(found, Err(ServiceError::not_found("integration")));
    }

    #[test]
    fn a_policy_is_asked_for_the_feature_and_else_for_the_provider() {
        let client = |allow: &str| {
            Recipient::Client(Arc::new(ServiceClient {
                id: uuid::Uuid::nil(),
                name: "sync".into(),
                policy: Policy {
                    allow: vec![allow.parse().unwrap()],
                    ..Policy::default()
                },
                created_at: crate::domain::Timestamp::UNIX_EPOCH,
                revoked_at: None,
            }))
        };
        let google = provider("google");
        let wants = |feature: Option<&str>| Wanted {
            provider: &google,
            feature: feature.map(|key| key.parse().unwrap()),
            scopes: ScopeSet::default(),
        };
        assert!(within_policy(&wants(Some("google.read")), &client("google:read")).is_ok());
        assert!(within_policy(&wants(Some("google.write")), &client("google:read")).is_err());
        assert!(within_policy(&wants(None), &client("google:read")).is_ok());
        assert!(within_policy(&wants(None), &client("notion:*")).is_err());
        assert!(within_policy(&wants(None), &Recipient::InProcess).is_ok());
    }
}
