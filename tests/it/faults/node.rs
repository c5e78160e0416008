//! A node: the program as a process that can be killed, stopped, continued and started again.

use std::{
    fs::File,
    net::TcpListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::process::Child;

use crate::harness::{Program, Proxy, eventually, program};

/// Each node's own, in its folder.
pub const SPOOL: &str = "spool";

/// A node: the program, its configuration, and its own way to the database.
pub struct Node {
    pub base_url: String,
    pub way: Proxy,
    /// Whether it has said that it is ready, and has not ended since: whom callers are sent to.
    pub in_rotation: Arc<AtomicBool>,
    pub program: Program,
    child: Option<Child>,
}

impl Node {
    /// Not started yet.
    pub fn new(port: u16, toml: &str, way: Proxy) -> Self {
        Self {
            base_url: format!("http://127.0.0.1:{port}"),
            way,
            in_rotation: Arc::default(),
            program: Program::new(toml),
            child: None,
        }
    }

    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self, http: &reqwest::Client) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let arguments = ["--config", self.program.config(), "serve"];
        let mut command = program::command(&arguments, self.program.folder.path());
        command.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        self.child = Some(command.spawn().unwrap());
        let url = format!("{}/ready", self.base_url);
        eventually("a node is ready", || async {
            let answer = http.get(&url).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        self.in_rotation.store(true, Ordering::Relaxed);
    }

    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        self.in_rotation.store(false, Ordering::Relaxed);
    }

    /// Asks it to stop; its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        let mut child = self.child.take().expect("it runs");
        let ended = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
        self.in_rotation.store(false, Ordering::Relaxed);
        ended.expect("it stops in time").unwrap().code()
    }

    /// `STOP`, `CONT`, …
    pub async fn signal(&self, name: &str) {
        program::signal(self.child.as_ref().expect("it runs"), name).await;
    }

    /// What it has logged, over all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// The last lines of it that name this.
    pub fn log_about(&self, name: &str) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains(name)).collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// How much lies in its spool.
    pub fn spooled_bytes(&self) -> u64 {
        let mut folders = vec![self.program.folder.path().join(SPOOL)];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(found) if found.is_dir() => folders.push(entry.path()),
                    Ok(found) => bytes += found.len(),
                    // Gone in between.
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.program.folder.path().join("node.log")
    }
}

/// A port below those that outgoing connections take: a node that is down for a moment finds its own free again.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 16_000;
    /// A run of the tests that was started together with this one has a neighbouring process id, and its own ports: a port
    /// looks free while its node is down.
    const APART: u32 = 151;
    let start = u16::try_from(std::process::id() * APART % u32::from(COUNT)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step) % COUNT);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
