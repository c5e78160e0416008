//! A connected account and a new grant for it: what is asked for on top of what it holds, and whether what came back may
//! take its place.
//!
//! Where a provider adds to what was granted before, only what is missing is asked for, and its page lists nothing else.
//! Where a new grant is only what was asked for with it, everything is asked for that is to stay. What the user switched
//! off is asked for in neither case.

use std::collections::BTreeSet;

use crate::domain::{
    authorization::StoredAuthorization,
    error::ServiceError,
    feature::{FeatureKey, FeatureSpec},
    integration::{Standing, StoredIntegration},
    provider::Provider,
    scope::{Scope, ScopeSet},
};

/// The features a flow on this account switches on, and the scopes it asks for besides the base scopes. `named`: what the
/// request names, with the scopes of its features.
pub(super) fn ask(
    provider: &Provider,
    present: &StoredIntegration,
    mut features: BTreeSet<FeatureKey>,
    named: &ScopeSet,
) -> (BTreeSet<FeatureKey>, ScopeSet) {
    let missing = provider.uncovered(&named.difference(&provider.base_scopes), &present.scopes);
    if provider.incremental && present.is_alive() && !missing.is_empty() {
        return (features, missing);
    }
    features.extend(present.features.iter().cloned());
    let needed = features.iter().filter_map(|key| provider.feature(key));
    let scopes = needed.fold(kept(provider, present).union(named), |scopes, feature| {
        scopes.union(&feature.required_scopes())
    });
    (features, scopes)
}

/// Of what the account was granted, all but what belongs only to features that are switched off: those that could be on.
fn kept(provider: &Provider, present: &StoredIntegration) -> ScopeSet {
    let (on, others): (Vec<_>, Vec<_>) = provider
        .features
        .iter()
        .partition(|feature| present.features.contains(&feature.key));
    let off: Vec<_> = others
        .into_iter()
        .filter(|feature| feature.missing_scopes(&present.scopes).is_empty())
        .collect();
    let of = |features: &[&FeatureSpec], scope: &Scope| {
        let mut specs = features.iter().flat_map(|feature| &feature.scopes);
        specs.any(|spec| spec.scope == *scope)
    };
    present
        .scopes
        .iter()
        .filter(|scope| of(&on, scope) || !of(&off, scope))
        .collect()
}

/// What the account holds once this answer is taken over; `reported`: what the answer says was granted. RFC 6749 5.1: an
/// answer that does not say it grants what was asked for.
pub(super) fn granted(
    provider: &Provider,
    flow: &StoredAuthorization,
    present: Option<&StoredIntegration>,
    reported: Option<&ScopeSet>,
) -> ScopeSet {
    match (reported, present) {
        (Some(reported), _) => reported.clone(),
        (None, Some(present)) if provider.incremental && present.is_alive() => {
            present.scopes.union(&flow.requested_scopes)
        }
        (None, _) => flow.requested_scopes.clone(),
    }
}

/// Why a grant is not taken over, the present one being better.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Worse {
    /// Of what was asked for in addition, nothing was granted.
    Nothing(ServiceError),
    /// It lacks what the present one has, and nobody was asked whether that may go.
    Narrower(ServiceError),
}

/// Whether a new grant may take the place of the present one.
pub(super) fn compare(
    provider: &Provider,
    flow: &StoredAuthorization,
    present: &StoredIntegration,
    granted: &ScopeSet,
) -> Result<(), Worse> {
    if !present.is_alive() {
        return Ok(());
    }
    let refused = |missing_scopes| ServiceError::InsufficientScope {
        missing_scopes,
        provider: provider.key.clone(),
        feature: flow.features.difference(&present.features).next().cloned(),
        integration_id: present.id.clone(),
    };
    let asked = flow.requested_scopes.difference(&provider.base_scopes);
    let added = provider.uncovered(&asked, &present.scopes);
    let is_well = present.standing == Standing::active();
    if is_well && !added.is_empty() && provider.uncovered(&added, granted) == added {
        return Err(Worse::Nothing(refused(added)));
    }
    // A flow on this very account asked for all that is to stay: what is gone, the user has unticked.
    let lost = provider.uncovered(&kept(provider, present), granted);
    if flow.integration_id.as_ref() != Some(&present.id) && !lost.is_empty() {
        return Err(Worse::Narrower(refused(lost)));
    }
    Ok(())
}
