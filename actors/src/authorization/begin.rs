//! Beginning a flow: what is asked for is checked against the catalogue, and a link of ours is made.

use std::collections::BTreeSet;

use url::Url;
use uuid::Uuid;

use crate::{
    authorization::widening,
    chance, consent,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{AuthorizationRequest, BegunAuthorization},
        caller::RequestContext,
        error::ServiceError,
        feature::FeatureKey,
        ids::{AuthorizationId, ProviderKey, Subject},
        integration::{Status, StoredIntegration},
        provider::Provider,
        scope::ScopeSet,
        sealed::DigestPurpose,
    },
    ports::store::NewAuthorization,
    records::store_error,
    shared::Shared,
};

/// Flows one user may have pending: more than anyone opens by hand, few enough that a runaway caller is told.
pub(crate) const PENDING_MAX: u32 = 2_000;
/// Longest login hint passed on.
const LOGIN_HINT_MAX_CHARS: usize = 320;

pub(crate) async fn begin(
    shared: &Shared,
    owner: Subject,
    request: AuthorizationRequest,
    context: RequestContext,
) -> ServiceResult<BegunAuthorization> {
    let provider = configured(shared, &request.provider)?;
    let present = present(shared, &owner, &request).await?;
    let (features, requested_scopes) = what_to_ask(provider, &request, present.as_ref())?;
    let login_hint = login_hint(&request, present.as_ref())?;
    let consent = consent::asked(shared, provider, &request, &features);

    let id = AuthorizationId(Uuid::now_v7());
    let handle = format!("{}.{}", provider.key, chance::secret(&*shared.ports.rng));
    let audit = AuditEntry::new(AuditAction::Authorize, AuditOutcome::Success, context)
        .with_authorization(id, &provider.key, &owner)
        .with_scopes(requested_scopes.clone());
    let new = NewAuthorization {
        id,
        subject: owner,
        provider: provider.key.clone(),
        handle: shared.ports.vault.digest(DigestPurpose::ConnectHandle, &handle),
        features,
        requested_scopes,
        wordings: consent.clone(),
        redirect_uri: ours(shared, &["api", "v1", "oauth", "callback", provider.key.as_str()])?,
        return_to: request.return_to,
        integration_id: request.integration_id,
        login_hint,
        lifetime: shared.settings.authorization_lifetime,
        pending_max: PENDING_MAX,
        audit,
    };
    let stored = shared
        .ports
        .authorizations
        .create(&new)
        .await
        .map_err(|error| store_error(&error))?;
    let stored = stored.ok_or(ServiceError::RateLimited {
        retry_after: shared.settings.authorization_lifetime / 10,
    })?;
    shared.made.hold(&handle);
    Ok(BegunAuthorization {
        authorization_id: id,
        authorization_url: ours(shared, &["connect", &handle])?,
        requested_scopes: stored.requested_scopes,
        consent,
        expires_at: stored.expires_at,
    })
}

/// A URL of ours. Made of the configured public URL, never of what a request says it is.
pub(crate) fn ours(shared: &Shared, segments: &[&str]) -> ServiceResult<Url> {
    let mut url = shared.settings.public_url.clone();
    url.path_segments_mut()
        .map_err(|()| ServiceError::Internal)?
        .pop_if_empty()
        .extend(segments);
    Ok(url)
}

fn configured<'a>(shared: &'a Shared, key: &ProviderKey) -> ServiceResult<&'a Provider> {
    let names = |only_configured: bool| {
        let shown = shared
            .providers
            .iter()
            .filter(|provider| provider.configured || !only_configured);
        shown.map(|provider| provider.key.to_string()).collect()
    };
    match shared.provider(key) {
        None => Err(ServiceError::InvalidRequest {
            detail: format!("there is no provider {key}"),
            known: names(false),
        }),
        Some(provider) if !provider.configured => Err(ServiceError::InvalidRequest {
            detail: format!("provider {key} has no client credentials configured"),
            known: names(true),
        }),
        Some(provider) => Ok(provider),
    }
}

async fn present(
    shared: &Shared,
    owner: &Subject,
    request: &AuthorizationRequest,
) -> ServiceResult<Option<StoredIntegration>> {
    let Some(id) = &request.integration_id else {
        return Ok(None);
    };
    if id.provider != request.provider {
        return Err(ServiceError::invalid(format!(
            "integration_id is not of provider {}",
            request.provider
        )));
    }
    let found = shared
        .ports
        .integrations
        .find(owner, id)
        .await
        .map_err(|error| store_error(&error))?;
    found.map(Some).ok_or(ServiceError::not_found("integration"))
}

/// The features to switch on and the scopes to ask for; on top of what an account holds already, see [`widening`].
fn what_to_ask(
    provider: &Provider,
    request: &AuthorizationRequest,
    present: Option<&StoredIntegration>,
) -> ServiceResult<(BTreeSet<FeatureKey>, ScopeSet)> {
    let mut features = BTreeSet::new();
    let mut scopes = provider.base_scopes.union(&request.scopes);
    for key in &request.features {
        let feature = provider
            .feature(key)
            .ok_or_else(|| ServiceError::InvalidRequest {
                detail: format!("provider {} has no feature {key}", provider.key),
                known: provider
                    .features
                    .iter()
                    .map(|feature| feature.key.to_string())
                    .collect(),
            })?;
        if let Some(present) = present {
            present.may_have(feature)?;
        }
        features.extend(provider.included_in(key).cloned());
        scopes = scopes.union(&feature.required_scopes());
    }
    if let Some(unknown) = request.scopes.iter().find(|scope| !provider.knows_scope(scope)) {
        let known = provider
            .features
            .iter()
            .flat_map(|feature| &feature.scopes)
            .map(|spec| &spec.scope);
        return Err(ServiceError::InvalidRequest {
            detail: format!("provider {} has no scope {unknown}", provider.key),
            known: known
                .chain(provider.base_scopes.iter())
                .collect::<ScopeSet>()
                .to_strings(),
        });
    }
    // What was taken back is not asked for again by itself: a revoked account is begun with anew.
    match present.filter(|present| present.standing.status != Status::Revoked) {
        Some(present) => {
            let (all, asked) = widening::ask(provider, present, features, &scopes);
            features = all;
            scopes = provider.base_scopes.union(&asked);
        }
        None if request.features.is_empty() && request.scopes.is_empty() => {
            for feature in provider.features.iter().filter(|feature| feature.default) {
                features.insert(feature.key.clone());
                scopes = scopes.union(&feature.required_scopes());
            }
        }
        None => {}
    }
    // Whoever asks for a feature's scopes by name means the feature.
    let covered = provider.features.iter().filter(|feature| {
        let required = feature.required_scopes();
        !request.scopes.is_empty()
            && !required.is_empty()
            && provider.uncovered(&required, &request.scopes).is_empty()
    });
    features.extend(covered.map(|feature| feature.key.clone()));
    Ok((features, scopes))
}

fn login_hint(
    request: &AuthorizationRequest,
    present: Option<&StoredIntegration>,
) -> ServiceResult<Option<String>> {
    let hint = request
        .login_hint
        .clone()
        .or_else(|| present.and_then(|present| present.account.email.clone()));
    match hint {
        Some(hint) if hint.chars().count() > LOGIN_HINT_MAX_CHARS || hint.chars().any(char::is_control) => {
            Err(ServiceError::invalid(
                "login_hint is too long or holds control characters",
            ))
        }
        hint => Ok(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::provider::provider;

    fn request(features: &[&str], scopes: &[&str]) -> AuthorizationRequest {
        AuthorizationRequest {
            provider: "google".parse().unwrap(),
            features: features.iter().map(|key| key.parse().unwrap()).collect(),
            scopes: scopes.iter().collect(),
            return_to: None,
            integration_id: None,
            login_hint: None,
        }
    }

    fn asked(features: &[&str], scopes: &[&str]) -> (Vec<String>, Vec<String>) {
        let (features, scopes) = what_to_ask(&provider("google"), &request(features, scopes), None).unwrap();
        (
            features.iter().map(ToString::to_string).collect(),
            scopes.to_strings(),
        )
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn whoever_names_nothing_gets_the_default_features() {
        assert_eq!(
            asked(&[], &[]),
            (words(&["google.read"]), words(&["openid", "read"]))
        );
    }

    #[test]
    fn a_feature_asks_for_its_scopes_and_scopes_mean_the_feature_they_cover() {
        assert_eq!(
            asked(&["google.write"], &[]),
            (words(&["google.write"]), words(&["openid", "write"]))
        );
        assert_eq!(
            asked(&[], &["write"]),
            (words(&["google.write"]), words(&["openid", "write"]))
        );
    }

    #[test]
    fn unknown_features_and_scopes_are_answered_with_those_that_exist() {
        let known = |features: &[&str], scopes: &[&str]| match what_to_ask(
            &provider("google"),
            &request(features, scopes),
            None,
        ) {
            Err(ServiceError::InvalidRequest { known, .. }) => known,
            other => panic!("{other:?}"),
        };
        assert_eq!(known(&["google.mail"], &[]), ["google.read", "google.write"]);
        assert_eq!(known(&[], &["everything"]), ["openid", "read", "write"]);
    }

    #[test]
    fn a_login_hint_is_bounded_and_plain() {
        let hint = |hint: &str| {
            let request = AuthorizationRequest {
                login_hint: Some(hint.into()),
                ..request(&[], &[])
            };
            login_hint(&request, None)
        };
        assert_eq!(hint("ada@example.com"), Ok(Some("ada@example.com".into())));
        assert!(hint("a\nb").is_err());
        assert!(hint(&"x".repeat(400)).is_err());
    }
}
