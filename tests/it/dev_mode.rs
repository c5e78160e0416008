//! `dev` as a developer runs it: one command, everything on this machine, nothing left behind.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::json;
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

use crate::harness::{Answer, Api, Browser, Folder, eventually, http_client, program};

/// A first run makes a database cluster; that takes seconds on a busy machine.
const START: Duration = Duration::from_secs(60);
/// A stop waits for what is in flight, and for Postgres.
const STOP: Duration = Duration::from_secs(30);

/// Two ports nobody listens on. Somebody may take one before the run does: then the test says so.
fn ports() -> (u16, u16) {
    let (one, two) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        TcpListener::bind("127.0.0.1:0").unwrap(),
    );
    (one.local_addr().unwrap().port(), two.local_addr().unwrap().port())
}

pub(crate) struct Dev {
    child: Child,
    pub(crate) credentials: BTreeMap<String, String>,
    /// Kept open: a run whose output nobody takes would end.
    _output: (ChildStdout, ChildStderr),
}

/// The command, in this folder.
fn command(folder: &Path, arguments: &[&str]) -> (Command, u16) {
    let (port, simulator_port) = ports();
    let (port_text, simulator_text) = (port.to_string(), simulator_port.to_string());
    let mut all = vec![
        "dev",
        "--port",
        &port_text,
        "--simulator-port",
        &simulator_text,
        "--consent",
        "auto",
        "--token-lifetime",
        "60s",
    ];
    all.extend(arguments);
    (program::command(&all, folder), port)
}

impl Dev {
    pub(crate) async fn start(folder: &Path, arguments: &[&str], data_dir: &Path) -> Self {
        let (command, port) = command(folder, arguments);
        Self::spawn(command, port, data_dir).await
    }

    /// Waits until the credentials of this very run are there and the service is ready.
    async fn spawn(mut command: Command, port: u16, data_dir: &Path) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let file = data_dir.join("credentials.json");
        let base_url = format!("http://127.0.0.1:{port}");
        let written = async {
            loop {
                if let Ok(Some(status)) = child.try_wait() {
                    panic!("it ended: {status}: {}", everything(output.0, output.1).await);
                }
                let read = std::fs::read_to_string(&file).ok();
                let credentials = read.and_then(|text| serde_json::from_str(&text).ok());
                if let Some(credentials) =
                    credentials.filter(|found: &BTreeMap<String, String>| found["base_url"] == base_url)
                {
                    return (child, credentials, output);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let (child, credentials, output) = tokio::time::timeout(START, written)
            .await
            .expect("it comes up in time");
        Self {
            child,
            credentials,
            _output: output,
        }
    }

    pub(crate) fn api(&self, token: &str) -> Api {
        Api::new(
            crate::harness::http_client(),
            &self.credentials["base_url"],
            Some(self.credentials[token].clone()),
        )
    }

    /// Connects an account with nothing but the credentials and the contract.
    async fn connect(&self, provider: &str) {
        let user = self.api("user_token");
        let request = json!({ "provider": provider, "return_to": crate::harness::APPLICATION });
        let begun = user.post("/authorizations", request).await.expect_status(201);
        let end = Browser::new(http_client())
            .open(begun["authorization_url"].as_str().unwrap())
            .await;
        let path = format!(
            "/authorizations/{}/confirm",
            end.query("authorization_id").unwrap()
        );
        let confirmation = json!({ "confirmation": end.query("confirmation").unwrap() });
        user.post(&path, confirmation).await.expect_status(200);
        let path = format!("/users/{}/token?provider={provider}", self.credentials["user"]);
        self.api("service_token").get(&path).await.expect_status(200);
    }

    /// Refreshes the user's account at this provider.
    async fn refresh(&self, provider: &str) -> Answer {
        let user = self.api("user_token");
        let list = user.get("/integrations").await.expect_status(200);
        let mut items = list["items"].as_array().unwrap().iter();
        let account = items.find(|item| item["provider"] == provider).unwrap();
        let path = format!("/integrations/{}/refresh", account["id"].as_str().unwrap());
        user.post(&path, json!({})).await
    }

    async fn accounts(&self) -> usize {
        let list = self
            .api("user_token")
            .get("/integrations")
            .await
            .expect_status(200);
        list["items"].as_array().unwrap().len()
    }

    pub(crate) async fn ends(mut self, signal: &str) -> Option<i32> {
        program::signal(&self.child, signal).await;
        let status = tokio::time::timeout(STOP, self.child.wait()).await;
        status.expect("it ends in time").unwrap().code()
    }
}

async fn everything(mut stdout: ChildStdout, mut stderr: ChildStderr) -> String {
    use tokio::io::AsyncReadExt as _;
    let mut text = String::new();
    let _ = stdout.read_to_string(&mut text).await;
    let _ = stderr.read_to_string(&mut text).await;
    text
}

/// The process of the Postgres of this data directory, by the file it keeps.
fn postmaster(data_dir: &Path) -> Option<u32> {
    fn find(folder: &Path, depth: u8) -> Option<PathBuf> {
        let entries = std::fs::read_dir(folder).ok()?;
        let paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        let here = paths
            .iter()
            .find(|path| path.file_name().is_some_and(|name| name == "postmaster.pid"));
        here.cloned().or_else(|| {
            let deeper = paths.iter().filter(|path| depth > 0 && path.is_dir());
            deeper.into_iter().find_map(|path| find(path, depth - 1))
        })
    }
    let text = std::fs::read_to_string(find(data_dir, 3)?).ok()?;
    text.lines().next()?.trim().parse().ok()
}

async fn gone(pid: u32) {
    eventually("its Postgres is gone", || async move {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // A process that ended and that nobody has buried yet is gone, too.
        stat.map_or(Some(()), |stat| stat.contains(") Z ").then_some(()))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_brings_everything_up_and_the_next_run_still_has_the_accounts() {
    let folder = Folder::new();
    let data_dir = folder.path().join("data");
    let arguments = ["--data-dir", data_dir.to_str().unwrap()];
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    let keys: Vec<_> = dev.credentials.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        [
            "admin_token",
            "application_url",
            "base_url",
            "service_token",
            "session_url",
            "simulator_url",
            "user",
            "user_token"
        ]
    );
    let mode = std::fs::metadata(data_dir.join("credentials.json"))
        .unwrap()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    for provider in ["google", "microsoft", "notion", "youtube"] {
        dev.connect(provider).await;
    }
    dev.api("admin_token").get("/providers").await.expect_status(200);

    // The printed link opens our pages as the demo user: by way of the example application, and without a click.
    let session_url = dev.credentials["session_url"].clone();
    let mut browser = Browser::new(http_client());
    let page = browser.open(&session_url).await;
    assert_eq!((page.status, page.url.path()), (200, "/connections"), "{page:?}");
    assert!(page.body.contains("demo-user") && page.body.contains("example-application"));
    let again = Browser::new(http_client()).open(&session_url).await;
    assert_eq!(
        (again.status, again.url.path()),
        (200, "/connections"),
        "{again:?}"
    );

    // A second copy does not get between: the folder was asked for by name.
    let (mut second, _) = command(folder.path(), &arguments);
    let refused = program::finish(second.spawn().unwrap()).await;
    assert!(refused.expect_refusal(1).contains("--data-dir"));

    let pid = postmaster(&data_dir).expect("a private Postgres");
    let base_url = dev.credentials["base_url"].clone();
    assert_eq!(dev.ends("INT").await, Some(0));
    gone(pid).await;
    assert!(
        http_client()
            .get(format!("{base_url}/health"))
            .send()
            .await
            .is_err()
    );

    // Killed without a chance to clean up, it is cleaned up by the next.
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    assert_eq!(dev.accounts().await, 4);
    let pid = postmaster(&data_dir).unwrap();
    assert_eq!(dev.ends("KILL").await, None);
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    gone(pid).await;
    assert_eq!(dev.accounts().await, 4);
    dev.ends("TERM").await;

    let mut fresh = arguments.to_vec();
    fresh.push("--fresh");
    let dev = Dev::start(folder.path(), &fresh, &data_dir).await;
    assert_eq!(dev.accounts().await, 0);
    let pid = postmaster(&data_dir).unwrap();
    dev.ends("INT").await;
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_refreshed_by_the_run_after_a_stop_and_after_a_kill() {
    let folder = Folder::new();
    let data_dir = folder.path().join("data");
    let arguments = ["--data-dir", data_dir.to_str().unwrap()];
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    for provider in ["google", "microsoft", "notion", "youtube"] {
        dev.connect(provider).await;
    }
    let file = std::fs::metadata(data_dir.join("simulator.json")).unwrap();
    assert_eq!(file.mode() & 0o777, 0o600);
    dev.ends("INT").await;

    // Notion's refresh token works once: its successor has to be known when the run is killed right after the answer.
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    for provider in ["google", "notion"] {
        dev.refresh(provider).await.expect_status(200);
    }
    assert_eq!(dev.ends("KILL").await, None);
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    for provider in ["microsoft", "youtube", "notion"] {
        dev.refresh(provider).await.expect_status(200);
    }
    // Positive control: the providers remember what was taken back, too.
    let revoked = json!({ "provider": "microsoft" }).to_string();
    let revoke = format!("{}/_sim/revoke", dev.credentials["simulator_url"]);
    let told = http_client().post(revoke).body(revoked).send().await.unwrap();
    assert_eq!(told.status(), 200);
    assert_eq!(dev.ends("KILL").await, None);
    let dev = Dev::start(folder.path(), &arguments, &data_dir).await;
    dev.refresh("microsoft")
        .await
        .expect_problem(409, "reauth_required");
    dev.ends("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_at_once_do_not_meet_even_in_one_folder() {
    let folder = Folder::new();
    let (first, port) = command(folder.path(), &[]);
    let first = Dev::spawn(first, port, &folder.path().join(".dev")).await;
    let (second, port) = command(folder.path(), &[]);
    let second = Dev::spawn(second, port, &folder.path().join(format!(".dev-{port}"))).await;
    tokio::join!(first.connect("google"), second.connect("google"));
    first.connect("notion").await;
    assert_eq!((first.accounts().await, second.accounts().await), (2, 1));
    // One's credentials mean nothing to the other.
    let stranger = Api::new(
        crate::harness::http_client(),
        &second.credentials["base_url"],
        Some(first.credentials["user_token"].clone()),
    );
    stranger
        .get("/integrations")
        .await
        .expect_problem(401, "unauthenticated");
    let pids = [
        postmaster(&folder.path().join(".dev")),
        postmaster(&folder.path().join(format!(".dev-{port}"))),
    ];
    let (one, two) = tokio::join!(first.ends("INT"), second.ends("INT"));
    assert_eq!((one, two), (Some(0), Some(0)));
    for pid in pids {
        gone(pid.expect("each has its own")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordinary_user_can_run_it_too() {
    let folder = Folder::new();
    let is_root = std::fs::metadata(folder.path()).unwrap().uid() == 0;
    let copy = folder.path().join("oauth-manager");
    let (mut command, port) = if is_root {
        // The program itself may lie where nobody else can go.
        std::fs::copy(env!("CARGO_BIN_EXE_oauth-manager"), &copy).unwrap();
        let nobody = unprivileged();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(nobody.0), Some(nobody.1)).unwrap();
        let (as_root, port) = command(&home, &[]);
        let mut command = Command::new(&copy);
        command
            .args(as_root.as_std().get_args())
            .current_dir(&home)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .uid(nobody.0)
            .gid(nobody.1);
        (command, port)
    } else {
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        command(&home, &[])
    };
    command.stderr(Stdio::piped());
    let data_dir = folder.path().join("home/.dev");
    let dev = Dev::spawn(command, port, &data_dir).await;
    dev.connect("google").await;
    let owner = std::fs::metadata(data_dir.join("credentials.json"))
        .unwrap()
        .uid();
    assert_ne!(owner, 0);
    let pid = postmaster(&data_dir).unwrap();
    assert_eq!(dev.ends("INT").await, Some(0));
    gone(pid).await;
}

/// User and group of somebody without power.
fn unprivileged() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = passwd
            .lines()
            .find(|line| line.starts_with(&format!("{name}:")))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    of("nobody")
        .or_else(|| of("postgres"))
        .expect("an account without power")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_one_line_before_anything_is_started() {
    let folder = Folder::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut command = program::command(&["dev", "--port", &port], folder.path());
    let line = program::finish(command.spawn().unwrap()).await.expect_refusal(1);
    assert!(line.contains("--port") && line.contains(&port), "{line}");
    assert!(!folder.path().join(".dev/postgres").exists());
}
