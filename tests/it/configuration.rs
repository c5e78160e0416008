//! Missing or invalid configuration is refused at the start, with one line that names the key.

use crate::harness::{AUTH_SECRET, ENCRYPTION_KEY, Program, Service, ServiceOptions, fresh_database};

/// EX_CONFIG.
const REFUSED: i32 = 78;

/// A configuration that starts, but for its database.
pub fn sound(database_url: &str) -> String {
    format!(
        "[server]\nenvironment = \"production\"\nlisten = \"127.0.0.1:0\"\npublic_url = \"https://oauth.example.com\"\n\
         [database]\nurl = \"{database_url}\"\n[encryption]\nkeys = [\"test:{ENCRYPTION_KEY}\"]\n\
         [auth]\nhs256_secret = \"{AUTH_SECRET}\"\n"
    )
}

const NOWHERE: &str = "postgres://nobody:nothing@127.0.0.1:9/nothing";

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_in_the_configuration_is_one_line_that_names_its_key() {
    let sound = sound(NOWHERE);
    Program::new(&sound).run(&["check-config"]).await.expect_success();

    let keys = format!("keys = [\"test:{ENCRYPTION_KEY}\"]");
    let secret = format!("hs256_secret = \"{AUTH_SECRET}\"");
    for (from, to, key) in [
        (keys.as_str(), "keys = []", "encryption.keys"),
        (keys.as_str(), "keys = [\"test:c2hvcnQ=\"]", "encryption.keys"),
        (
            keys.as_str(),
            "keys = [\"test:not base64 at all\"]",
            "encryption.keys",
        ),
        (
            keys.as_str(),
            "keys = [\"test:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
            "encryption.keys",
        ),
        (secret.as_str(), "", "auth"),
        (secret.as_str(), "hs256_secret = \"short\"", "auth.hs256_secret"),
        (
            secret.as_str(),
            "hs256_secret_file = \"/nonexistent/secret\"",
            "auth.hs256_secret_file",
        ),
        (
            "public_url = \"https://oauth.example.com\"",
            "",
            "server.public_url",
        ),
        (
            "public_url = \"https://oauth.example.com\"",
            "public_url = \"http://oauth.example.com\"",
            "server.public_url",
        ),
        (
            "listen = \"127.0.0.1:0\"",
            "listen = \"everywhere\"",
            "server.listen",
        ),
        (
            "[auth]",
            "[auth]\nhs265_secret = \"a typing mistake\"",
            "hs265_secret",
        ),
        ("[auth]", "[aauth]\nx = 1\n[auth]", "aauth"),
        (
            "[auth]",
            "[providers.google]\nclient_id = \"id\"\n[auth]",
            "providers.google.client_secret",
        ),
        (
            "[auth]",
            "[providers.acme]\nclient_id = \"id\"\nclient_secret = \"s\"\n[auth]",
            "providers.acme.type",
        ),
        (
            "[auth]",
            "[providers.acme]\ntype = \"oidc\"\nclient_id = \"id\"\nclient_secret = \"s\"\n[auth]",
            "providers.acme.issuer",
        ),
        (
            "[auth]",
            "[providers.acme]\ntype = \"oidc\"\nissuer = \"http://id.acme.example\"\n[auth]",
            "providers.acme.issuer",
        ),
        (
            "[auth]",
            "[providers.google]\nclient_id = \"id\"\nclient_secret = \"s\"\nallow_loopback = true\n[auth]",
            "providers.google.allow_loopback",
        ),
        (
            "[auth]",
            "[timings]\nprovider_deadline = \"20s\"\n[auth]",
            "timings.provider_deadline",
        ),
        (
            &format!("url = \"{NOWHERE}\""),
            "url = \"mysql://elsewhere/db\"",
            "database.url",
        ),
        (
            &format!("url = \"{NOWHERE}\""),
            "url = \"postgres://u@127.0.0.1:9/d?sslmode=perhaps\"",
            "database.url: sslmode",
        ),
        (
            &format!("url = \"{NOWHERE}\""),
            "url = \"postgres://u@127.0.0.1:9/d?sslmode=verify-full&sslrootcert=/nonexistent/ca.pem\"",
            "database.url: sslrootcert: /nonexistent/ca.pem",
        ),
        (
            "[auth]",
            "[providers.google.authorize_params]\nrequest = \"x\"\n[auth]",
            "providers.google.authorize_params.request",
        ),
        (
            "[auth]",
            "[providers.google.authorize_params]\nresponse_mode = \"form_post\"\n[auth]",
            "providers.google.authorize_params.response_mode",
        ),
        (
            "[auth]",
            "[providers.google]\ntoken_endpoint = \"https://{shop}.example.com/token\"\n[auth]",
            "providers.google.token_endpoint: holds {shop}",
        ),
        // Only the engine knows: what it refuses is configuration, too.
        (
            "[auth]",
            "[consents.wording]\n\"google.nothing\" = \"2.0\"\n[auth]",
            "google",
        ),
        (&format!("url = \"{NOWHERE}\""), "", "database.url"),
    ] {
        let broken = sound.replacen(from, to, 1);
        assert_ne!(broken, sound, "{key}");
        for command in ["serve", "check-config"] {
            let ran = Program::new(&broken).run(&[command]).await;
            let line = ran.expect_refusal(REFUSED);
            assert!(line.contains(key), "{command}: {key} is not named: {line}");
            assert!(
                !line.contains(ENCRYPTION_KEY) && !line.contains(AUTH_SECRET),
                "{line}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_configured_names_everything_that_is_missing() {
    let program = Program::new("");
    let ran = program.run_exactly(&["serve"], &[]).await;
    assert_eq!(ran.code, Some(REFUSED), "{ran:?}");
    for key in ["encryption.keys", "database.url", "server.public_url", "auth"] {
        assert_eq!(
            ran.stderr
                .lines()
                .filter(|line| line.starts_with(&format!("error: {key}")))
                .count(),
            1,
            "{key}: {ran:?}"
        );
    }
    let absent = program
        .run_exactly(&["--config", "/nonexistent.toml", "serve"], &[])
        .await;
    assert!(absent.expect_refusal(REFUSED).contains("/nonexistent.toml"));
    Program::new("this is no TOML [")
        .run(&["check-config"])
        .await
        .expect_refusal(REFUSED);
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_win_over_the_file_and_a_mistake_in_one_is_named() {
    let program = Program::new(&sound(NOWHERE).replace(&format!("test:{ENCRYPTION_KEY}"), "test:broken"));
    let arguments = ["--config", program.config(), "check-config"];
    program.run_exactly(&arguments, &[]).await.expect_refusal(REFUSED);
    program
        .run_exactly(&arguments, &[("OAUTH_ENCRYPTION_KEY", ENCRYPTION_KEY)])
        .await
        .expect_success();
    let ran = program
        .run_exactly(
            &arguments,
            &[
                ("OAUTH_ENCRYPTION_KEY", ENCRYPTION_KEY),
                ("OAUTH_MANAGER__SERVER__LISTEN", "everywhere"),
            ],
        )
        .await;
    let line = ran.expect_refusal(REFUSED);
    assert!(
        line.contains("server.listen") || line.contains("OAUTH_MANAGER__SERVER__LISTEN"),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_databases_is_refused_with_one_line() {
    let database_url = fresh_database().await;
    let right = sound(&database_url);
    Program::new(&right).run(&["migrate"]).await.expect_success();
    Program::new(&right)
        .run(&["clients", "list"])
        .await
        .expect_success();

    let generated = Program::new(&right)
        .run(&["keys", "generate"])
        .await
        .expect_success();
    let other = generated.split_whitespace().last().unwrap();
    let other = other.rsplit(':').next().unwrap();
    // The same name with other bytes, and another name altogether.
    for key in [format!("test:{other}"), format!("another:{other}")] {
        let wrong = right.replace(&format!("test:{ENCRYPTION_KEY}"), &key);
        let ran = Program::new(&wrong).run(&["serve"]).await;
        assert_eq!(ran.code, Some(REFUSED), "{ran:?}");
        let log = format!("{}{}", ran.stdout, ran.stderr);
        assert_eq!(
            log.lines()
                .filter(|line| line.contains("encryption.keys"))
                .count(),
            1,
            "{log}"
        );
        assert!(!log.contains(other), "{log}");
        let ran = Program::new(&wrong).run(&["clients", "list"]).await;
        assert!(ran.expect_refusal(REFUSED).contains("encryption.keys"));
    }
    // The right one beside a new one is fine: that is how keys are rotated.
    let both = right.replace(
        &format!("\"test:{ENCRYPTION_KEY}\""),
        &format!("\"new:{other}\", \"test:{ENCRYPTION_KEY}\""),
    );
    Program::new(&both)
        .run(&["clients", "list"])
        .await
        .expect_success();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_one_line() {
    let service = Service::start().await;
    let taken = service.base_url.strip_prefix("http://").unwrap();
    let toml = sound(&service.database_url).replace("127.0.0.1:0", taken);
    let line = Program::new(&toml).run(&["serve"]).await.expect_refusal(1);
    assert!(line.contains("server.listen") && line.contains(taken), "{line}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_written_is_one_line_and_final() {
    let program = Program::new("");
    // Whoever runs this: below a file there are no directories.
    let spool = format!("{}/spool", program.config());
    let toml = format!(
        "{}[spool]\ndirectory = {spool:?}\n",
        sound(&fresh_database().await)
    );
    let line = Program::new(&toml).run(&["serve"]).await.expect_refusal(REFUSED);
    assert!(
        line.contains("spool.directory") && line.contains(&spool),
        "{line}"
    );
    // The control: commands of accounts that may not write there go on without it.
    Program::new(&toml)
        .run(&["clients", "list"])
        .await
        .expect_success();
}

#[test]
fn compose_gives_the_superuser_and_the_service_different_passwords() {
    let read = |name: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::read_to_string(path).unwrap()
    };
    let (compose, role) = (read("compose.yaml"), read("docs/compose-role.sh"));
    assert!(compose.contains("POSTGRES_PASSWORD_FILE: /run/secrets/postgres_password"));
    assert!(
        role.contains("/run/secrets/service_password") && !role.contains("postgres_password"),
        "{role}"
    );
    for line in compose.lines().filter(|line| line.contains("database_url")) {
        assert!(!line.contains("postgres_password"), "{line}");
    }
    assert!(compose.contains("$(cat secrets/service_password)"));
    for secret in ["postgres_password", "service_password"] {
        assert!(
            compose.contains(&format!("openssl rand -hex 24    > secrets/{secret}")),
            "{secret}"
        );
        assert!(
            compose.contains(&format!("  {secret}: {{ file: ./secrets/{secret} }}")),
            "{secret}"
        );
    }
    assert!(
        compose.contains("secrets: [postgres_password, service_password]"),
        "the role is made with it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_says_of_itself_leads_somewhere() {
    let service = Service::start().await;
    let get = async |path: &str| {
        service
            .http
            .get(format!("{}{path}", service.base_url))
            .send()
            .await
            .unwrap()
    };
    let root: serde_json::Value = serde_json::from_str(&get("/").await.text().await.unwrap()).unwrap();
    assert_eq!(root["service"], "oauth-manager", "{root}");
    match root["docs"].as_str() {
        Some(page) => assert_eq!(get(page).await.status(), 200, "{root}"),
        None => assert!(root.as_object().unwrap().contains_key("docs"), "{root}"),
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_feature_of_a_built_in_provider_is_listed_once() {
    let service = Service::start_with(ServiceOptions {
        extra_toml: "[providers.google.features.\"google.calendar\"]\n\
                     scopes = [\"https://www.googleapis.com/auth/calendar.readonly\"]\ndisplay_name = \"Diary\"\n"
            .into(),
        ..ServiceOptions::default()
    })
    .await;
    let ada = service.user("ada");
    let scopes = ada.get("/providers/google/scopes").await.expect_status(200);
    let features = ada.get("/features").await.expect_status(200);
    let scopes = scopes["items"].as_array().unwrap();
    let named: std::collections::BTreeSet<_> = scopes
        .iter()
        .map(|item| (item["feature"].to_string(), item["scope"].to_string()))
        .collect();
    assert_eq!(named.len(), scopes.len(), "{scopes:#?}");
    assert!(features.to_string().contains("Diary"), "{features:#}");
    let items = features["items"].as_array().unwrap();
    let calendars = items
        .iter()
        .filter(|item| item["key"] == "google.calendar")
        .count();
    assert_eq!(calendars, 1, "{features:#}");
    let connected = service.connect("ada", "google").await;
    assert_eq!(connected["features"][0]["status"], "active", "{connected:#}");
    service.stop().await;
}
