//! The commented defaults are the reference; and nothing that can be written makes us panic.

use proptest::prelude::*;

use super::*;

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
        "providers.acme.errors",
        "residency",
        "limits",
        "spool",
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

/// Found by the property below.
#[test]
fn a_filter_that_the_logging_library_cannot_read_is_refused() {
    for filter in [
        " \u{13da}=?",
        " a\u{e9}[",
        "\u{2003}\u{13da}=debug",
        "info,,=,[,]",
    ] {
        let text = load(&production(), "", &[("OAUTH_MANAGER__LOG__FILTER", filter)])
            .unwrap_err()
            .to_string();
        assert!(text.contains("log.filter"), "{text}");
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
