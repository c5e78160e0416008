//! Which words of a policy reach what. An entry `PROVIDER:WORD` names a feature or a level of one:
//!
//! - `google:calendar`: the feature in all its levels, with every scope of it;
//! - `google:calendar.read`: looking only, that is what the feature needs and its other scopes that read;
//! - `google:calendar.write`: that, and what changes things, but not what administers them;
//! - `google:*`: whatever a token of the provider carries.
//!
//! A token that carries more than all of a client's words reach is not handed to it. Where the provider gives narrower ones
//! (`integration::narrowing`), it receives one of what they do reach.

use super::{
    feature::{FeatureSpec, Level, ScopeSpec},
    provider::Provider,
    scope::Scope,
};

/// The words that reach a feature.
pub fn words_of_feature(provider: &Provider, feature: &FeatureSpec) -> Vec<String> {
    let base = feature.base().name();
    let mut words = vec![feature.key.name().to_owned()];
    if base != feature.key.name() {
        words.push(base.to_owned());
    }
    let includes = |level: &Level| feature.notes.level.is_none_or(|own| own <= *level);
    words.extend(level_words(provider, feature, includes));
    words.sort_unstable();
    words.dedup();
    words
}

/// The words that reach a scope; `None`: whoever may receive anything of the provider may receive it, because every token
/// carries it.
pub fn words_of_scope(provider: &Provider, scope: &Scope) -> Option<Vec<String>> {
    if provider.base_scopes.contains(scope) {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    for feature in &provider.features {
        for spec in feature.scopes.iter().filter(|spec| spec.scope == *scope) {
            words.extend(words_of_spec(provider, feature, spec));
        }
    }
    words.sort_unstable();
    words.dedup();
    Some(words)
}

fn words_of_spec(provider: &Provider, feature: &FeatureSpec, spec: &ScopeSpec) -> Vec<String> {
    if feature.notes.level_of.is_some() {
        return words_of_feature(provider, feature);
    }
    let includes = |level: &Level| spec.required || level.covers(&spec.category);
    let mut words = vec![feature.key.name().to_owned()];
    words.extend(level_words(provider, feature, includes));
    words
}

/// `calendar.read`, `calendar.write`: as many as include what is looked at. A feature without levels has no such words, even
/// if another feature's name happens to look like one.
fn level_words<'a>(
    provider: &Provider,
    feature: &'a FeatureSpec,
    includes: impl Fn(&Level) -> bool + 'a,
) -> impl Iterator<Item = String> + 'a {
    let has_levels = feature.notes.level.is_some() || provider.levels_of(feature).next().is_some();
    let levels = Level::ALL.into_iter().filter(move |_| has_levels);
    let words = levels.filter(move |level| includes(level));
    words.map(|level| format!("{}.{}", feature.base().name(), level.as_str()))
}
