//! One address, one user, one credential never stops another: what each of them may take is bounded, and whatever they do
//! with it, the others are handed tokens, refresh and connect.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::harness::{
    Api, Browser, Program, Service, connect, eventually, http_client,
    program::{self, finish},
    user_token,
};

/// How often the others do everything they do.
const ROUNDS: usize = 5;
/// No answer takes this long; without one there is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who has nothing to do with the attack.
struct Others {
    base_url: String,
    http: reqwest::Client,
    consumer: Api,
    /// Bob's account.
    id: String,
}

impl Others {
    /// At this address, which serves the same database.
    async fn at(base_url: &str, service: &Service) -> Self {
        let consumer = service.service(&["*:*"]).await;
        let connected = service.connect("bob", "google").await;
        let http = http_client();
        Self {
            base_url: base_url.to_owned(),
            consumer: Api::new(http.clone(), base_url, Some(consumer.token().to_owned())),
            http,
            id: connected["id"].as_str().unwrap().to_owned(),
        }
    }

    fn user(&self, name: &str) -> Api {
        Api::new(self.http.clone(), &self.base_url, Some(user_token(name)))
    }

    /// Hand-outs, refreshes and connects, each of them done.
    async fn go_on(&self, during: &str) {
        for round in 0..ROUNDS {
            let handed_out = self.consumer.get("/users/bob/token?provider=google").await;
            assert_eq!(handed_out.status, 200, "{during}: {handed_out:?}");
            let refresh = format!("/integrations/{}/refresh", self.id);
            let refreshed = self.user("bob").post(&refresh, json!({})).await;
            assert_eq!(refreshed.status, 200, "{during}: {refreshed:?}");
            let carol = self.user(&format!("carol-{}-{round}", during.replace(' ', "-")));
            let connected = connect(
                &carol,
                Browser::new(self.http.clone()),
                json!({ "provider": "notion" }),
            )
            .await;
            assert_eq!(connected["status"], "active", "{during}");
        }
    }
}

fn address(base_url: &str) -> SocketAddr {
    base_url.strip_prefix("http://").unwrap().parse().unwrap()
}

async fn open(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // One that was closed again meanwhile has had its answer.
    let _ = stream.write_all(bytes).await;
    stream
}

/// What is said, up to the end of the answer: the next one is read from where it begins.
async fn answer(stream: &mut TcpStream) -> String {
    let mut said = Vec::new();
    let reading = async {
        while !is_whole(&said) {
            if stream.read_buf(&mut said).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("an answer");
    String::from_utf8(said).unwrap()
}

fn is_whole(said: &[u8]) -> bool {
    let said = String::from_utf8_lossy(said);
    let Some((head, body)) = said.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

/// The program, allowed to open so many files, at an address of its own; it ends with the value.
struct Limited {
    child: tokio::process::Child,
    _program: Program,
    base_url: String,
}

fn limited(files: u32, program: &Program) -> tokio::process::Command {
    let mut command = program::command(&[], program.folder.path());
    let serve = format!(
        "ulimit -n {files} && exec {} --config {} serve",
        env!("CARGO_BIN_EXE_oauth-manager"),
        program.config()
    );
    let mut shell = tokio::process::Command::new("sh");
    shell
        .args(["-c", &serve])
        .current_dir(program.folder.path())
        .env_clear()
        .kill_on_drop(true)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    for (name, value) in command.as_std_mut().get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell
}

impl Limited {
    async fn beside(service: &Service, files: u32) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let listen = address(&base_url).to_string();
        let toml = service
            .toml
            .replace("127.0.0.1:0", &listen)
            .replace(&service.base_url, &base_url);
        let program = Program::new(&toml);
        let log = std::fs::File::create(program.folder.path().join("log")).unwrap();
        let child = limited(files, &program).stderr(log).spawn().unwrap();
        eventually("it is ready", || async {
            let ready = http_client().get(format!("{base_url}/ready")).send().await;
            ready
                .is_ok_and(|ready| ready.status() == StatusCode::OK)
                .then_some(())
        })
        .await;
        Self {
            child,
            _program: program,
            base_url,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_of_one_user_keep_nobody_else_waiting() {
    const BODIES: usize = 2_100;
    let service = Service::start().await;
    let others = Others::at(&service.base_url, &service).await;
    let request = format!(
        "POST /api/v1/oauth/authorizations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
        user_token("mallory")
    );
    let address = address(&service.base_url);
    let mut unfinished: Vec<_> = stream::iter(0..BODIES)
        .map(|_| open(address, request.as_bytes()))
        .buffer_unordered(64)
        .collect()
        .await;
    others.go_on("unfinished bodies").await;
    // Most were told at once that they are too many of one user.
    let last = unfinished.last_mut().unwrap();
    let said = answer(last).await;
    assert!(
        said.starts_with("HTTP/1.1 429") && said.contains("retry-after: "),
        "{said}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sockets_at_1024_files_shut_nobody_out() {
    let service = Service::start().await;
    let node = Limited::beside(&service, 1_024).await;
    let others = Others::at(&node.base_url, &service).await;
    let address = address(&node.base_url);
    let mut sockets = Vec::new();
    for bytes in [&b""[..], b"GET /health HTTP/1.1\r\nhost: x\r\nx-half"] {
        for _ in 0..1_050 {
            sockets.push(open(address, bytes).await);
        }
        others
            .go_on(if bytes.is_empty() {
                "silent sockets"
            } else {
                "half heads"
            })
            .await;
    }
    // And requests that were answered, on connections that are kept.
    for _ in 0..1_050 {
        let mut kept = open(address, b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let said = answer(&mut kept).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        sockets.push(kept);
    }
    others.go_on("kept connections").await;
    drop(sockets);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_runs_out_of_files_lets_go_of_idle_sockets_and_serves_on() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let service = Service::start().await;
    let node = Limited::beside(&service, 1_024).await;
    let others = Others::at(&node.base_url, &service).await;
    others.go_on("plenty of files").await;
    let address = address(&node.base_url);
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(open(address, b"").await);
    }
    let pid = node.child.id().unwrap();
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let fewer = Rlimit {
        current: Some(files as u64 - 20),
        maximum: Some(1_024),
    };
    prlimit(Pid::from_raw(pid.cast_signed()), Resource::Nofile, fewer).unwrap();
    let request = format!(
        "GET /api/v1/oauth/users/bob/token?provider=google HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        others.consumer.token()
    );
    let mut asks = open(address, request.as_bytes()).await;
    let said = answer(&mut asks).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_few_files_for_the_service_itself_refuse_the_start() {
    let service = Service::start().await;
    let ran = finish(limited(150, &Program::new(&service.toml)).spawn().unwrap()).await;
    assert_eq!(ran.code, Some(78), "{ran:?}");
    let last = ran.stderr.lines().last().unwrap_or_default();
    assert!(
        last.contains("may open 150 files") && last.contains("ulimit -n"),
        "{ran:?}"
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stray_callbacks_keep_nobody_from_connecting() {
    const CALLBACKS: usize = 5_000;
    let service = Service::start().await;
    let others = Others::at(&service.base_url, &service).await;
    let http = http_client();
    let strays = stream::iter(0..CALLBACKS)
        .map(|number| {
            let (http, base_url) = (http.clone(), service.base_url.clone());
            async move {
                let state = format!("{number:064x}");
                let url = format!("{base_url}/api/v1/oauth/callback/google?code=x&state={state}");
                http.get(url).send().await.unwrap().status().as_u16()
            }
        })
        .buffer_unordered(64)
        .collect::<Vec<u16>>();
    let (statuses, ()) = tokio::join!(strays, others.go_on("stray callbacks"));
    assert!(
        statuses.iter().all(|status| matches!(status, 400 | 429)),
        "{statuses:?}"
    );
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(refused > CALLBACKS / 2, "{refused} of {CALLBACKS} were refused");
    // Still at the same address, and at once.
    others.go_on("what the callbacks left").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_credentials_are_refused_and_good_ones_of_the_same_address_pass() {
    const FAILURES: usize = 600;
    let service = Arc::new(Service::start().await);
    let known = service.service(&["*:*"]).await;
    known.get("/providers").await.expect_status(200);
    let mut guesses = JoinSet::new();
    for number in 0..FAILURES {
        let wrong = service.with_token(&match number % 2 {
            0 => format!("oms_{number:032x}"),
            _ => format!("{}x", user_token("mallory")),
        });
        guesses.spawn(async move { wrong.get("/providers").await });
    }
    let answers = guesses.join_all().await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(!refused.is_empty());
    assert!(
        refused.iter().all(|answer| answer.headers.contains_key("retry-after")
            && answer.body["code"] == "rate_limited")
    );
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 429)));
    known.get("/providers").await.expect_status(200);
    service.user("ada").get("/providers").await.expect_status(200);
    // One that nobody here has seen yet is looked up all the same.
    let unseen = service.service(&["*:*"]).await;
    unseen.get("/providers").await.expect_status(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_with_256_kept_connections_is_served_on_each_of_them() {
    let service = Service::start().await;
    let node = Limited::beside(&service, 1_024).await;
    let others = Others::at(&node.base_url, &service).await;
    let request = format!(
        "GET /api/v1/oauth/users/bob/token?provider=google HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        others.consumer.token()
    );
    let mut kept = Vec::new();
    for _ in 0..256 {
        // Asked at once: one that says nothing for long is closed.
        let mut stream = open(address(&node.base_url), request.as_bytes()).await;
        let said = answer(&mut stream).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        kept.push(stream);
    }
    for round in 0..2 {
        for stream in &mut kept {
            stream.write_all(request.as_bytes()).await.unwrap();
            let said = answer(stream).await;
            assert!(said.starts_with("HTTP/1.1 200"), "round {round}: {said}");
        }
    }
    others.go_on("kept connections of a service").await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_browsers_behind_one_address_connect_beside_its_strays() {
    const BROWSERS: usize = 300;
    let service = Arc::new(Service::start().await);
    let http = http_client();
    let links: Vec<_> = stream::iter(0..400)
        .map(|number| {
            http.get(format!("{}/connect/google.{number}", service.base_url))
                .send()
        })
        .buffer_unordered(16)
        .map(|answer| answer.unwrap().status().as_u16())
        .collect()
        .await;
    assert!(links.contains(&429), "the address has become suspect");
    let mut flows = JoinSet::new();
    for number in 0..BROWSERS {
        let service = Arc::clone(&service);
        flows.spawn(async move {
            let hint = format!("person-{number}@example.com");
            service
                .connect_with(
                    &format!("user-{number}"),
                    json!({ "provider": "google", "login_hint": hint }),
                )
                .await
        });
    }
    let connected = flows.join_all().await;
    assert!(connected.iter().all(|account| account["status"] == "active"));
}
