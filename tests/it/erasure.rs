//! Everything about one user: read out by those who may, and erased so that no table knows them any more.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use oauth_manager::dev::simulator::{Endpoint, Fault, Provider};
use oauth_manager_actors::domain::client::Policy;
use serde_json::{Value, json};

use crate::harness::{APPLICATION, Api, Flow, Program, Service, ServiceOptions, eventually};

const ADA: &str = "ada-lovelace-7c1f";
const EMAIL: &str = "ada.7c1f@people.example";
const BEN: &str = "ben-babbage-20e4";

/// Tables that hold something about users, and are searched for them. A new one belongs here, into the export and into the
/// erasure.
const PERSONAL: &[&str] = &[
    "oauth_audit_log",
    "oauth_authorization_redirects",
    "oauth_authorizations",
    "oauth_consents",
    "oauth_erasures",
    "oauth_events",
    "oauth_integrations",
    "oauth_session_links",
    "oauth_session_openings",
    "oauth_sessions",
    "oauth_tokens",
    "users",
];
/// Tables that hold nothing about any user.
const IMPERSONAL: &[&str] = &[
    "oauth_egress",
    "oauth_key_checks",
    "oauth_scopes",
    "oauth_service_clients",
    "oauth_service_credentials",
    // Of an account no more than its id, with which it goes.
    "oauth_token_rejections",
    "oauth_wordings",
    "oauth_write_probe",
    "schema_migrations",
];

fn options() -> ServiceOptions {
    ServiceOptions {
        adjust: |settings| {
            settings.erasure_quiet = Duration::from_secs(1);
            settings.housekeeping_interval = Duration::from_millis(200);
        },
        ..ServiceOptions::default()
    }
}

async fn start() -> Service {
    Service::start_with(options()).await
}

/// Every item of an export, read in pages of this size.
async fn export(api: &Api, user: &str, limit: usize) -> Vec<Value> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let path = format!("/users/{user}/export?limit={limit}{after}");
        let page = api.get(&path).await.expect_status(200);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        assert!(items.len() < 1_000, "the export does not end");
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return items,
        }
    }
}

fn of_kind<'a>(items: &'a [Value], kind: &str) -> Vec<&'a Value> {
    items.iter().filter(|item| item["kind"] == kind).collect()
}

/// Every table, by the database's own word.
async fn tables(service: &Service) -> BTreeSet<String> {
    let all = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public'";
    let rows = service.sql().await.query(all, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// In which tables, and in which columns of them, one of these is found: as text, and as the bytes of it.
async fn found(service: &Service, needles: &[String]) -> BTreeSet<(String, String)> {
    let sql = service.sql().await;
    let columns = "SELECT table_name::text, column_name::text FROM information_schema.columns
        WHERE table_schema = 'public'";
    let mut found = BTreeSet::new();
    for row in sql.query(columns, &[]).await.unwrap() {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        for needle in needles {
            let hex = hex(needle);
            let search = format!(
                "SELECT count(*) FROM \"{table}\" WHERE \"{column}\"::text ILIKE '%' || $1 || '%'
                    OR \"{column}\"::text ILIKE '%' || $2 || '%'"
            );
            let rows: i64 = sql.query_one(&search, &[needle, &hex]).await.unwrap().get(0);
            if rows > 0 {
                found.insert((table.clone(), column.clone()));
            }
        }
    }
    found
}

async fn count(service: &Service, sql: &str) -> i64 {
    service.sql().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// Ada in every table: connected, connecting, with a session, handed out, refused, and in somebody else's records.
/// Returns her accounts at their providers.
async fn a_life(service: &Service, consumer: &Api) -> Vec<String> {
    let request = json!({ "provider": "google", "features": ["google.calendar"], "login_hint": EMAIL });
    let google = service.connect_with(ADA, request.clone()).await;
    let notion = service.connect(ADA, "notion").await;
    let pending =
        json!({ "provider": "google", "login_hint": EMAIL, "return_to": format!("{APPLICATION}?for={ADA}") });
    service
        .user(ADA)
        .post("/authorizations", pending)
        .await
        .expect_status(201);
    service.browser_of(ADA).await;
    consumer
        .get(&format!("/users/{ADA}/token?feature=google.calendar"))
        .await
        .expect_status(200);
    consumer
        .get(&format!("/users/{ADA}/token?feature=google.gmail"))
        .await
        .expect_problem(403, "insufficient_scope");
    // She tries to finish what another user began: that is in that user's records.
    let mut flow = Flow::begin(service, BEN, "microsoft").await;
    let end = flow.arrive().await;
    let path = format!("/authorizations/{}/confirm", flow.id);
    let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
    service
        .user(ADA)
        .post(&path, confirmation)
        .await
        .expect_problem(409, "binding_mismatch");
    [google, notion]
        .iter()
        .map(|view| view["account"]["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_erased_is_found_in_no_table_and_leaves_a_pseudonymous_trail() {
    let service = start().await;
    let consumer = service.service(&["*:*"]).await;
    let ben = service.user(BEN);
    // Somebody else at another provider: accounts of the simulator's are shared by who does not name one.
    service.connect(BEN, "microsoft").await;
    let mut needles = a_life(&service, &consumer).await;
    needles.extend([ADA.to_owned(), EMAIL.to_owned()]);
    let known: BTreeSet<String> = [PERSONAL, IMPERSONAL]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(
        tables(&service).await,
        known,
        "say of a new table whether it holds anything about users"
    );
    // Hand-outs are written a moment later.
    eventually("the hand-out is recorded", || async {
        let written = "SELECT count(*) FROM oauth_audit_log WHERE action IN ('token_issued', 'denied')";
        (count(&service, written).await >= 2).then_some(())
    })
    .await;
    // The control: she is found wherever the search must find her, tables without a row of hers excepted.
    let before: BTreeSet<String> = found(&service, &needles)
        .await
        .into_iter()
        .map(|(table, _)| table)
        .collect();
    let expected: BTreeSet<String> = PERSONAL
        .iter()
        .filter(|table| **table != "oauth_erasures")
        .map(|table| (*table).to_owned())
        .collect();
    assert_eq!(before, expected);
    let trail =
        "SELECT count(*) FROM oauth_audit_log WHERE subject LIKE 'ada%' OR actor = 'user:ada-lovelace-7c1f'";
    let trail = count(&service, trail).await;
    let consents = count(
        &service,
        "SELECT count(*) FROM oauth_consents WHERE subject LIKE 'ada%'",
    )
    .await;
    assert!(trail > 5 && consents >= 2);
    let bens = export(&ben, BEN, 200).await;

    let report = service
        .user(ADA)
        .delete(&format!("/users/{ADA}"))
        .await
        .expect_status(200);
    assert_eq!(report["status"], "erased", "{report:#}");
    for provider in [Provider::Google, Provider::Notion] {
        let told = service.simulator.requests_to(provider, Endpoint::Revoke);
        assert!(!told.is_empty(), "{provider:?} was not told");
    }
    eventually("she is found nowhere", || async {
        found(&service, &needles).await.is_empty().then_some(())
    })
    .await;

    // The trail: as many consents and no fewer records, all of one stranger, from nowhere.
    let strangers = "SELECT count(DISTINCT subject) FROM (SELECT subject FROM oauth_consents UNION ALL
        SELECT subject FROM oauth_audit_log UNION ALL SELECT substr(actor, 6) FROM oauth_audit_log
        WHERE actor LIKE 'user:%') AS who WHERE subject LIKE 'erased:%'";
    assert_eq!(count(&service, strangers).await, 1);
    let kept = "SELECT count(*) FROM oauth_consents WHERE subject LIKE 'erased:%' AND ip IS NULL AND user_agent IS NULL
        AND withdrawn_at IS NOT NULL";
    assert_eq!(count(&service, kept).await, consents);
    let kept =
        "SELECT count(*) FROM oauth_audit_log WHERE (subject LIKE 'erased:%' OR actor LIKE 'user:erased:%')
        AND ip IS NULL AND user_agent IS NULL";
    assert!(
        count(&service, kept).await > trail,
        "nothing is lost, and the erasure is recorded too"
    );
    for action in ["erase_requested", "erase", "connect", "token_issued", "revoke"] {
        let recorded = format!(
            "SELECT count(*) FROM oauth_audit_log WHERE subject LIKE 'erased:%' AND action = '{action}'"
        );
        assert!(count(&service, &recorded).await > 0, "no {action}");
    }
    assert_eq!(
        count(
            &service,
            "SELECT count(*) FROM oauth_audit_log WHERE subject LIKE 'ben%' AND actor LIKE 'user:erased:%'"
        )
        .await,
        1
    );

    // Nothing is handed out for her any more. (Who asks for her from now on makes new records, of today.)
    for path in ["token?feature=google.calendar", "token?provider=notion"] {
        let answer = consumer.get(&format!("/users/{ADA}/{path}")).await;
        assert_eq!(answer.status, 404, "{answer:?}");
    }

    // Nobody else lost anything; and whoever comes back is new.
    let bens_now = export(&ben, BEN, 200).await;
    for kind in ["user", "integration", "consent"] {
        assert_eq!(of_kind(&bens_now, kind), of_kind(&bens, kind), "{kind}");
    }
    consumer
        .get(&format!("/users/{BEN}/token?provider=microsoft"))
        .await
        .expect_status(200);
    assert_eq!(
        of_kind(&export(&service.user(ADA), ADA, 200).await, "consent"),
        [&Value::Null; 0]
    );
    service.connect(ADA, "google").await;
    consumer
        .get(&format!("/users/{ADA}/token?provider=google"))
        .await
        .expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erasure_waits_for_a_provider_that_is_away_and_goes_on_by_itself() {
    let service = start().await;
    let consumer = service.service(&["*:*"]).await;
    service.connect(ADA, "google").await;
    let away = Fault::ServerError { status: 503 };
    service
        .simulator
        .inject(Provider::Google, Endpoint::Revoke, away, 1_000);

    let report = service
        .user(ADA)
        .delete(&format!("/users/{ADA}"))
        .await
        .expect_status(202);
    assert_eq!(report["status"], "pending", "{report:#}");
    consumer
        .get(&format!("/users/{ADA}/token?provider=google"))
        .await
        .expect_problem(404, "not_connected");
    let intent = "SELECT count(*) FROM oauth_erasures WHERE finished_at IS NULL";
    assert_eq!(count(&service, intent).await, 1, "it is noted");
    assert_eq!(
        count(
            &service,
            "SELECT count(*) FROM oauth_tokens WHERE data_key IS NOT NULL"
        )
        .await,
        1
    );

    // Whoever noted it dies; the next attempt is brought forward, and another node goes on.
    let database_url = service.database_url.clone();
    let (simulator, _) = service.stop().await;
    simulator.clear_faults();
    let service = Service::start_before(
        simulator,
        ServiceOptions {
            database_url: Some(database_url),
            ..options()
        },
    )
    .await;
    let sql = service.sql().await;
    sql.execute("UPDATE oauth_tokens SET next_refresh_at = now()", &[])
        .await
        .unwrap();
    eventually("it is erased without a further request", || async {
        (count(
            &service,
            "SELECT count(*) FROM oauth_erasures WHERE finished_at IS NOT NULL",
        )
        .await
            == 1)
            .then_some(())
    })
    .await;
    // More than once after it failed does no harm.
    let told = service.simulator.requests_to(Provider::Google, Endpoint::Revoke);
    assert!(told.len() >= 2, "{told:?}");
    let found = found(&service, &[ADA.to_owned()]).await;
    assert!(found.is_empty(), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_holds_everything_but_secrets_and_is_for_the_user_and_operators() {
    let service = start().await;
    let consumer = service.service(&["*:*"]).await;
    a_life(&service, &consumer).await;
    let token = consumer
        .get(&format!("/users/{ADA}/token?feature=google.calendar"))
        .await
        .expect_status(200)["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let ada = service.user(ADA);
    let whole = export(&ada, ADA, 200).await;
    for (kind, least) in [
        ("user", 1),
        ("integration", 2),
        ("authorization", 3),
        ("session", 1),
        ("session_link", 1),
        ("session_opening", 1),
        ("consent", 2),
        ("audit", 6),
        ("event", 2),
    ] {
        assert!(of_kind(&whole, kind).len() >= least, "{kind}: {whole:#?}");
    }
    let text = json!(whole).to_string();
    assert!(text.contains(EMAIL) && text.contains("View calendars"), "{text}");
    assert!(!text.contains(&token));
    for secret in [
        "data_key",
        "access_token",
        "refresh_token\"",
        "pkce_verifier",
        "staged",
        "cookie",
        "\"state\"",
        "handle",
        BEN,
    ] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let of_accounts = |items: &[Value]| json!([of_kind(items, "integration"), of_kind(items, "consent")]);
    for limit in [1, 2, 3] {
        assert_eq!(
            of_accounts(&export(&ada, ADA, limit).await),
            of_accounts(&whole),
            "in pages of {limit}"
        );
    }

    let admin = Policy {
        allow: Vec::new(),
        sessions: false,
        admin: true,
    };
    let admin = service.client(admin).await;
    assert_eq!(of_accounts(&export(&admin, ADA, 200).await), of_accounts(&whole));
    let path = format!("/users/{ADA}/export");
    for (api, status, code) in [
        (&service.user(BEN), 403, "forbidden"),
        (&consumer, 403, "forbidden"),
        (&service.anonymous(), 401, "unauthenticated"),
    ] {
        api.get(&path).await.expect_problem(status, code);
        api.delete(&format!("/users/{ADA}"))
            .await
            .expect_problem(status, code);
    }
    for after in ["x", "user.x", "nothing.", "consent.!!", "%20"] {
        ada.get(&format!("{path}?after={after}"))
            .await
            .expect_problem(400, "invalid_request");
    }
    let audit = ada.get("/audit?limit=200").await.expect_status(200).to_string();
    assert!(audit.contains("\"export\""), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_out_and_erases_on_the_command_line() {
    let service = start().await;
    let program = Program::new(&service.toml);
    service.connect(ADA, "google").await;
    let lines = program.run(&["users", "export", ADA]).await.expect_success();
    let items: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(of_kind(&items, "user").len(), 1, "{lines}");
    assert_eq!(of_kind(&items, "consent").len(), 1, "{lines}");
    let erased = program
        .run(&["users", "erase", ADA, "--yes", "--json"])
        .await
        .expect_success();
    assert_eq!(
        serde_json::from_str::<Value>(&erased).unwrap()["status"],
        "erased"
    );
    assert_eq!(count(&service, "SELECT count(*) FROM users").await, 0);
    service.stop().await;
}
