//! The service as a process that may open no more than 1024 files.

use std::{net::SocketAddr, process::Stdio};

use tokio::process::{Child, Command};

use crate::harness::{FORCED_REFRESH_INTERVAL, Folder, Service, eventually, http_client};

/// Between two refreshes that the user of one account forces: short, so that everybody else can be measured by theirs.
const FORCED_REFRESH_PAUSE: &str = "1s";

/// The process, and the database and simulator around it.
pub struct Running {
    pub base_url: String,
    pub around: Service,
    process: Child,
    _folder: Folder,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.base_url.strip_prefix("http://").unwrap().parse().unwrap()
    }

    pub async fn stop(mut self) {
        self.process.kill().await.unwrap();
        self.around.stop().await;
    }
}

pub async fn start() -> Running {
    let around = Service::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let base_url = format!("http://{address}");
    let folder = Folder::new();
    let toml = around
        .toml
        .replace("127.0.0.1:0", &address.to_string())
        .replace(&around.base_url, &base_url);
    let config = folder.write("config.toml", &toml);
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let serve = format!(
        "ulimit -n 1024 && exec {} --config {} serve",
        env!("CARGO_BIN_EXE_oauth-manager"),
        config.display()
    );
    let process = Command::new("sh")
        .args(["-c", &serve])
        .current_dir(folder.path())
        .env(FORCED_REFRESH_INTERVAL, FORCED_REFRESH_PAUSE)
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    eventually("the program answers", || async {
        let ready = http_client().get(format!("{base_url}/ready")).send().await.ok()?;
        ready.status().is_success().then_some(())
    })
    .await;
    Running {
        base_url,
        around,
        process,
        _folder: folder,
    }
}
