//! Where values come from, which source wins, and that secrets stay unseen.

use super::*;

#[test]
fn a_variable_wins_over_a_well_known_one_over_the_file_over_the_default() {
    let url = |pairs: &[(&str, &str)]| load(&production(), "", pairs).unwrap().database.url().to_owned();
    let known = ("DATABASE_URL", "postgres://u@known/x");
    let own = ("OAUTH_MANAGER__DATABASE__URL", "postgres://u@own/x");
    assert_eq!(url(&[]), "postgres://u:pw-marker@db/x");
    assert_eq!(url(&[known]), "postgres://u@known/x");
    assert_eq!(url(&[known, own]), "postgres://u@own/x");
    assert_eq!(url(&[("DATABASE_URL", "")]), "postgres://u:pw-marker@db/x");
}

#[test]
fn every_kind_of_key_can_be_a_variable() {
    let config = load(
        &development(),
        "",
        &[
            ("OAUTH_MANAGER__SERVER__LISTEN", "127.0.0.1:9"),
            (
                "OAUTH_MANAGER__SERVER__ALLOWED_ORIGINS",
                "https://a.example, https://b.example",
            ),
            ("OAUTH_MANAGER__SERVER__TRUSTED_PROXIES", "10.0.0.7, fd00::/8"),
            ("OAUTH_MANAGER__SERVER__MAX_CONNECTIONS", "7"),
            ("OAUTH_MANAGER__RESIDENCY__IDLE_AFTER", "never"),
            ("OAUTH_MANAGER__PROVIDERS__MY_IDP__TYPE", "oidc"),
            ("OAUTH_MANAGER__PROVIDERS__MY_IDP__ISSUER", "https://id.example"),
            ("OAUTH_MANAGER__PROVIDERS__MY_IDP__CLIENT_ID", "123"),
            ("OAUTH_MANAGER__PROVIDERS__MY_IDP__CLIENT_SECRET", "true"),
            ("OAUTH_MANAGER__PROVIDERS__MY_IDP__REFRESH_CLASS", "grace:10s"),
            (
                "OAUTH_MANAGER__PROVIDERS__MY_IDP__FEATURES__PROFILE",
                "openid profile",
            ),
            ("OAUTH_MANAGER_CONFIG", ""),
            ("HOME", "/somewhere"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 9);
    assert_eq!(config.server.trusted_proxies.len(), 2);
    assert_eq!(config.server.allowed_origins.len(), 2);
    assert_eq!(config.server.max_connections, 7);
    assert_eq!(config.residency.idle_after, IdleAfter::Never);
    let (key, provider) = config.configured_providers().next().unwrap();
    assert_eq!((key, provider.client_id.as_deref()), ("my-idp", Some("123")));
    assert_eq!(provider.client_secret.as_ref().unwrap().expose(), "true");
    assert_eq!(provider.issuer.as_ref().unwrap().as_str(), "https://id.example");
    assert_eq!(
        provider.refresh_class,
        Some(RefreshClass::Grace(Duration::from_secs(10)))
    );
    assert_eq!(provider.features["my-idp.profile"].scopes, ["openid", "profile"]);
}

#[test]
fn a_misspelt_variable_is_refused() {
    assert_refused(
        load(&production(), "", &[("OAUTH_MANAGER__SERVER__LISTN", "x")]),
        "server.listn",
    );
    for name in [
        "OAUTH_MANAGER__SERVER",
        "OAUTH_MANAGER____X",
        "OAUTH_MANAGER__SERVER__LISTEN__X__",
    ] {
        assert_refused(load(&production(), "", &[(name, "x")]), name);
    }
}

#[test]
fn well_known_keys_and_credentials_are_honoured() {
    let base = development();
    let ids = |pairs: &[(&str, &str)]| -> Vec<String> {
        let config = load(&base, "", pairs).unwrap();
        config
            .encryption
            .keys
            .iter()
            .map(|key| key.id().to_owned())
            .collect()
    };
    let several = format!("new:{KEY},old:{}", KEY.replace("q83", "r94"));
    assert_eq!(ids(&[("OAUTH_ENCRYPTION_KEY", KEY)]), [DEFAULT_KEY_ID]);
    assert_eq!(ids(&[("OAUTH_ENCRYPTION_KEY", &format!("mine:{KEY}"))]), ["mine"]);
    assert_eq!(ids(&[("OAUTH_ENCRYPTION_KEYS", &several)]), ["new", "old"]);
    let both = [
        ("OAUTH_ENCRYPTION_KEY", KEY),
        ("OAUTH_ENCRYPTION_KEYS", several.as_str()),
    ];
    assert_refused(load(&base, "", &both), "encryption.keys");
    for name in ["GOOGLE", "MICROSOFT", "NOTION", "YOUTUBE"] {
        let (id, secret) = (format!("{name}_CLIENT_ID"), format!("{name}_CLIENT_SECRET"));
        let config = load(&base, "", &[(id.as_str(), "a"), (secret.as_str(), "b")]).unwrap();
        assert!(config.providers[&name.to_lowercase()].is_configured());
    }
}

#[test]
fn a_file_twin_gives_the_secret_without_its_line_end() {
    let file = scratch(&format!("{SECRET}\n"));
    let keys = scratch(&format!("k2:{KEY}\nk1:{}\n", KEY.replace("q83", "r94")));
    let name = file.to_str().unwrap();
    let twin = format!(
        "[auth]\nhs256_secret_file = '{name}'\n[encryption]\nkeys_file = '{}'",
        keys.display()
    );
    let config = load(&development(), &twin, &[]).unwrap();
    assert_eq!(config.auth.hs256_secret.unwrap().expose(), SECRET);
    assert_eq!(config.encryption.keys.len(), 2);

    assert_refused(load(&production(), &twin, &[]), "encryption.keys_file");
    // A higher layer's twin overrides, and its twin in the same layer is an error.
    let by_variable = ("OAUTH_MANAGER__PROVIDERS__GOOGLE__CLIENT_SECRET_FILE", name);
    let google = "[providers.google]\nclient_id = 'a'\nclient_secret = 'b'";
    let config = load(&production(), google, &[by_variable]).unwrap();
    assert_eq!(
        config.providers["google"]
            .client_secret
            .as_ref()
            .unwrap()
            .expose(),
        SECRET
    );
    let both = [
        by_variable,
        ("OAUTH_MANAGER__PROVIDERS__GOOGLE__CLIENT_SECRET", "c"),
    ];
    assert_refused(
        load(&production(), google, &both),
        "providers.google.client_secret_file",
    );
    let known = [("GOOGLE_CLIENT_ID", "a"), ("GOOGLE_CLIENT_SECRET_FILE", name)];
    assert!(load(&production(), "", &known).unwrap().providers["google"].is_configured());

    fs::remove_file(&file).unwrap();
    fs::remove_file(&keys).unwrap();
    assert_refused(
        load(&production(), google, &[by_variable]),
        "providers.google.client_secret_file",
    );
}

#[test]
fn the_file_is_named_by_the_command_line_or_the_environment() {
    let file = scratch(&production());
    let env = vars(&[(FILE_VARIABLE, file.to_str().unwrap())]);
    assert!(Config::load(None, &env).is_ok());
    assert!(Config::load(Some(&file), &vars(&[])).is_ok());
    fs::write(&file, "[auth]\n\nhs256_secret = 'pw-marker\n").unwrap();
    let error = Config::load(Some(&file), &vars(&[])).unwrap_err().to_string();
    assert!(
        error.contains("line 3") && !error.contains("pw-marker"),
        "{error}"
    );
    fs::remove_file(&file).unwrap();
    assert!(matches!(
        Config::load(None, &env),
        Err(ConfigError::Unreadable { .. })
    ));
}

#[test]
fn neither_debug_nor_print_shows_a_secret() {
    let google = format!("[providers.google]\nclient_id = 'the-id'\nclient_secret = '{SECRET}x'");
    let config = load(&production(), &google, &[]).unwrap();
    let printed = config.redacted_toml();
    for text in [format!("{config:?}"), printed.to_owned()] {
        for secret in [KEY, SECRET, "pw-marker"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert!(text.contains("the-id"));
    }
    assert!(printed.contains("client_secret = \"[redacted]\"") && printed.contains("idle_after = \"10m\""));
}

#[test]
fn blanks_around_credentials_are_taken_off_and_those_within_stay() {
    let file = scratch("\u{feff}  in a file \r\n\n");
    let google = "[providers.google]\nclient_id = ' an id\t'\nclient_secret = \"\\n in the file \"\n\
                  [providers.microsoft]\nclient_id = 'm'";
    let variables = [
        ("NOTION_CLIENT_ID", " n\n"),
        ("NOTION_CLIENT_SECRET", " in a variable\n"),
        (
            "OAUTH_MANAGER__PROVIDERS__MICROSOFT__CLIENT_SECRET_FILE",
            file.to_str().unwrap(),
        ),
        ("DATABASE_URL", " postgres://u@db/x \n"),
    ];
    let config = load(&production(), google, &variables).unwrap();
    let credentials = |key: &str| {
        let provider = &config.providers[key];
        let secret = provider.client_secret.as_ref().unwrap().expose().to_owned();
        (provider.client_id.clone().unwrap(), secret)
    };
    assert_eq!(credentials("google"), ("an id".into(), "in the file".into()));
    assert_eq!(credentials("notion"), ("n".into(), "in a variable".into()));
    assert_eq!(credentials("microsoft"), ("m".into(), "in a file".into()));
    assert_eq!(config.database.url(), "postgres://u@db/x");
    // Nothing but blanks is nothing.
    let blank = "[providers.google]\nclient_id = 'a'\nclient_secret = '  '";
    assert_refused(load(&production(), blank, &[]), "providers.google.client_secret");
}
