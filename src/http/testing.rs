//! Values that the tests of this side share.

use std::sync::Arc;

use oauth_manager_actors::domain::{
    feature::{FeatureNotes, FeatureSpec, ScopeKind, ScopeSpec},
    provider::{BudgetKey, Provider, RefreshClass, RevocationSupport},
    scope::{Scope, ScopeSet},
};

use super::settings::{HttpSettings, Limits, ReturnPolicy};

/// Settings of an https service.
pub(crate) fn settings() -> HttpSettings {
    HttpSettings {
        public_url: "https://oauth.example.com".parse().unwrap(),
        development: false,
        service_version: "0.0.0".into(),
        allowed_origins: vec!["https://app.example.com".parse().unwrap()],
        returns: ReturnPolicy::default(),
        trusted_proxies: Vec::new(),
        measured: false,
        limits: Limits::default(),
        user_jwt: None,
    }
}

/// Google with a calendar, configured; Notion with pages, not.
pub(crate) fn providers() -> Vec<Arc<Provider>> {
    vec![
        provider("google", "Google", "google.calendar", "calendar.read", true),
        provider("notion", "Notion", "notion.pages", "pages.read", false),
    ]
}

fn provider(key: &str, name: &str, feature: &str, scope: &str, configured: bool) -> Arc<Provider> {
    Arc::new(Provider {
        key: key.parse().unwrap(),
        display_name: name.into(),
        configured,
        base_scopes: ScopeSet::from_iter(["openid"]),
        features: vec![FeatureSpec {
            key: feature.parse().unwrap(),
            display_name: feature.into(),
            description: "What it does.".into(),
            wording_version: oauth_manager_actors::domain::consent::WordingVersion::FIRST,
            default: true,
            scopes: vec![ScopeSpec {
                scope: Scope::new(scope),
                display_name: scope.into(),
                description: "What it allows.".into(),
                category: "read".into(),
                required: true,
                dangerous: false,
                implied_by: ScopeSet::default(),
                kind: ScopeKind::default(),
            }],
            notes: FeatureNotes::default(),
        }],
        open_scopes: false,
        reports_scopes: true,
        incremental: false,
        shares_grants: false,
        refresh_class: RefreshClass::Safe,
        refresh_margin: None,
        budget: BudgetKey::new("test"),
        keep_alive: None,
        refresh_token_lifetime: None,
        max_concurrency: 8,
        narrows: false,
        rate: None,
        revocation: RevocationSupport::Supported,
    })
}
