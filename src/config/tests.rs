//! Every refusal names its key; every layer wins over the one below.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// 32 bytes without a pattern.
const KEY: &str = "q83vEjRWeJq83v7tI0VniaHJ4PPyLhA9bX5kV0sTc2w=";
const SECRET: &str = "0f8e3a3b6a9c4d7e8f1a2b3c4d5e6f70";

fn production() -> String {
    format!(
        "[server]\npublic_url = 'https://oauth.example.com'\n[database]\nurl = 'postgres://u:pw-marker@db/x'\n\
         [encryption]\nkeys = ['k1:{KEY}']\n[auth]\nhs256_secret = '{SECRET}'\n"
    )
}

fn development() -> String {
    "[server]\nenvironment = 'development'\n[database]\nurl = 'postgres://u@db/x'\n".to_owned()
}

fn vars(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Loads the base with more TOML and more variables.
fn load(base: &str, more: &str, pairs: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_layers(merge(base, more), &vars(pairs))
}

/// Joins two texts that may both have a table.
fn merge(base: &str, more: &str) -> Dict {
    let layer = |text: &str| Layer {
        name: "test",
        layer: parse_toml(text, Path::new("test")).unwrap(),
    };
    Figment::new()
        .merge(layer(base))
        .merge(layer(more))
        .extract()
        .unwrap()
}

#[track_caller]
fn assert_refused(result: Result<Config, ConfigError>, key: &str) {
    let error = result.map(|_| ()).expect_err(key);
    let text = error.to_string();
    assert!(
        text.lines().any(|line| line.starts_with(&format!("{key}: "))),
        "wanted {key}, got: {text}"
    );
    for secret in [KEY, SECRET, "pw-marker"] {
        assert!(!text.contains(secret), "{text}");
    }
}

fn scratch(content: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("oauth-manager-config-{}", uuid::Uuid::new_v4()));
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn the_least_production_configuration_is_accepted() {
    let config = load(&production(), "", &[]).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8002");
    assert_eq!(config.server.public_url(), "https://oauth.example.com");
    assert!(!config.server.docs_enabled());
    assert_eq!(config.server.body_limit_bytes, 65536);
    assert_eq!(config.database.max_connections, 16);
    assert_eq!(config.timings.refresh_lease, Duration::from_secs(30));
    assert_eq!(
        config.residency.idle_after,
        IdleAfter::After(Duration::from_mins(10))
    );
    assert_eq!(config.encryption.keys[0].id(), "k1");
    assert_eq!(config.configured_providers().count(), 0);
}

#[test]
fn development_needs_a_database_only() {
    let config = load(&development(), "", &[]).unwrap();
    assert_eq!(config.server.public_url(), "http://127.0.0.1:8002");
    assert!(config.server.docs_enabled());
    let more = "[server]\nallowed_return_origins = ['http://localhost:3000', 'http://127.0.0.1:3000']\n\
                [providers.google]\nclient_id = 'a'\nclient_secret = 'b'\nallow_loopback = true\n\
                token_endpoint = 'http://127.0.0.1:8003/google/token'";
    assert!(load(&development(), more, &[]).is_ok());
}

/// Every refusal of a production configuration.
#[test]
fn config_matrix() {
    let key = |bytes: [u8; 32]| {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(bytes)
    };
    let counting: [u8; 32] = std::array::from_fn(|index| index as u8);
    let keys = |keys: &str| format!("[encryption]\nkeys = {keys}");
    let acme =
        |more: &str| format!("[providers.acme]\ntype = 'oidc'\nissuer = 'https://id.acme.example'\n{more}");
    for (key, more) in [
        (
            "server.environment",
            "[server]\nenvironment = 'staging'".to_owned(),
        ),
        ("server.listen", "[server]\nlisten = 'localhost'".to_owned()),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://oauth.example.com'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://127.0.0.1:8002'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'http://localhost:8002'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'https://oauth.example.com/path'".to_owned(),
        ),
        (
            "server.public_url",
            "[server]\npublic_url = 'https://u:p@oauth.example.com'".to_owned(),
        ),
        (
            "server.allowed_origins",
            "[server]\nallowed_origins = ['*']".to_owned(),
        ),
        (
            "server.allowed_return_origins",
            "[server]\nallowed_return_origins = ['https://*.x.example']".to_owned(),
        ),
        (
            "server.allowed_return_origins",
            "[server]\nallowed_return_origins = ['http://127.0.0.1:3']".to_owned(),
        ),
        (
            "server.metrics_listen",
            "[server]\nmetrics_listen = '127.0.0.1:8002'".to_owned(),
        ),
        (
            "server.body_limit_bytes",
            "[server]\nbody_limit_bytes = 0".to_owned(),
        ),
        (
            "server.max_connections",
            "[server]\nmax_connections = 0".to_owned(),
        ),
        (
            "server.request_deadline",
            "[server]\nrequest_deadline = '0s'".to_owned(),
        ),
        (
            "server.request_deadline",
            "[server]\nrequest_deadline = 30".to_owned(),
        ),
        ("server.listn", "[server]\nlistn = 'x'".to_owned()),
        ("database.url", "[database]\nurl = ''".to_owned()),
        (
            "database.url",
            "[database]\nurl = 'mysql://u:pw-marker@db/x'".to_owned(),
        ),
        (
            "database.max_connections",
            "[database]\nmax_connections = 0".to_owned(),
        ),
        (
            "database.max_connections",
            "[database]\nmax_connections = 'many'".to_owned(),
        ),
        (
            "database.wait_timeout",
            "[database]\nwait_timeout = '0s'".to_owned(),
        ),
        ("encryption.keys", keys("[]")),
        ("encryption.keys", keys("['k1:AAAA']")),
        ("encryption.keys", keys("['k1:not base64']")),
        ("encryption.keys", keys(&format!("[':{KEY}']"))),
        ("encryption.keys", keys(&format!("['k1:{KEY}', 'k1:{KEY}']"))),
        ("encryption.keys", keys(&format!("['k1:{}']", key([0; 32])))),
        ("encryption.keys", keys(&format!("['k1:{}']", key([0xab; 32])))),
        ("encryption.keys", keys(&format!("['k1:{}']", key(counting)))),
        (
            "encryption.keys",
            keys(&format!("['k1:{}']", key(*b"a passphrase is not a random key"))),
        ),
        ("auth.hs256_secret", "[auth]\nhs256_secret = 'short'".to_owned()),
        (
            "auth.hs256_secret",
            "[auth]\njwks_url = 'https://app.example/jwks'".to_owned(),
        ),
        (
            "auth.jwks_url",
            "[auth]\njwks_url = 'http://app.example/jwks'".to_owned(),
        ),
        ("auth.leeway", "[auth]\nleeway = '1h'".to_owned()),
        (
            "providers.google.client_secret",
            "[providers.google]\nclient_id = 'a'".to_owned(),
        ),
        (
            "providers.google.type",
            "[providers.google]\ntype = 'oidc'".to_owned(),
        ),
        (
            "providers.google.client_idd",
            "[providers.google]\nclient_idd = 'a'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'http://x.example/t'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'https://127.0.0.1/t'".to_owned(),
        ),
        (
            "providers.google.token_endpoint",
            "[providers.google]\ntoken_endpoint = 'https://localhost/t'".to_owned(),
        ),
        (
            "providers.google.allow_loopback",
            "[providers.google]\nallow_loopback = true".to_owned(),
        ),
        (
            "providers.google.tenant",
            "[providers.google]\ntenant = 'common'".to_owned(),
        ),
        (
            "providers.microsoft.tenant",
            "[providers.microsoft]\ntenant = '../x'".to_owned(),
        ),
        ("providers.Acme", "[providers.Acme]\ntype = 'oidc'".to_owned()),
        ("providers.my_idp", "[providers.my_idp]\ntype = 'oidc'".to_owned()),
        (
            "providers.acme.type",
            "[providers.acme]\nclient_id = 'a'\nclient_secret = 'b'".to_owned(),
        ),
        (
            "providers.acme.issuer",
            "[providers.acme]\ntype = 'oidc'".to_owned(),
        ),
        (
            "providers.acme.token_endpoint",
            "[providers.acme]\ntype = 'oauth2'".to_owned(),
        ),
        ("providers.acme.refresh_class", acme("refresh_class = 'grace'")),
        ("providers.acme.pkce", acme("pkce = 'plain'")),
        ("providers.acme.client_auth", acme("client_auth = 'jwt'")),
        ("providers.acme.max_concurrency", acme("max_concurrency = 0")),
        (
            "providers.acme.authorize_params.state",
            acme("authorize_params = { state = 'x' }"),
        ),
        (
            "providers.acme.features.\"profile\"",
            acme("features = { profile = ['openid'] }"),
        ),
        (
            "providers.acme.features.\"acme.x\"",
            acme("features = { 'acme.x' = ['a\"b'] }"),
        ),
        (
            "residency.idle_after",
            "[residency]\nidle_after = 'sometimes'".to_owned(),
        ),
        (
            "timings.provider_deadline",
            "[timings]\nprovider_deadline = '15s'".to_owned(),
        ),
        (
            "timings.authorization_ttl",
            "[timings]\nauthorization_ttl = '2h'".to_owned(),
        ),
        ("log.filter", "[log]\nfilter = 'a=b=c'".to_owned()),
        ("log.format", "[log]\nformat = 'xml'".to_owned()),
        ("sever", "[sever]\nlisten = 'x'".to_owned()),
    ] {
        let result = load(&production(), &more, &[]);
        assert!(result.is_err(), "accepted: {more}");
        assert_refused(result, key);
    }
}

#[test]
fn production_needs_what_development_does_without() {
    let bare = "[database]\nurl = 'postgres://u@db/x'\n";
    let error = load(bare, "", &[]).unwrap_err();
    let keys: Vec<&str> = error
        .problems()
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        keys,
        ["server.public_url", "encryption.keys", "auth.hs256_secret"]
    );
    assert_eq!(error.to_string().lines().count(), 3);
}

#[test]
fn config_refuses_plain_http_redirect() {
    for url in [
        "http://localhost:8002",
        "http://oauth.example.com",
        "http://127.0.0.2:8002",
    ] {
        assert_refused(
            load(&development(), &format!("[server]\npublic_url = '{url}'"), &[]),
            "server.public_url",
        );
    }
    for url in ["http://127.0.0.1:8002", "http://[::1]:8002"] {
        assert!(
            load(&development(), &format!("[server]\npublic_url = '{url}'"), &[]).is_ok(),
            "{url}"
        );
    }
}

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
            ("OAUTH_MANAGER__SERVER__DOCS", "false"),
            (
                "OAUTH_MANAGER__SERVER__ALLOWED_ORIGINS",
                "https://a.example, https://b.example",
            ),
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
    assert!(!config.server.docs_enabled());
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
    assert_eq!(provider.features["my-idp.profile"], ["openid", "profile"]);
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

/// The reference is complete (every field is in it) and right (every key in it is known).
#[test]
fn the_commented_defaults_document_every_key() {
    let mut section = String::new();
    for line in DEFAULT_TOML.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if line.starts_with('[') {
            section = line.to_owned();
        } else if line.contains(" = ") && toml::from_str::<toml::Table>(line).is_ok() {
            let text = load(&production(), &format!("{section}\n{line}"), &[])
                .map(|_| ())
                .map_err(|e| e.to_string());
            assert!(
                !text.clone().is_err_and(|text| text.contains("unknown key")),
                "{section} {line}: {text:?}"
            );
        }
    }
    for section in [
        "server",
        "database",
        "encryption",
        "auth",
        "providers.acme",
        "residency",
        "timings",
        "log",
    ] {
        let text = load(&production(), &format!("[{section}]\nno_such_key = 1"), &[])
            .unwrap_err()
            .to_string();
        let (_, known) = text.split_once("known here: ").unwrap();
        for key in known.lines().next().unwrap().split(", ") {
            let documented =
                DEFAULT_TOML.contains(&format!("{key} = ")) || DEFAULT_TOML.contains(&format!(".{key}]"));
            assert!(documented, "{section}.{key}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_a_configuration_or_refused(text in "\\PC{0,200}") {
        let _ = Config::from_toml(&text, &vars(&[]));
    }

    #[test]
    fn any_value_of_any_key_is_accepted_or_refused(
        key in prop::sample::select(vec![
            "SERVER__LISTEN", "SERVER__PUBLIC_URL", "SERVER__ALLOWED_ORIGINS", "DATABASE__URL", "ENCRYPTION__KEYS",
            "AUTH__HS256_SECRET", "AUTH__JWKS_URL", "AUTH__LEEWAY", "PROVIDERS__A__ISSUER", "PROVIDERS__A__FEATURES",
            "PROVIDERS__A__REFRESH_CLASS", "RESIDENCY__IDLE_AFTER", "LOG__FILTER", "X", "__", "PROVIDERS__\u{e9}__A",
        ]),
        value in "\\PC{0,60}",
    ) {
        let name = format!("{}{key}", environment::PREFIX);
        let _ = load(&production(), "", &[(name.as_str(), value.as_str())]);
    }
}
