//! The catalogue of the built-in providers holds together, and says what users must know.

use super::*;

fn built_in(kind: ProviderKind) -> Entry {
    entry(&ProviderSettings::new(kind.as_str().parse().unwrap(), kind)).unwrap()
}

#[test]
fn each_provider_has_one_default_and_every_feature_a_required_scope() {
    for kind in ProviderKind::BUILT_IN {
        let entry = built_in(kind);
        assert_eq!(entry.features.iter().filter(|f| f.default).count(), 1, "{kind:?}");
        for feature in &entry.features {
            assert!(!feature.required_scopes().is_empty(), "{}", feature.key);
            assert!(
                feature
                    .scopes
                    .iter()
                    .all(|s| !s.scope.as_str().contains("dataportability"))
            );
            for spec in &feature.scopes {
                assert!(
                    ["read", "write", "admin"].contains(&spec.category.as_str()),
                    "{}",
                    spec.scope
                );
            }
        }
    }
    let default = |kind| {
        let features = built_in(kind).features;
        features.into_iter().find(|f| f.default).unwrap().key.to_string()
    };
    assert_eq!(default(ProviderKind::Google), "google.calendar");
    assert_eq!(default(ProviderKind::Microsoft), "microsoft.calendar");
    assert_eq!(default(ProviderKind::Notion), "notion.pages");
    assert_eq!(default(ProviderKind::Youtube), "youtube.playlists");
}

#[test]
fn what_youtube_no_longer_offers_is_said_plainly() {
    for feature in built_in(ProviderKind::Youtube).features {
        if ["youtube.history", "youtube.recommendations"].contains(&feature.key.as_str()) {
            assert!(
                feature.description.contains("no longer offers"),
                "{}",
                feature.key
            );
        }
    }
}

#[test]
fn a_wider_scope_satisfies_a_narrower_one() {
    let entry = built_in(ProviderKind::Google);
    let granted = ["https://www.googleapis.com/auth/calendar"].into_iter().collect();
    let calendar = entry
        .features
        .iter()
        .find(|f| f.key.name() == "calendar")
        .unwrap();
    assert!(calendar.missing_scopes(&granted).is_empty());
}

#[test]
fn a_second_registration_has_features_under_its_own_key() {
    let entry = entry(&ProviderSettings::new(
        "work".parse().unwrap(),
        ProviderKind::Google,
    ))
    .unwrap();
    assert!(entry.features.iter().all(|f| f.key.provider() == "work"));
}

#[test]
fn a_custom_feature_must_carry_its_providers_key() {
    let mut settings = ProviderSettings::new("acme".parse().unwrap(), ProviderKind::Oidc);
    settings.features.push(FeatureSettings {
        scopes: ["profile"].into_iter().collect(),
        ..FeatureSettings::new("other.profile".parse().unwrap())
    });
    assert!(entry(&settings).is_err());
    settings.features[0].key = "acme.profile".parse().unwrap();
    let entry = entry(&settings).unwrap();
    assert!(entry.features[0].default);
    assert_eq!(entry.base_scopes, ["openid"].into_iter().collect());
}

fn feature(provider: ProviderKind, key: &str) -> FeatureSpec {
    let found = built_in(provider)
        .features
        .into_iter()
        .find(|f| f.key.as_str() == key);
    found.unwrap_or_else(|| panic!("{key} is not in the catalogue"))
}

#[test]
fn every_feature_that_was_promised_is_there() {
    for key in [
        "google.calendar",
        "google.drive",
        "google.gmail",
        "google.tasks",
        "microsoft.calendar",
        "microsoft.mail",
        "microsoft.onedrive",
        "microsoft.teams",
        "microsoft.sharepoint",
        "notion.pages",
        "notion.databases",
        "notion.templates",
        "notion.collaboration",
        "youtube.playlists",
        "youtube.history",
        "youtube.recommendations",
    ] {
        let kind = ProviderKind::BUILT_IN
            .into_iter()
            .find(|kind| key.starts_with(kind.as_str()))
            .unwrap();
        feature(kind, key);
    }
}

#[test]
fn a_level_needs_what_it_widens_needs_and_is_no_default() {
    let mut levels = 0;
    for entry in ProviderKind::BUILT_IN.map(built_in) {
        for level in entry.features.iter().filter(|f| f.notes.level_of.is_some()) {
            levels += 1;
            let base = entry.features.iter().find(|f| f.key == *level.base()).unwrap();
            let word = level.notes.level.unwrap().as_str();
            assert_eq!(level.key.as_str(), format!("{}.{word}", base.key));
            assert!(
                base.missing_scopes(&level.required_scopes()).is_empty(),
                "{}",
                level.key
            );
            assert!(
                !level.missing_scopes(&base.required_scopes()).is_empty(),
                "{}",
                level.key
            );
            assert!(
                level.scopes.iter().all(|spec| spec.required) && !level.default,
                "{}",
                level.key
            );
        }
    }
    assert_eq!(levels, 19);
    // One box less to tick: the wider scope includes the narrower one.
    let mail = feature(ProviderKind::Microsoft, "microsoft.mail.write").required_scopes();
    assert_eq!(mail, ["Mail.ReadWrite", "Mail.Send"].into_iter().collect());
}

#[test]
fn what_reaches_far_says_what_could_go_wrong() {
    for feature in ProviderKind::BUILT_IN
        .map(built_in)
        .into_iter()
        .flat_map(|entry| entry.features)
    {
        let reaches_far = feature.scopes.iter().any(|spec| spec.required && spec.dangerous);
        let changes = feature.notes.level == Some(Level::Write);
        if reaches_far || changes {
            let danger = feature
                .notes
                .danger
                .unwrap_or_else(|| panic!("{} says nothing", feature.key));
            assert!(danger.ends_with('.') && !danger.contains("scope"), "{danger}");
        }
        assert!(
            !feature.description.contains("if you allow it"),
            "{}",
            feature.key
        );
    }
}

#[test]
fn what_needs_an_organisation_says_so() {
    for feature in built_in(ProviderKind::Microsoft).features {
        let expected = ["teams", "sharepoint", "directory"]
            .iter()
            .any(|name| feature.base().name() == *name);
        assert_eq!(feature.notes.work_account_only, expected, "{}", feature.key);
        if expected && feature.notes.level_of.is_none() {
            assert!(
                feature.description.contains("Needs a work"),
                "{}",
                feature.description
            );
        }
    }
}

#[test]
fn notions_scopes_are_capabilities_and_nobody_elses_are() {
    for kind in ProviderKind::BUILT_IN {
        for spec in built_in(kind).features.iter().flat_map(|feature| &feature.scopes) {
            let expected = if kind == ProviderKind::Notion {
                ScopeKind::Capability
            } else {
                ScopeKind::Scope
            };
            assert_eq!(spec.kind, expected, "{}", spec.scope);
        }
    }
}

#[test]
fn a_custom_feature_may_say_more_than_its_scopes() {
    let mut settings = ProviderSettings::new("acme".parse().unwrap(), ProviderKind::Oidc);
    settings.features.push(FeatureSettings {
        scopes: ["files"].into_iter().collect(),
        optional_scopes: ["files", "files.share"].into_iter().collect(),
        danger: Some("Files can be shared with anybody.".into()),
        work_account_only: true,
        ..FeatureSettings::new("acme.files".parse().unwrap())
    });
    let feature = entry(&settings).unwrap().features.remove(0);
    assert_eq!(feature.required_scopes(), ["files"].into_iter().collect());
    assert_eq!(feature.scopes.len(), 2);
    assert!(feature.notes.work_account_only && feature.notes.danger.is_some());
}

#[test]
fn where_only_personal_accounts_sign_in_nothing_is_offered_that_they_cannot_have() {
    let mut settings = ProviderSettings::new("microsoft".parse().unwrap(), ProviderKind::Microsoft);
    let has_teams = |settings: &ProviderSettings| {
        let features = entry(settings).unwrap().features;
        features
            .iter()
            .any(|feature| feature.key.as_str() == "microsoft.teams")
    };
    for (tenant, offered) in [("common", true), ("organizations", true), ("consumers", false)] {
        settings.tenant = Some(tenant.into());
        assert_eq!(has_teams(&settings), offered, "{tenant}");
    }
}

#[test]
fn a_configured_scope_is_included_in_what_the_operator_says() {
    let mut settings = ProviderSettings::new("github".parse().unwrap(), ProviderKind::Oauth2);
    let mut mail = FeatureSettings::new("github.mail".parse().unwrap());
    mail.scopes = ["user:email"].into_iter().collect();
    settings.features.push(mail);
    let told: ScopeSet = ["user"].into_iter().collect();
    let missing = |settings: &ProviderSettings, granted: &ScopeSet| {
        entry(settings).unwrap().features[0].missing_scopes(granted)
    };
    assert_eq!(missing(&settings, &told), ["user:email"].into_iter().collect());
    let wider = |scope: &str| [scope].into_iter().collect::<ScopeSet>();
    settings
        .implied_by
        .insert(Scope::new("user:email"), wider("user"));
    settings
        .implied_by
        .insert(Scope::new("user"), wider("admin:user"));
    assert!(missing(&settings, &told).is_empty());
    assert!(
        missing(&settings, &wider("admin:user")).is_empty(),
        "step by step"
    );
    assert!(!missing(&settings, &wider("read:org")).is_empty());
    settings
        .implied_by
        .insert(Scope::new("user:emial"), wider("user"));
    assert!(entry(&settings).is_err(), "a scope that plays no part");
}
