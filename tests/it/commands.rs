//! The commands an operator runs, as processes against a database in use.

use std::{process::Stdio, time::Duration};

use oauth_manager::dev::simulator::{Endpoint, Provider};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::harness::{Api, Program, Service, eventually, program};

/// A service, and the program with the same configuration beside it.
async fn beside_a_service() -> (Service, Program) {
    let service = Service::start().await;
    let program = Program::new(&service.toml);
    (service, program)
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_twice_is_the_same_as_once() {
    let (service, program) = beside_a_service().await;
    for _ in 0..2 {
        program.run(&["migrate"]).await.expect_success();
    }
    service.connect("ada", "google").await;
    program.run(&["migrate"]).await.expect_success();
    assert_eq!(
        service.user("ada").get("/integrations").await.expect_status(200)["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_may_be_named_before_or_after_the_command_or_by_a_variable() {
    let (service, program) = beside_a_service().await;
    let config = program.config().to_owned();
    let before = ["--config", &config, "check-config"];
    let after = ["check-config", "--config", &config];
    let far_after = ["clients", "list", "--json", "--config", &config];
    for arguments in [&before[..], &after[..], &far_after[..]] {
        program.run_exactly(arguments, &[]).await.expect_success();
    }
    let shown = program
        .run_exactly(&["check-config"], &[("OAUTH_MANAGER_CONFIG", &config)])
        .await
        .expect_success();
    assert!(
        shown.contains("google") && shown.contains(&service.base_url),
        "{shown}"
    );
    assert!(!shown.contains(crate::harness::ENCRYPTION_KEY), "{shown}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_made_on_the_command_line_works_until_it_is_revoked_there() {
    let (service, program) = beside_a_service().await;
    let integration = service.connect("ada", "google").await;
    let path = format!("/integrations/{}/token", integration["id"].as_str().unwrap());
    let create = [
        "clients",
        "create",
        "calendar-sync",
        "--allow",
        "google:calendar.read",
        "--json",
    ];
    let printed = program.run(&create).await.expect_success();
    let made: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(made["name"], "calendar-sync");
    assert_eq!(made.as_object().unwrap().len(), 2, "{made}");
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("oms_"), "{token}");
    let api = Api::new(
        crate::harness::http_client(),
        &service.base_url,
        Some(token.to_owned()),
    );
    api.get(&path).await.expect_status(200);
    // Its policy is what was allowed, no more.
    let other = service.connect("ada", "notion").await;
    api.get(&format!("/integrations/{}/token", other["id"].as_str().unwrap()))
        .await
        .expect_problem(403, "forbidden");
    api.post("/sessions", json!({ "user": "ada" }))
        .await
        .expect_problem(403, "forbidden");

    let list = program.run(&["clients", "list"]).await.expect_success();
    assert!(
        list.contains("calendar-sync") && list.contains("google:calendar.read"),
        "{list}"
    );
    assert!(!list.contains(token), "shown once: {list}");
    assert!(
        program
            .run(&create)
            .await
            .expect_refusal(1)
            .contains("calendar-sync"),
        "the name is taken"
    );

    program
        .run(&["clients", "revoke", "calendar-sync"])
        .await
        .expect_success();
    eventually("it is refused", || async {
        (api.get(&path).await.status == 401).then_some(())
    })
    .await;
    program
        .run(&["clients", "revoke", "calendar-sync"])
        .await
        .expect_refusal(1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_of_a_client_are_what_it_may_do_and_mistakes_are_told() {
    let (service, program) = beside_a_service().await;
    let arguments = [
        "clients",
        "create",
        "portal",
        "--sessions",
        "--allow",
        "*:*",
        "--admin",
        "--json",
    ];
    let printed = program.run(&arguments).await.expect_success();
    let made: Value = serde_json::from_str(&printed).unwrap();
    let api = Api::new(
        crate::harness::http_client(),
        &service.base_url,
        Some(made["token"].as_str().unwrap().to_owned()),
    );
    let session = api
        .post(
            "/sessions",
            json!({ "user": "ada", "return_to": crate::harness::APPLICATION }),
        )
        .await
        .expect_status(201);
    assert!(session["url"].as_str().unwrap().starts_with(&service.base_url));

    for (arguments, said) in [
        (&["clients", "create", "idle"][..], "--allow"),
        (&["clients", "create", "x", "--allow", "gogle:*"][..], "gogle"),
        (
            &["clients", "create", "x", "--allow", "google:calendar.admin"][..],
            "calendar.read",
        ),
        (
            &["clients", "create", "x", "--allow", "google:calender"][..],
            "calender",
        ),
        (&["clients", "create", "bad name", "--admin"][..], "NAME"),
    ] {
        let line = program.run(arguments).await.expect_refusal(1);
        assert!(line.contains(said), "{line}");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_providers_are_told_without_their_secrets() {
    let (service, program) = beside_a_service().await;
    service.connect("ada", "google").await;
    let one = program.run(&["keys", "generate"]).await.expect_success();
    let two = program
        .run_exactly(&["keys", "generate"], &[])
        .await
        .expect_success();
    assert_ne!(one, two);

    let status = program.run(&["keys", "status"]).await.expect_success();
    assert!(status.contains("test"), "{status}");
    assert!(!status.contains(crate::harness::ENCRYPTION_KEY), "{status}");

    let providers = program.run(&["providers", "list"]).await.expect_success();
    let (_, secret) = service.simulator.client(Provider::Google);
    for key in ["google", "microsoft", "notion", "youtube"] {
        assert!(providers.contains(key), "{providers}");
    }
    assert!(!providers.contains(&secret), "{providers}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lists_shows_refreshes_and_revokes_accounts_beside_a_running_service() {
    let (service, program) = beside_a_service().await;
    let consumer = service.service(&["*:*"]).await;
    let integration = service.connect("ada", "google").await;
    let id = integration["id"].as_str().unwrap();
    let path = format!("/integrations/{id}/token");
    let before = consumer.get(&path).await.expect_status(200);

    let list = program
        .run(&["integrations", "list", "--json"])
        .await
        .expect_success();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list[0]["user"], &list[0]["integration"]["id"]),
        (&json!("ada"), &json!(id))
    );
    let nobodys = program
        .run(&["integrations", "list", "--user", "grace", "--json"])
        .await
        .expect_success();
    assert_eq!(serde_json::from_str::<Value>(&nobodys).unwrap(), json!([]));
    let shown = program.run(&["integrations", "show", id]).await.expect_success();
    assert!(shown.contains("active") && shown.contains("ada"), "{shown}");
    for output in [&list.to_string(), &shown] {
        assert!(!output.contains(before["access_token"].as_str().unwrap()));
    }

    program
        .run(&["integrations", "refresh", id])
        .await
        .expect_success();
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Refresh)
            .len(),
        1
    );
    eventually("the service hands out what the command fetched", || async {
        let token = consumer.get(&path).await.expect_status(200);
        (token["access_token"] != before["access_token"]).then_some(())
    })
    .await;

    program
        .run(&["integrations", "revoke", id])
        .await
        .expect_success();
    eventually("the service refuses it", || async {
        (consumer.get(&path).await.status == 404).then_some(())
    })
    .await;
    assert_eq!(
        service
            .simulator
            .requests_to(Provider::Google, Endpoint::Revoke)
            .len(),
        1
    );
    program
        .run(&[
            "integrations",
            "refresh",
            "google_00000000000000000000000000000000",
        ])
        .await
        .expect_refusal(1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_answers_until_it_is_told_to_stop_and_ends_well() {
    let (service, program) = beside_a_service().await;
    let mut command = program::command(&["--config", program.config(), "serve"], program.folder.path());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = eventually_listens(&mut lines, &mut errors).await;
    let health = format!("http://{address}/health");
    let ready = format!("http://{address}/ready");
    eventually("it is ready", || async {
        let answer = crate::harness::http_client().get(&ready).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    program::signal(&child, "TERM").await;
    let status = tokio::time::timeout(Duration::from_secs(10), child.wait())
        .await
        .expect("within its grace")
        .unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(crate::harness::http_client().get(&health).send().await.is_err());
    service.stop().await;
}

type Lines<T> = tokio::io::Lines<BufReader<T>>;

/// The address in the line that says so.
async fn eventually_listens(
    stdout: &mut Lines<tokio::process::ChildStdout>,
    stderr: &mut Lines<tokio::process::ChildStderr>,
) -> String {
    let listening = async {
        loop {
            let line = tokio::select! {
                Ok(Some(line)) = stdout.next_line() => line,
                Ok(Some(line)) = stderr.next_line() => line,
                else => panic!("it ended without listening"),
            };
            if line.contains("listening")
                && let Some((_, rest)) = line.split_once("127.0.0.1:")
            {
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                return format!("127.0.0.1:{port}");
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), listening)
        .await
        .expect("it listens")
}

/// What is kept about anybody.
async fn kept(service: &Service) -> i64 {
    let counted = "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM oauth_audit_log) \
                   + (SELECT count(*) FROM oauth_erasures)";
    service.sql().await.query_one(counted, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_user_is_told_and_leaves_no_trace() {
    let (service, program) = beside_a_service().await;
    service.connect("ada", "google").await;
    let before = kept(&service).await;
    for arguments in [
        &["users", "erase", "adda", "--yes"][..],
        &["users", "erase", "adda", "--yes", "--json"][..],
        &["users", "export", "adda"][..],
    ] {
        // Also the second time: asking is no reason to know somebody.
        for _ in 0..2 {
            let line = program.run(arguments).await.expect_refusal(1);
            assert!(line.contains("no such user") && line.contains("adda"), "{line}");
        }
    }
    assert_eq!(kept(&service).await, before);
    program.run(&["users", "export", "ada"]).await.expect_success();
    program
        .run(&["users", "erase", "ada", "--yes"])
        .await
        .expect_success();
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn erasing_a_user_is_asked_about_and_refused_where_nobody_can_be_asked() {
    let (service, program) = beside_a_service().await;
    service.connect("ada", "google").await;
    let line = program.run(&["users", "erase", "ada"]).await.expect_refusal(1);
    assert!(line.contains("--yes"), "{line}");
    assert_eq!(users(&service).await, 1);

    for (answer, code, left) in [("\n", 1, 1), ("y\n", 1, 1), ("yes\n", 0, 0)] {
        let (ended, shown) = on_a_terminal(&program, "users erase ada", answer).await;
        assert!(shown.contains("ada") && shown.contains("undone"), "{shown}");
        assert_eq!(
            (ended, users(&service).await),
            (Some(code), left),
            "{answer:?}: {shown}"
        );
    }
    service.stop().await;
}

async fn users(service: &Service) -> i64 {
    let counted = service
        .sql()
        .await
        .query_one("SELECT count(*) FROM users", &[])
        .await;
    counted.unwrap().get(0)
}

/// Runs a command on a terminal of its own (util-linux' `script`), where somebody types this.
async fn on_a_terminal(program: &Program, command: &str, typed: &str) -> (Option<i32>, String) {
    use tokio::io::AsyncWriteExt as _;
    let command = format!(
        "{} --config {} {command}",
        env!("CARGO_BIN_EXE_oauth-manager"),
        program.config()
    );
    let mut child = tokio::process::Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(program.folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("util-linux is installed");
    let mut input = child.stdin.take().unwrap();
    input.write_all(typed.as_bytes()).await.unwrap();
    let ran = program::finish(child).await;
    drop(input);
    (ran.code, ran.stdout)
}
