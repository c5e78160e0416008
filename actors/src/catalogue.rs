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
        Some(feature) => client.policy.allows_feature(key, feature),
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
