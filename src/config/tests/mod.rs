//! What the tests of the configuration share, and what is accepted.

mod layers;
mod reference;
mod refusals;

use std::time::Duration;

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
    let more = "[server]\nallowed_return_urls = ['http://localhost:3000/done', 'http://127.0.0.1:3000/done']\n\
                [providers.google]\nclient_id = 'a'\nclient_secret = 'b'\nallow_loopback = true\n\
                token_endpoint = 'http://127.0.0.1:8003/google/token'";
    assert!(load(&development(), more, &[]).is_ok());
}
