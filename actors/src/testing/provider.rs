//! Provider declarations for tests.

use crate::domain::{
    feature::{FeatureNotes, FeatureSpec, ScopeKind, ScopeSpec},
    provider::{BudgetKey, Provider, RefreshClass, RevocationSupport},
    scope::{Scope, ScopeSet},
};

/// A provider with two features, `<key>.read` (default) and `<key>.write`, and the class `safe`.
///
/// # Panics
/// If the key is not one.
#[expect(clippy::expect_used, reason = "a test's own mistake")]
pub fn provider(key: &str) -> Provider {
    let feature = |name: &str, default: bool| FeatureSpec {
        key: format!("{key}.{name}").parse().expect("a feature key"),
        display_name: name.into(),
        description: format!("{name} things"),
        wording_version: crate::domain::consent::WordingVersion::FIRST,
        default,
        scopes: vec![ScopeSpec {
            scope: Scope::new(name),
            display_name: name.into(),
            description: name.into(),
            category: name.into(),
            required: true,
            dangerous: false,
            implied_by: ScopeSet::default(),
            kind: ScopeKind::default(),
        }],
        notes: FeatureNotes::default(),
    };
    Provider {
        key: key.parse().expect("a provider key"),
        display_name: key.into(),
        configured: true,
        base_scopes: ["openid"].into_iter().collect(),
        features: vec![feature("read", true), feature("write", false)],
        open_scopes: false,
        reports_scopes: true,
        incremental: false,
        shares_grants: false,
        refresh_class: RefreshClass::Safe,
        refresh_margin: None,
        budget: BudgetKey::new(key),
        keep_alive: None,
        refresh_token_lifetime: None,
        max_concurrency: 32,
        narrows: false,
        rate: None,
        revocation: RevocationSupport::Supported,
    }
}
