//! The operator is told: once for each change, with what was found and what was expected, in the log and in the admin's view;
//! and nobody else is asked to mend what they cannot.

use std::time::Duration;

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider, Simulator};
use oauth_manager_actors::domain::client::Policy;
use serde_json::{Value, json};

use crate::harness::{
    APPLICATION, Api, Flow, Pretender, Program, Reply, Service, ServiceOptions, begin_on_our_page,
    eventually, fresh_database, http_client, logs, start_simulator,
};

/// A configured provider whose discovery document comes from a server of the test's own.
struct Acme {
    service: Service,
    documents: Pretender,
    /// The right document.
    right: Value,
    key: &'static str,
    admin: Api,
    log: usize,
}

fn toml(simulator: &Simulator, documents: &str, key: &str) -> String {
    let issuer = simulator.provider_url(Provider::Oidc);
    let (id, secret) = simulator.client(Provider::Oidc);
    format!(
        "[providers.{key}]\ntype = \"oidc\"\ndisplay_name = \"Acme\"\nissuer = \"{issuer}\"\n\
         discovery_url = \"{documents}/.well-known/openid-configuration\"\nclient_id = \"{id}\"\n\
         client_secret = \"{secret}\"\nrefresh_class = \"single_use\"\nallow_loopback = true\n\
         [providers.{key}.features]\n\"{key}.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n"
    )
}

async fn right_document(simulator: &Simulator) -> Value {
    let issuer = simulator.provider_url(Provider::Oidc);
    let url = format!("{issuer}/.well-known/openid-configuration");
    let text = http_client().get(url).send().await.unwrap().text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

impl Acme {
    /// The key is the test's own: all tests of the process write one log.
    async fn start(key: &'static str) -> Self {
        logs::capture();
        let simulator = start_simulator(&ServiceOptions::default()).await;
        let right = right_document(&simulator).await;
        let documents = Pretender::start(Reply::json(&right)).await;
        let options = ServiceOptions {
            extra_toml: toml(&simulator, &documents.base_url, key),
            adjust: |settings| settings.breaker_interval = Duration::from_millis(100),
            ..ServiceOptions::default()
        };
        let log = logs::length();
        let service = Service::start_before(simulator, options).await;
        let admin = service
            .client(Policy {
                admin: true,
                ..Policy::default()
            })
            .await;
        Self {
            service,
            documents,
            right,
            key,
            admin,
            log,
        }
    }

    /// A user opens their link; what the browser sees.
    async fn open_link(&self) -> crate::harness::End {
        let request = json!({ "provider": self.key, "return_to": APPLICATION });
        let begun = self.service.user("ada").post("/authorizations", request).await;
        let begun = begun.expect_status(201);
        let mut browser = self.service.browser();
        browser.step(begun["authorization_url"].as_str().unwrap()).await
    }

    async fn overview(&self) -> Value {
        overview(&self.admin, self.key).await
    }

    /// Lines about the provider that hold this.
    fn lines(&self, text: &str) -> Vec<String> {
        lines_since(self.log, &[text, &format!("\"{}\"", self.key)])
    }

    fn document(&self, change: Value) -> Reply {
        let mut document = self.right.clone();
        let object = document.as_object_mut().unwrap();
        object.extend(change.as_object().unwrap().clone());
        Reply::json(&document)
    }
}

async fn overview(admin: &Api, key: &str) -> Value {
    let list = admin.get("/admin/providers").await.expect_status(200);
    let mut items = list["items"].as_array().unwrap().iter();
    items.find(|item| item["provider"] == key).unwrap().clone()
}

fn lines_since(log: usize, texts: &[&str]) -> Vec<String> {
    let said = logs::since(log);
    let holds = |line: &&str| texts.iter().all(|text| line.contains(text));
    said.lines().filter(holds).map(str::to_owned).collect()
}

fn is_told_to_be_ours(page: &crate::harness::End) {
    assert_eq!(page.status, 503, "{page:?}");
    assert!(page.body.contains("not yours to mend"), "{}", page.body);
    assert!(!page.body.contains("try again in a moment"), "{}", page.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_without_its_slash_is_told_once_with_found_and_expected() {
    let acme = Acme::start("acme-slash").await;
    let issuer = acme.right["issuer"].as_str().unwrap().to_owned();
    acme.documents
        .says(acme.document(json!({ "issuer": format!("{issuer}/") })));
    for _ in 0..3 {
        is_told_to_be_ours(&acme.open_link().await);
    }
    let told = acme.lines("cannot be used");
    assert_eq!(told.len(), 1, "{told:#?}");
    for text in [
        "discovery_issuer_mismatch",
        &format!("{issuer}/\""),
        &format!("{issuer}\""),
    ] {
        assert!(told[0].contains(text), "{text}: {}", told[0]);
    }
    let shown = acme.overview().await;
    assert_eq!(shown["who_must_act"], "operator", "{shown:#}");
    let problem = &shown["problem"];
    assert_eq!(problem["what"], "discovery_issuer_mismatch");
    assert_eq!(
        (&problem["found"], &problem["expected"]),
        (&format!("{issuer}/").into(), &issuer.into())
    );
    assert!(problem["since"].is_string());

    acme.documents.says(Reply::json(&acme.right));
    acme.service.connect("ada", acme.key).await;
    assert_eq!(acme.overview().await["problem"], Value::Null);
    assert_eq!(acme.lines("is over").len(), 1, "{:#?}", acme.lines("is over"));
    acme.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_with_discovery_is_named_and_not_the_users_to_mend() {
    let acme = Acme::start("acme-odd").await;
    let redirect = Reply {
        header: Some("location: https://elsewhere.example/config?secret=1".to_owned()),
        ..Reply::status(301)
    };
    let cases = [
        (
            acme.document(json!({ "token_endpoint": "https://evil.example/token" })),
            "discovery_endpoint_elsewhere",
            "token_endpoint https://evil.example/token",
        ),
        (
            redirect,
            "discovery_redirected",
            "redirected to https://elsewhere.example/config",
        ),
        (Reply::status(404), "discovery_refused", "HTTP 404"),
        (Reply::status(200), "discovery_unreadable", "no JSON object"),
        (Reply::status(503), "discovery_unreachable", "HTTP 503"),
        (
            acme.document(json!({ "authorization_endpoint": null })),
            "authorization_endpoint_unknown",
            "",
        ),
    ];
    for (reply, what, found) in cases {
        acme.documents.says(reply);
        is_told_to_be_ours(&acme.open_link().await);
        is_told_to_be_ours(&acme.open_link().await);
        let problem = acme.overview().await["problem"].clone();
        assert_eq!(problem["what"], what, "{problem:#}");
        assert_eq!(
            problem["found"].as_str().unwrap_or_default(),
            found,
            "{problem:#}"
        );
        assert_eq!(
            acme.lines(what)
                .iter()
                .filter(|line| line.contains("cannot be used"))
                .count(),
            1,
            "{what}"
        );
    }
    assert!(!logs::since(acme.log).contains("secret=1"));
    // Another provider connects meanwhile, and is no part of it.
    acme.service.connect("ada", "google").await;
    assert_eq!(overview(&acme.admin, "google").await["problem"], Value::Null);
    acme.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discovery_that_nobody_answers_is_told_once() {
    let acme = Acme::start("acme-away").await;
    // A port where nobody listens any more.
    let nobody = format!("http://{}", {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    });
    let service = Service::start_with(ServiceOptions {
        extra_toml: toml(&acme.service.simulator, &nobody, "acme-nobody"),
        ..ServiceOptions::default()
    })
    .await;
    let log = logs::length();
    for _ in 0..3 {
        let request = json!({ "provider": "acme-nobody", "return_to": APPLICATION });
        let begun = service
            .user("ada")
            .post("/authorizations", request)
            .await
            .expect_status(201);
        is_told_to_be_ours(
            &service
                .browser()
                .step(begun["authorization_url"].as_str().unwrap())
                .await,
        );
    }
    let told = lines_since(log, &["acme-nobody", "discovery_unreachable", "cannot be used"]);
    assert_eq!(told.len(), 1, "{told:#?}");
    service.stop().await;
    acme.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_that_is_none_is_told_and_costs_nobody_else_a_refresh() {
    let acme = Acme::start("acme-keys").await;
    let id = acme.service.connect("bea", acme.key).await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let keys = Pretender::start(Reply::json(&json!({ "no": "keys" }))).await;
    // A second node, that has read nothing yet.
    acme.documents
        .says(acme.document(json!({ "jwks_uri": format!("{}/keys", keys.base_url) })));
    let options = ServiceOptions {
        database_url: Some(acme.service.database_url.clone()),
        extra_toml: toml(&acme.service.simulator, &acme.documents.base_url, acme.key),
        ..ServiceOptions::default()
    };
    let log = logs::length();
    let Acme {
        service, admin, key, ..
    } = acme;
    let first = service;
    let simulator = start_simulator(&ServiceOptions::default()).await;
    drop(simulator);
    let (simulator, _) = first.stop().await;
    let service = Service::start_before(simulator, options).await;
    let admin = service.with_token(admin.token());
    // Nobody is asked for a consent that could not be verified.
    for _ in 0..2 {
        let request = json!({ "provider": key, "return_to": APPLICATION });
        let begun = service.user("ada").post("/authorizations", request).await;
        let begun = begun.expect_status(201);
        let end = service
            .browser()
            .open(begun["authorization_url"].as_str().unwrap())
            .await;
        assert_eq!(end.status, 503, "{end:?}");
        assert!(end.body.contains("not yours to mend"), "{end:?}");
    }
    assert_eq!(lines_since(log, &["jwks_unreadable", "cannot be used"]).len(), 1);
    let shown = overview(&admin, key).await;
    assert_eq!(shown["problem"]["what"], "jwks_unreadable", "{shown:#}");
    assert_eq!(shown["egress"]["breaker"], "closed", "{shown:#}");
    // Who is connected is refreshed: that needs no keys.
    service
        .user("bea")
        .post(&format!("/integrations/{id}/refresh"), json!({}))
        .await
        .expect_status(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_wrong_secret_is_not_the_users_to_mend() {
    let service = Service::start().await;
    service
        .simulator
        .set_client_secret(Provider::Google, "another-secret-than-the-configured-one");
    // On our own page, where the application named no address.
    let mut browser = service.browser_of("ada").await;
    let begun = begin_on_our_page(&service, &mut browser, json!({ "provider": "google" })).await;
    let end = browser.open(begun["authorization_url"].as_str().unwrap()).await;
    assert!(end.body.contains("not yours to mend"), "{end:?}");
    assert!(!end.body.contains("Please try again"), "{end:?}");
    // And to a program.
    let mut flow = Flow::begin(&service, "bea", "google").await;
    let end = flow.arrive().await;
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    let refused = service
        .user("bea")
        .post(&format!("/authorizations/{}/confirm", flow.id), confirmation)
        .await;
    let problem = refused.expect_problem(503, "provider_paused");
    assert_eq!(problem["who_must_act"], "operator", "{problem:#}");
    let admin = service
        .client(Policy {
            admin: true,
            ..Policy::default()
        })
        .await;
    let shown = overview(&admin, "google").await;
    assert_eq!(shown["problem"]["what"], "invalid_client", "{shown:#}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_config_online_names_what_was_found_and_ends_with_78() {
    let acme = Acme::start("acme-check").await;
    let issuer = acme.right["issuer"].as_str().unwrap().to_owned();
    let program = Program::new(&acme.service.toml);
    let well = program.run(&["check-config", "--online"]).await;
    assert_eq!(well.code, Some(0), "{well:?}");
    assert!(
        well.stdout
            .contains("online       acme-check: discovery and keys ok"),
        "{}",
        well.stdout
    );
    assert!(well.stdout.contains("online       google: "), "{}", well.stdout);

    acme.documents
        .says(acme.document(json!({ "issuer": format!("{issuer}/") })));
    let odd = program.run(&["check-config", "--online"]).await;
    assert_eq!(odd.code, Some(78), "{odd:?}");
    let line =
        format!("online       acme-check: discovery_issuer_mismatch, found {issuer}/, expected {issuer}");
    assert!(odd.stdout.lines().any(|said| said == line), "{}", odd.stdout);
    assert_eq!(
        odd.stdout.matches("discovery and keys ok").count() + odd.stdout.matches("keys ok").count(),
        odd.stdout.matches("keys ok").count()
    );
    let listed = program.run(&["providers", "list"]).await;
    assert!(
        listed.stdout.contains("discovery_issuer_mismatch"),
        "{}",
        listed.stdout
    );
    // Without the word nobody is asked.
    let asked = acme.documents.asked();
    assert_eq!(program.run(&["check-config"]).await.code, Some(0));
    program.run(&["providers", "list", "--offline"]).await;
    assert_eq!(acme.documents.asked(), asked);
    acme.service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_an_accounts_status_is_one_log_line_without_its_user() {
    let service = Service::start().await;
    let integration = service.connect("ada-of-the-status", "google").await;
    let id = integration["id"].as_str().unwrap();
    let log = logs::length();
    let (user, path) = (
        service.user("ada-of-the-status"),
        format!("/integrations/{id}/refresh"),
    );
    let refresh = || user.post(&path, json!({}));
    service.simulator.inject(
        Provider::Google,
        Endpoint::Refresh,
        Fault::Error {
            code: "invalid_grant".to_owned(),
        },
        1,
    );
    refresh().await.expect_problem(409, "reauth_required");
    refresh().await.expect_problem(409, "reauth_required");
    let told = lines_since(log, &["status changed", id]);
    assert_eq!(told.len(), 1, "{told:#?}");
    for text in [
        "\"active\"",
        "\"reauth_required\"",
        "invalid_grant",
        "\"user\"",
        "google",
    ] {
        assert!(told[0].contains(text), "{text}: {}", told[0]);
    }
    let email = integration["account"]["email"].as_str().unwrap();
    assert!(
        !told[0].contains(email) && !told[0].contains("ada-of-the-status"),
        "{}",
        told[0]
    );
    service
        .connect_with(
            "ada-of-the-status",
            json!({ "provider": "google", "integration_id": id }),
        )
        .await;
    let told = lines_since(log, &["status changed", id]);
    assert_eq!(told.len(), 2, "{told:#?}");
    service.stop().await;
}

async fn ready(service: &Service) -> (u16, Value) {
    let asked = service
        .http
        .get(format!("{}/ready", service.base_url))
        .send()
        .await
        .unwrap();
    let status = asked.status().as_u16();
    (
        status,
        serde_json::from_str(&asked.text().await.unwrap()).unwrap(),
    )
}

/// Runs this on the server as its superuser, and ends the sessions of the database.
async fn as_administrator(url: &str, sql: &str) {
    let postgres = oauth_manager::dev::postgres::shared_test_postgres()
        .await
        .unwrap();
    let name = url.rsplit('/').next().unwrap();
    let (client, connection) = tokio_postgres::connect(&postgres.admin_url(), tokio_postgres::NoTls)
        .await
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    client
        .batch_execute(&sql.replace("{database}", name))
        .await
        .unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
    client.execute(end, &[&name]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_only_reads_is_told_once_and_serves_what_it_has() {
    let url = fresh_database().await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(url.clone()),
        ..ServiceOptions::default()
    })
    .await;
    let consumer = service.service(&["*:*"]).await;
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    let database = url.rsplit('/').next().unwrap().to_owned();
    let log = logs::length();
    as_administrator(
        &url,
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
    )
    .await;
    let told = eventually("it is not ready", || async {
        let (status, body) = ready(&service).await;
        (status == 503 && body["causes"] == json!(["database_read_only"])).then_some(body)
    })
    .await;
    assert_eq!(
        (&told["database"], &told["writable"]),
        (&json!(true), &json!(false)),
        "{told:#}"
    );
    consumer
        .get(&format!("/integrations/{id}/token"))
        .await
        .expect_status(200);
    // Nothing is begun that could not be stored.
    service.simulator.forget_requests();
    for _ in 0..5 {
        let refused = service
            .user("ada")
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await;
        refused.expect_problem(503, "overloaded");
    }
    assert!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .is_empty()
    );
    let lines = lines_since(log, &["not ready", "database_read_only", &database]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(
        lines[0].contains("default_transaction_read_only") && lines[0].contains("operator"),
        "{}",
        lines[0]
    );
    let of_accounts = lines_since(log, &["\"WARN\"", &id]);
    assert!(of_accounts.is_empty(), "{of_accounts:#?}");

    as_administrator(
        &url,
        "ALTER DATABASE {database} RESET default_transaction_read_only",
    )
    .await;
    eventually("it is ready again", || async {
        (ready(&service).await.0 == 200).then_some(())
    })
    .await;
    eventually("it refreshes again", || async {
        let refreshed = service
            .user("ada")
            .post(&format!("/integrations/{id}/refresh"), json!({}))
            .await;
        (refreshed.status == 200).then_some(())
    })
    .await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_with_its_mend_and_found_mended_only_when_there_is_room() {
    let service = Service::start().await;
    let sql = service.sql().await;
    // What Postgres says when a table cannot be extended.
    sql.batch_execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$; \
         CREATE TRIGGER full_disk BEFORE UPDATE ON oauth_tokens FOR EACH ROW EXECUTE FUNCTION full_disk(); \
         CREATE TRIGGER full_disk BEFORE INSERT ON oauth_write_probe FOR EACH ROW \
             WHEN (octet_length(NEW.filler) > 0) EXECUTE FUNCTION full_disk();",
    )
    .await
    .unwrap();
    let log = logs::length();
    // The small row goes through; a claim does not.
    let database = service.database_url.rsplit('/').next().unwrap().to_owned();
    let id = service.connect("ada", "google").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let _ = service
        .user("ada")
        .post(&format!("/integrations/{id}/refresh"), json!({}))
        .await;
    eventually("it is not ready", || async {
        let (status, body) = ready(&service).await;
        (status == 503 && body["causes"] == json!(["database_disk_full"])).then_some(())
    })
    .await;
    let lines = lines_since(log, &["not ready", "database_disk_full", &database]);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("make room"), "{}", lines[0]);
    sql.batch_execute("DROP TRIGGER full_disk ON oauth_tokens; DROP TRIGGER full_disk ON oauth_write_probe")
        .await
        .unwrap();
    eventually("it is ready again", || async {
        (ready(&service).await.0 == 200).then_some(())
    })
    .await;
    assert_eq!(
        lines_since(log, &["not ready", "database_disk_full", &database]).len(),
        1
    );
    service.stop().await;
}
