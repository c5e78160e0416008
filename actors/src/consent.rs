//! What a user agrees to when a feature is switched on, in the words of the catalogue, named by version and digest.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::{
    domain::{
        caller::RequestContext,
        consent::{NewConsent, WORDING_VERSION},
        feature::{FeatureKey, FeatureSpec},
        provider::Provider,
        scope::{Scope, ScopeSet},
        sealed::DigestPurpose,
    },
    shared::Shared,
};

/// The consent to these features; `scopes` are those requested and those granted.
pub(crate) fn to(
    shared: &Shared,
    provider: &Provider,
    features: BTreeSet<FeatureKey>,
    (requested, granted): (&ScopeSet, &ScopeSet),
    context: &RequestContext,
) -> NewConsent {
    let mut words = String::new();
    for feature in provider
        .features
        .iter()
        .filter(|feature| features.contains(&feature.key))
    {
        // Writing into a String cannot fail.
        let _ = writeln!(words, "{}: {}", feature.display_name, feature.description);
    }
    let digest = shared.ports.vault.digest(DigestPurpose::Wording, &words);
    NewConsent {
        requested_scopes: requested.clone(),
        granted_scopes: granted.clone(),
        features,
        wording_version: WORDING_VERSION.into(),
        wording_hash: digest.0.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        ip: context.ip,
        user_agent: context.user_agent.clone(),
        expires_at: None,
    }
}

/// Of these scopes, those that the feature is about: its own, and those that belong to no feature.
pub(crate) fn part(provider: &Provider, key: &FeatureKey, scopes: &ScopeSet) -> ScopeSet {
    let belongs =
        |feature: &FeatureSpec, scope: &Scope| feature.scopes.iter().any(|spec| spec.scope == *scope);
    let is_about = |scope: &&Scope| {
        let own = provider
            .feature(key)
            .is_some_and(|feature| belongs(feature, scope));
        own || !provider.features.iter().any(|feature| belongs(feature, scope))
    };
    scopes.iter().filter(is_about).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::provider::provider;

    #[test]
    fn a_feature_is_about_its_own_scopes_and_those_of_none() {
        let all: ScopeSet = ["openid", "read", "write"].into_iter().collect();
        let of = |key: &str| part(&provider("google"), &key.parse().unwrap(), &all).to_strings();
        assert_eq!(of("google.read"), ["openid", "read"]);
        assert_eq!(of("google.write"), ["openid", "write"]);
    }
}
