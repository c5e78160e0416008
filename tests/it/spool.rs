//! Answers of a provider that gives each refresh token once, with Postgres cut off at the very moment they arrive: they are
//! stored when it is back, whatever became of the process meanwhile.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use oauth_manager::dev::simulator::{Endpoint, Provider, Simulator};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Child,
};

use crate::harness::{
    Answer, Api, Folder, Program, Proxy, Service, ServiceOptions, eventually, fresh_database, http_client,
    program, scale, user_token,
};

/// Shorter than an operator would have it, so that a test can wait for it.
const GRACE: Duration = Duration::from_secs(4);

/// The program under test, serving.
struct Serving {
    child: Child,
    base_url: String,
}

impl Serving {
    async fn start(program: &Program) -> Self {
        let mut command = program::command(&["--config", program.config(), "serve"], program.folder.path());
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let listening = async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("it listens before it ends");
                if line.contains("listening")
                    && let Some((_, rest)) = line.split_once("listen=127.0.0.1:")
                {
                    return rest.chars().take_while(char::is_ascii_digit).collect::<String>();
                }
            }
        };
        let port = tokio::time::timeout(Duration::from_secs(20), listening)
            .await
            .expect("it listens");
        #[expect(clippy::disallowed_methods, reason = "ends with the program")]
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            child,
            base_url: format!("http://127.0.0.1:{port}"),
        }
    }

    async fn becomes_ready(&self) {
        eventually("ready", || async {
            let answer = http_client()
                .get(format!("{}/ready", self.base_url))
                .send()
                .await
                .ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    fn user(&self) -> Api {
        Api::new(http_client(), &self.base_url, Some(user_token("ada")))
    }
}

/// Answers that lie in the spool, forgotten ones included: bytes of its journals.
fn journal_bytes(spool: &Path) -> u64 {
    let slots = std::fs::read_dir(spool).into_iter().flatten().flatten();
    let files = slots.flat_map(|slot| std::fs::read_dir(slot.path()).into_iter().flatten().flatten());
    files
        .filter(|file| file.file_name().to_string_lossy().starts_with("journal-"))
        .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
        .sum()
}

/// A connected account, the program to run it with, and the way to its database.
struct Scene {
    simulator: Simulator,
    program: Program,
    proxy: Proxy,
    spool: PathBuf,
    refresh: String,
    _folder: Folder,
}

impl Scene {
    async fn set() -> Self {
        let folder = Folder::new();
        let spool = folder.path().join("spool");
        let direct = fresh_database().await;
        let proxy = Proxy::before(&direct, false).await;
        let service = Service::start_with(ServiceOptions {
            database_url: Some(proxy.url(&direct)),
            spool: Some(spool.clone()),
            extra_toml: format!("[timings]\nshutdown_grace = \"{}s\"\n", GRACE.as_secs()),
            ..ServiceOptions::default()
        })
        .await;
        let integration = service.connect("ada", "notion").await;
        let refresh = format!("/integrations/{}/refresh", integration["id"].as_str().unwrap());
        let program = Program::new(&service.toml);
        let (simulator, _) = service.stop().await;
        Self {
            simulator,
            program,
            proxy,
            spool,
            refresh,
            _folder: folder,
        }
    }

    /// A refresh whose answer arrives while the database is gone, and lies in the spool now.
    async fn answer_in_hand(&self, serving: &Serving) {
        let before = journal_bytes(&self.spool);
        let gate = self.simulator.gate_answer(Provider::Notion, Endpoint::Refresh);
        let asked = http_client()
            .post(format!("{}/api/v1/oauth{}", serving.base_url, self.refresh))
            .bearer_auth(user_token("ada"))
            .header("content-type", "application/json")
            .body("{}");
        let outage = async {
            gate.arrived().await;
            self.proxy.cut();
            gate.release();
            self.is_spooled(before).await;
        };
        // Whoever asked is told, and does not wait for the end of it.
        let (answer, ()) = tokio::join!(asked.send(), outage);
        Answer::of(answer.unwrap())
            .await
            .expect_problem(503, "overloaded");
    }

    async fn is_spooled(&self, before: u64) {
        eventually("the answer is in the spool", || async {
            (journal_bytes(&self.spool) > before).then_some(())
        })
        .await;
    }

    /// The next run stores it, and the chain of refresh tokens goes on.
    async fn is_stored_by_the_next_run(&self) {
        self.proxy.mend();
        let serving = Serving::start(&self.program).await;
        serving.becomes_ready().await;
        let view = eventually("it is stored", || async {
            let path = self.refresh.trim_end_matches("/refresh");
            let view = serving.user().get(path).await.expect_status(200);
            (!view["last_refreshed_at"].is_null()).then_some(view)
        })
        .await;
        assert_eq!(view["status"], "active", "{view:#}");
        for _ in 0..2 {
            serving
                .user()
                .post(&self.refresh, json!({}))
                .await
                .expect_status(200);
        }
        assert!(
            self.simulator.refusals().is_empty(),
            "{:#?}",
            self.simulator.refusals()
        );
        program::signal(&serving.child, "TERM").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_when_postgres_is_cut_off_is_stored_when_it_is_back() {
    let direct = fresh_database().await;
    let proxy = Proxy::before(&direct, false).await;
    let service = Service::start_with(ServiceOptions {
        database_url: Some(proxy.url(&direct)),
        ..ServiceOptions::default()
    })
    .await;
    let integration = service.connect("ada", "notion").await;
    let path = format!("/integrations/{}/refresh", integration["id"].as_str().unwrap());
    let view_path = path.trim_end_matches("/refresh");
    let user = service.user("ada");
    for round in 0..scale::repetitions(5, 200) {
        let before = user.get(view_path).await.expect_status(200);
        let gate = service.simulator.gate_answer(Provider::Notion, Endpoint::Refresh);
        let asked = user.post(&path, json!({}));
        let outage = async {
            gate.arrived().await;
            proxy.cut();
            gate.release();
            eventually("its absence is noticed", || async {
                let url = format!("{}/ready", service.base_url);
                let answer = Answer::of(http_client().get(url).send().await.unwrap()).await;
                (answer.status == 503).then_some(())
            })
            .await;
            proxy.mend();
        };
        let (answer, ()) = tokio::join!(asked, outage);
        // Told that the database is away, unless it was back before that was worth telling.
        if answer.status != 200 {
            answer.expect_problem(503, "overloaded");
        }
        eventually("the answer is stored", || async {
            let view = user.get(view_path).await;
            let is_new = view.status == 200 && view.body["last_refreshed_at"] != before["last_refreshed_at"];
            (is_new && view.body["status"] == "active").then_some(())
        })
        .await;
        assert!(
            service.simulator.refusals().is_empty(),
            "round {round}: {:#?}",
            service.simulator.refusals()
        );
    }
    user.post(&path, json!({})).await.expect_status(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_in_hand_when_the_program_is_killed_is_stored_by_its_next_run() {
    for _ in 0..scale::repetitions(1, 20) {
        let scene = Scene::set().await;
        let mut serving = Serving::start(&scene.program).await;
        serving.becomes_ready().await;
        scene.answer_in_hand(&serving).await;
        serving.child.kill().await.unwrap();
        scene.is_stored_by_the_next_run().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_with_an_answer_in_hand_it_ends_in_time_and_the_next_run_stores_it() {
    for _ in 0..scale::repetitions(1, 20) {
        let scene = Scene::set().await;
        let mut serving = Serving::start(&scene.program).await;
        serving.becomes_ready().await;
        scene.answer_in_hand(&serving).await;
        program::signal(&serving.child, "TERM").await;
        // Its grace, and what the last records may take without a database.
        let status = tokio::time::timeout(GRACE + Duration::from_secs(12), serving.child.wait())
            .await
            .expect("within its grace")
            .unwrap();
        assert_eq!(status.code(), Some(0));
        scene.is_stored_by_the_next_run().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_cannot_be_used_refuses_the_start_with_one_line() {
    let scene = Scene::set().await;
    let toml = std::fs::read_to_string(scene.program.config()).unwrap();
    let file = scene.program.folder.write("file", "");
    let inside = file.join("spool");
    let toml = toml.replace(scene.spool.to_str().unwrap(), inside.to_str().unwrap());
    let line = Program::new(&toml).run(&["serve"]).await.expect_refusal(78);
    assert!(
        line.starts_with("error: spool.directory: ")
            && line.contains(&format!("{} cannot be used: ", inside.display())),
        "{line}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_in_the_spool_is_sealed_and_read_by_nobody_else() {
    let scene = Scene::set().await;
    let mut serving = Serving::start(&scene.program).await;
    serving.becomes_ready().await;
    scene.answer_in_hand(&serving).await;
    serving.child.kill().await.unwrap();
    let requests = scene.simulator.requests_to(Provider::Notion, Endpoint::Refresh);
    let answer = requests.last().unwrap();
    let slot = scene.spool.join("slot-00");
    let mut read = Vec::new();
    for entry in std::fs::read_dir(&slot).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        read.extend(std::fs::read(&path).unwrap());
    }
    let text = String::from_utf8_lossy(&read);
    assert!(text.contains("notion_"), "whose it is, is in clear");
    for secret in ["ada", "ntn_", "nrt_", "Bearer", "refresh_token"] {
        assert!(!text.contains(secret), "{secret}: {answer:?}");
    }
    assert_eq!(
        std::fs::metadata(&scene.spool).unwrap().permissions().mode() & 0o777,
        0o700
    );
}
