//! TLS to a real Postgres: whose certificate is taken, and what is said of one that is not.

use std::time::Duration;

use oauth_manager::{
    dev::postgres::{PostgresOptions, PrivatePostgres, ephemeral_dir, shared_test_postgres},
    storage::{Storage, StorageOptions},
};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::sync::{Mutex, MutexGuard, OnceCell};
use tokio_postgres::NoTls;

use crate::configuration::sound;
use crate::harness::{Folder, Program, Service, ServiceOptions, eventually, fresh_database};

/// A server with TLS, whose certificate each test chooses: one test at a time.
static SERVER: OnceCell<Mutex<PrivatePostgres>> = OnceCell::const_new();

async fn server() -> MutexGuard<'static, PrivatePostgres> {
    let started = SERVER.get_or_init(|| async {
        let data_dir = ephemeral_dir().unwrap();
        let ephemeral = true;
        Mutex::new(
            PrivatePostgres::start(PostgresOptions { data_dir, ephemeral })
                .await
                .unwrap(),
        )
    });
    started.await.lock().await
}

/// An authority, and a folder with its certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: Folder,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = Folder::new();
        folder.write("ca.pem", &certificate.pem());
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    fn file(&self) -> String {
        self.folder.path().join("ca.pem").to_str().unwrap().to_owned()
    }

    /// A server's certificate and its key.
    fn issue(&self, host: &str, change: impl FnOnce(&mut CertificateParams)) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// Gives the server this certificate. The server writes the files itself: they must be its own. When they are in use is told
/// by nothing: whoever asks next asks until the answer is the new certificate's.
async fn serve(
    server: &PrivatePostgres,
    (certificate, key): &(Certificate, KeyPair),
    client_ca: Option<&str>,
) {
    let (client, connection) = tokio_postgres::connect(&server.admin_url(), NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    let folder: String = client.query_one("SHOW data_directory", &[]).await.unwrap().get(0);
    for (file, pem) in [
        ("server.crt", Some(certificate.pem())),
        ("server.key", Some(key.serialize_pem())),
        ("clients.crt", client_ca.map(str::to_owned)),
    ] {
        if let Some(pem) = pem {
            let lines = format!(
                "SELECT unnest(string_to_array('{}', E'\\n'))",
                pem.trim().replace('\r', "")
            );
            // A key that others can read is not taken.
            let program = format!("umask 077; cat > {folder}/{file}");
            client
                .batch_execute(&format!("COPY ({lines}) TO PROGRAM '{program}'"))
                .await
                .unwrap();
        }
    }
    let clients = if client_ca.is_some() { "clients.crt" } else { "" };
    for statement in [
        format!("ALTER SYSTEM SET ssl_ca_file = '{clients}'"),
        "ALTER SYSTEM SET ssl = on".to_owned(),
        "SELECT pg_reload_conf()".to_owned(),
    ] {
        client.batch_execute(&statement).await.unwrap();
    }
}

/// A new database there, by this host.
async fn database(server: &PrivatePostgres, host: &str, query: &str) -> String {
    let name = format!("tls_{}", uuid::Uuid::now_v7().simple());
    server.create_database(&name).await.unwrap();
    let url = server.url(&name).replace("@127.0.0.1:", &format!("@{host}:"));
    format!("{url}?hostaddr=127.0.0.1&{query}")
}

/// What the service finds when it looks at this database.
async fn found(url: &str) -> Result<(), String> {
    let second = Duration::from_secs(1);
    let options = StorageOptions {
        url: url.to_owned(),
        max_connections: 4,
        wait_timeout: 10 * second,
        connect_timeout: 10 * second,
        statement_timeout: 10 * second,
    };
    let storage = Storage::connect(options).map_err(|error| error.to_string())?;
    let checked = storage
        .check_connection()
        .await
        .map_err(|error| error.to_string());
    storage.close();
    checked
}

async fn eventually_taken(url: &str) {
    eventually(&format!("it connects to {url}"), || async {
        found(url).await.ok()
    })
    .await;
}

/// The one line with which the program ends for good, once the server's new certificate is in use.
async fn refusal(url: &str, said: &str) -> String {
    eventually(&format!("it is refused: {said}"), || async {
        found(url).await.err().filter(|problem| problem.contains(said))
    })
    .await;
    let line = Program::new(&sound(url))
        .run(&["migrate"])
        .await
        .expect_refusal(78);
    assert!(line.contains("database.url") && line.contains(said), "{line}");
    let ran = Program::new(&sound(url)).run(&["serve"]).await;
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let log = format!("{}{}", ran.stdout, ran.stderr);
    assert_eq!(log.lines().filter(|line| line.contains(said)).count(), 1, "{log}");
    line
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_right_authority_every_connection_is_verified_and_encrypted() {
    let (server, authority) = (server().await, Authority::new());
    serve(&server, &authority.issue("db.internal", |_| {}), None).await;
    let query = format!("sslmode=verify-full&sslrootcert={}", authority.file());
    let url = database(&server, "db.internal", &query).await;
    eventually_taken(&url).await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(url.clone()),
        ..ServiceOptions::default()
    })
    .await;
    service.connect("ada", "google").await;

    let (client, connection) = tokio_postgres::connect(&server.admin_url(), NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    let of_service =
        "FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'oauth-manager'";
    eventually("it listens, encrypted", || async {
        let listening = format!("SELECT 1 {of_service} AND ssl AND query ILIKE 'LISTEN%'");
        client.query_opt(&listening, &[]).await.unwrap()
    })
    .await;
    let plain = client
        .query(&format!("SELECT 1 {of_service} AND NOT ssl"), &[])
        .await
        .unwrap();
    assert!(plain.is_empty());
    service.stop().await;

    // Several hosts, the first of which is not there.
    let (before, after) = url.split_once("@db.internal:").unwrap();
    let several = format!(
        "{before}@gone.internal:9,db.internal:{}",
        after.replace("hostaddr=127.0.0.1", "hostaddr=127.0.0.1,127.0.0.1")
    );
    found(&several).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hosts_certificate_is_refused_by_verify_full_and_taken_by_verify_ca() {
    let (server, authority) = (server().await, Authority::new());
    serve(&server, &authority.issue("other.internal", |_| {}), None).await;
    let query = |mode: &str| format!("sslmode={mode}&sslrootcert={}", authority.file());
    let line = refusal(
        &database(&server, "db.internal", &query("verify-full")).await,
        "other.internal",
    )
    .await;
    assert!(
        line.contains("db.internal") && line.contains("sslmode=verify-ca"),
        "{line}"
    );
    for mode in ["verify-ca", "require"] {
        found(&database(&server, "db.internal", &query(mode)).await)
            .await
            .unwrap();
    }
    found(&database(&server, "other.internal", &query("verify-full")).await)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_refused_with_its_day() {
    let (server, authority) = (server().await, Authority::new());
    let expired = |params: &mut CertificateParams| {
        params.not_before = date_time_ymd(2019, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 3);
    };
    serve(&server, &authority.issue("db.internal", expired), None).await;
    for mode in ["verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={}", authority.file());
        let line = refusal(&database(&server, "db.internal", &query).await, "expired").await;
        assert!(line.contains("2020-02-03") && line.contains("renew"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_is_refused_but_where_nobody_asked() {
    let (server, authority, another) = (server().await, Authority::new(), Authority::new());
    serve(&server, &authority.issue("db.internal", |_| {}), None).await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = format!("sslmode={mode}&sslrootcert={}", another.file());
        let line = refusal(&database(&server, "db.internal", &query).await, "authority").await;
        assert!(line.contains("sslrootcert"), "{line}");
    }
    for query in ["sslmode=require", "sslmode=prefer", "sslmode=disable"] {
        found(&database(&server, "db.internal", query).await)
            .await
            .unwrap();
    }
}

/// As `openssl req -new -x509` makes it: the server's own certificate, which is its own authority.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_signed_by_itself_is_trusted_when_it_is_named() {
    let server = server().await;
    let own = |host: &str, year| {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = date_time_ymd(year, 2, 3);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), key)
    };
    let folder = Folder::new();
    let name = |pair: &(Certificate, KeyPair)| {
        let file = folder.write("own.pem", &pair.0.pem());
        format!("sslmode=verify-full&sslrootcert={}", file.display())
    };
    let pair = own("db.internal", 2090);
    serve(&server, &pair, None).await;
    eventually_taken(&database(&server, "db.internal", &name(&pair)).await).await;
    let elsewhere = database(&server, "elsewhere.internal", &name(&pair)).await;
    assert!(found(&elsewhere).await.unwrap_err().contains("db.internal"));
    let ended = own("db.internal", 2020);
    serve(&server, &ended, None).await;
    refusal(&database(&server, "db.internal", &name(&ended)).await, "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_certificate_is_shown_to_a_database_that_asks_for_one() {
    let (server, authority) = (server().await, Authority::new());
    let ca = std::fs::read_to_string(authority.file()).unwrap();
    serve(&server, &authority.issue("db.internal", |_| {}), Some(&ca)).await;
    let (certificate, key) = authority.issue("a client", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let certificate = authority.folder.write("client.crt", &certificate.pem());
    let key = authority.folder.write("client.key", &key.serialize_pem());
    let verified = format!("sslmode=verify-full&sslrootcert={}", authority.file());
    let query = format!(
        "{verified}&sslcert={}&sslkey={}",
        certificate.display(),
        key.display()
    );
    let url = database(&server, "db.internal", &query).await;
    eventually_taken(&url).await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(url),
        ..ServiceOptions::default()
    })
    .await;
    let (client, connection) = tokio_postgres::connect(&server.admin_url(), NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with its client")]
    tokio::spawn(connection);
    let shown = "SELECT DISTINCT client_serial IS NOT NULL FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) \
                 WHERE application_name = 'oauth-manager'";
    let shown: Vec<bool> = client
        .query(shown, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(shown, [true]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tls_is_refused_where_tls_is_asked_for() {
    shared_test_postgres().await.unwrap();
    let plain = fresh_database().await;
    refusal(&format!("{plain}?sslmode=require"), "does not speak TLS").await;
    found(&plain).await.unwrap();
}
