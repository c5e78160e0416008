//! A feature of the catalogue that the operator configures as well: it stays one feature, and what was configured wins.

use oauth_manager_actors::domain::feature::{FeatureSpec, ScopeSpec};

use super::settings::FeatureSettings;

/// Takes a configured feature in: on top of the one with its key, if there is one.
pub(super) fn take_in(features: &mut Vec<FeatureSpec>, given: &FeatureSettings, made: FeatureSpec) {
    if given.default {
        // The operator's word counts more than the catalogue's, wherever the feature stands.
        for feature in &mut *features {
            feature.default = false;
        }
    }
    let Some(known) = features.iter_mut().find(|feature| feature.key == made.key) else {
        return features.push(made);
    };
    if given.display_name.is_some() {
        known.display_name = made.display_name;
    }
    if given.description.is_some() {
        known.description = made.description;
    }
    if given.danger.is_some() {
        known.notes.danger = made.notes.danger;
    }
    known.notes.work_account_only |= given.work_account_only;
    known.default |= given.default;
    let is_level = known.notes.level_of.is_some();
    for spec in &mut known.scopes {
        // A level keeps what it widens; without any scopes nothing was said about them.
        if !is_level && !given.scopes.is_empty() {
            spec.required = given.scopes.contains(&spec.scope);
        }
    }
    add_missing(&mut known.scopes, made.scopes);
    let base = known.clone();
    let levels = features
        .iter_mut()
        .filter(|feature| feature.notes.level_of.as_ref() == Some(&base.key));
    for level in levels {
        let missing = base.missing_scopes(&level.required_scopes());
        let needed = base.scopes.iter().filter(|spec| missing.contains(&spec.scope));
        add_missing(&mut level.scopes, needed.cloned().collect());
    }
}

/// Known scopes keep their words.
fn add_missing(scopes: &mut Vec<ScopeSpec>, more: Vec<ScopeSpec>) {
    for spec in more {
        if scopes.iter().all(|known| known.scope != spec.scope) {
            scopes.push(spec);
        }
    }
}
