//! What a user agrees to when a feature is switched on: in which words, named by version and digest; and whether what they
//! agreed to still holds when a token is asked for.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    domain::{
        Timestamp,
        authorization::{AuthorizationRequest, StoredAuthorization},
        caller::RequestContext,
        consent::{Lapse, NewConsent, Shown, Wording, WordingVersion},
        error::ServiceError,
        feature::{FeatureKey, FeatureSpec},
        integration::StoredIntegration,
        provider::Provider,
        scope::{Scope, ScopeSet},
        sealed::DigestPurpose,
    },
    integration::message::Need,
    shared::{Shared, after},
};

/// The words for one feature: what it is, and what it needs.
pub(crate) fn wording(shared: &Shared, feature: &FeatureSpec) -> Wording {
    let mut words = feature.display_name.clone();
    for sentence in feature.words() {
        words.push('\n');
        words.push_str(&sentence);
    }
    named(shared, Some(&feature.key), feature.wording_version, words)
}

/// The words for scopes that are asked for by name.
fn wording_of_scopes(shared: &Shared, provider: &Provider, scopes: &ScopeSet) -> Wording {
    let mut words = format!("{}: what the application asks for by name", provider.display_name);
    let specs = || provider.features.iter().flat_map(|feature| &feature.scopes);
    for scope in scopes.iter() {
        // Writing into a String cannot fail.
        let _ = match specs().find(|spec| spec.scope == *scope) {
            Some(spec) => write!(words, "\n- {}: {}", spec.display_name, spec.description),
            None => write!(words, "\n- {scope}"),
        };
    }
    named(shared, None, WordingVersion::FIRST, words)
}

fn named(
    shared: &Shared,
    feature: Option<&FeatureKey>,
    wording_version: WordingVersion,
    wording: String,
) -> Wording {
    let digest = shared.ports.vault.digest(DigestPurpose::Wording, &wording);
    Wording {
        feature: feature.cloned(),
        wording_version,
        wording_hash: digest.0.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        wording,
    }
}

/// What whoever begins this flow agrees to by going on: the features they name (by key or by scopes), or else all that
/// come of it; and the scopes they name that belong to none of these.
pub(crate) fn asked(
    shared: &Shared,
    provider: &Provider,
    request: &AuthorizationRequest,
    features: &BTreeSet<FeatureKey>,
) -> Vec<Wording> {
    let named_by_scopes = |feature: &&FeatureSpec| {
        let required = feature.required_scopes();
        !required.is_empty() && provider.uncovered(&required, &request.scopes).is_empty()
    };
    let named = request.features.iter();
    let mut keys: BTreeSet<_> = named.flat_map(|key| provider.included_in(key)).cloned().collect();
    let by_scopes = provider.features.iter().filter(named_by_scopes);
    keys.extend(by_scopes.map(|feature| feature.key.clone()));
    if keys.is_empty() {
        keys.clone_from(features);
    }
    let specs = provider.features.iter().filter(|spec| keys.contains(&spec.key));
    let mut wordings: Vec<_> = specs.map(|spec| wording(shared, spec)).collect();
    let loose = loose(provider, &keys, &request.scopes);
    if wordings.is_empty() || !loose.is_empty() {
        wordings.push(wording_of_scopes(shared, provider, &loose));
    }
    wordings
}

/// The consents that a finished flow stands for: one for each thing its user was told of, in the words they were told.
pub(crate) fn given(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    granted: &ScopeSet,
    context: &RequestContext,
) -> Vec<NewConsent> {
    // A flow of the program before this one does not say what it showed: then it was all of it, in today's words.
    let today = || {
        let specs = provider
            .features
            .iter()
            .filter(|spec| flow.features.contains(&spec.key));
        let mut shown: Vec<_> = specs.map(|spec| Shown::from(&wording(shared, spec))).collect();
        if shown.is_empty() {
            shown.push(Shown::from(&wording_of_scopes(
                shared,
                provider,
                &flow.requested_scopes,
            )));
        }
        shown
    };
    let shown = if flow.shown.is_empty() {
        today()
    } else {
        flow.shown.clone()
    };
    let keys: BTreeSet<_> = shown.iter().filter_map(|shown| shown.feature.clone()).collect();
    let one = |shown: Shown| {
        let about = |scopes: &ScopeSet| match &shown.feature {
            Some(key) => part(provider, key, scopes),
            None if keys.is_empty() => scopes.clone(),
            None => loose(provider, &keys, scopes),
        };
        let scopes = (about(&flow.requested_scopes), about(granted));
        consent(shared, shown, scopes, context)
    };
    shown.into_iter().map(one).collect()
}

/// The consent to words that were shown; `scopes` are those requested and those granted.
pub(crate) fn consent(
    shared: &Shared,
    shown: Shown,
    (requested_scopes, granted_scopes): (ScopeSet, ScopeSet),
    context: &RequestContext,
) -> NewConsent {
    let lifetime = shared.settings.consent_lifetime;
    NewConsent {
        requested_scopes,
        granted_scopes,
        features: shown.feature.into_iter().collect(),
        wording_version: shown.version,
        wording_hash: shown.hash,
        ip: context.ip,
        user_agent: context.user_agent.clone(),
        expires_at: lifetime.map(|lifetime| after(shared.now(), lifetime)),
    }
}

/// Whether what was agreed to still holds for what is asked for.
pub(crate) fn holds(
    provider: &Provider,
    stored: &StoredIntegration,
    need: &Need<'_>,
    now: Timestamp,
) -> Result<(), ServiceError> {
    let refused = |lapse: Lapse, feature: Option<&FeatureKey>| {
        Err(ServiceError::ConsentRequired {
            lapse,
            provider: provider.key.clone(),
            feature: feature.cloned(),
            integration_id: stored.id.clone(),
        })
    };
    if let Some(feature) = need.feature.and_then(|key| provider.feature(key))
        && let Some(lapse) = stored.lapse(feature, now)
    {
        return refused(lapse, Some(&feature.key));
    }
    for scope in need.scopes.iter() {
        if let Some((feature, lapse)) = lapse_of_scope(provider, stored, scope, now) {
            return refused(lapse, Some(feature));
        }
    }
    if need.feature.is_some() {
        return Ok(());
    }
    match lapse_of_all(provider, stored, now) {
        Some((feature, lapse)) => refused(lapse, feature),
        None => Ok(()),
    }
}

/// A scope is agreed to by way of any feature it belongs to: it has lapsed if one has and none holds. What was never
/// agreed to by way of a feature was asked for by name.
fn lapse_of_scope<'p>(
    provider: &'p Provider,
    stored: &StoredIntegration,
    scope: &Scope,
    now: Timestamp,
) -> Option<(&'p FeatureKey, Lapse)> {
    let known = |feature: &&FeatureSpec| {
        stored.features.contains(&feature.key) || stored.agreements.features.contains_key(&feature.key)
    };
    let mut lapsed = None;
    for feature in provider.features.iter().filter(known) {
        if !feature.scopes.iter().any(|spec| spec.scope == *scope) {
            continue;
        }
        match stored.lapse(feature, now) {
            None => return None,
            Some(lapse) => lapsed = lapsed.or(Some((&feature.key, lapse))),
        }
    }
    lapsed
}

/// Where nothing that was agreed to holds any more, no token leaves, whatever it is asked for.
fn lapse_of_all<'p>(
    provider: &'p Provider,
    stored: &StoredIntegration,
    now: Timestamp,
) -> Option<(Option<&'p FeatureKey>, Lapse)> {
    let mut lapsed = None;
    match &stored.agreements.scopes {
        Some(agreement) => match agreement.lapse(WordingVersion::FIRST, now) {
            None => return None,
            Some(lapse) => lapsed = Some((None, lapse)),
        },
        // Nothing was ever switched on: it was connected before consents to scopes were kept.
        None if stored.features.is_empty() && stored.agreements.features.is_empty() => return None,
        None => {}
    }
    for feature in &provider.features {
        let known =
            stored.features.contains(&feature.key) || stored.agreements.features.contains_key(&feature.key);
        match stored.lapse(feature, now) {
            None => return None,
            Some(lapse) if known => lapsed = Some((Some(&feature.key), lapse)),
            Some(_) => {}
        }
    }
    lapsed
}

/// Of these scopes, those that the feature is about: its own, and those that belong to no feature.
pub(crate) fn part(provider: &Provider, key: &FeatureKey, scopes: &ScopeSet) -> ScopeSet {
    let is_about = |scope: &Scope| {
        let own = provider
            .feature(key)
            .is_some_and(|feature| belongs(feature, scope));
        own || !provider.features.iter().any(|feature| belongs(feature, scope))
    };
    scopes.iter().filter(|scope| is_about(scope)).collect()
}

/// Of these scopes, those that belong to none of these features and are not everybody's.
fn loose(provider: &Provider, keys: &BTreeSet<FeatureKey>, scopes: &ScopeSet) -> ScopeSet {
    let specs = || provider.features.iter().filter(|spec| keys.contains(&spec.key));
    let is_loose = |scope: &Scope| {
        !provider.base_scopes.contains(scope) && !specs().any(|feature| belongs(feature, scope))
    };
    scopes.iter().filter(|scope| is_loose(scope)).collect()
}

fn belongs(feature: &FeatureSpec, scope: &Scope) -> bool {
    feature.scopes.iter().any(|spec| spec.scope == *scope)
}

#[cfg(test)]
#[path = "consent_tests.rs"]
mod tests;
