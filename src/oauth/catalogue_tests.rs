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

/// What Google's own documents say of each method (https://www.googleapis.com/discovery/v1/apis/youtube/v3/rest): all that
/// take `youtube` or `youtube.upload` take `youtube.force-ssl` too; comments.insert takes that one alone.
#[test]
fn youtube_over_tls_includes_the_account_and_uploads_and_alone_comments() {
    let granted = ["https://www.googleapis.com/auth/youtube.force-ssl"]
        .into_iter()
        .collect();
    for key in ["youtube.playlists", "youtube.playlists.write", "youtube.upload"] {
        let missing = feature(ProviderKind::Youtube, key).missing_scopes(&granted);
        assert!(missing.is_empty(), "{key}: {missing:?}");
    }
    let danger = feature(ProviderKind::Youtube, "youtube.playlists.write")
        .notes
        .danger
        .unwrap();
    assert!(!danger.contains("comment"), "{danger}");
    let danger = feature(ProviderKind::Google, "google.gmail.write")
        .notes
        .danger
        .unwrap();
    assert!(danger.contains("drafts and labels"), "{danger}");
}

#[test]
fn a_configured_feature_of_the_catalogue_is_one_feature_and_its_words_win() {
    let calendar = "google.calendar";
    let mut settings = ProviderSettings::new("google".parse().unwrap(), ProviderKind::Google);
    settings.features.push(FeatureSettings {
        scopes: [
            "https://www.googleapis.com/auth/calendar.events.readonly",
            "https://acme.example/extra",
        ]
        .into_iter()
        .collect(),
        description: Some("What you have planned.".into()),
        ..FeatureSettings::new(calendar.parse().unwrap())
    });
    let merged = entry(&settings).unwrap();
    let named = |key: &str| {
        let mut found = merged
            .features
            .iter()
            .filter(|feature| feature.key.as_str() == key);
        let first = found.next().unwrap();
        assert!(found.next().is_none(), "{key} is listed twice");
        first
    };
    let before = feature(ProviderKind::Google, calendar);
    let after = named(calendar);
    assert_eq!(
        merged.features.len(),
        built_in(ProviderKind::Google).features.len()
    );
    assert_eq!(after.required_scopes(), settings.features[0].scopes);
    assert_eq!(after.description, "What you have planned.");
    assert_eq!(
        (&after.display_name, &after.notes),
        (&before.display_name, &before.notes)
    );
    assert!(
        before
            .scopes
            .iter()
            .all(|spec| after.scopes.iter().any(|kept| kept.scope == spec.scope))
    );
    assert!(after.default, "as in the catalogue");
    let write = named("google.calendar.write");
    assert!(
        after.missing_scopes(&write.required_scopes()).is_empty(),
        "a level includes what it widens"
    );

    // Words alone leave the scopes as they are; another default replaces the catalogue's.
    settings.features[0] = FeatureSettings {
        default: true,
        ..FeatureSettings::new("google.gmail".parse().unwrap())
    };
    let merged = entry(&settings).unwrap();
    let default: Vec<_> = merged.features.iter().filter(|feature| feature.default).collect();
    assert_eq!(default.len(), 1);
    assert_eq!(default[0].key.as_str(), "google.gmail");
    assert_eq!(
        default[0].required_scopes(),
        feature(ProviderKind::Google, "google.gmail").required_scopes()
    );
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
