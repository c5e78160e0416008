//! The service as an operator runs it: the program with a production-like log, on a database with a connected account.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

use crate::{
    harness::{Folder, Service, eventually},
    load, neighbour,
};

/// A service in a process of its own, and what to ask it.
pub struct Running {
    pub address: SocketAddr,
    pub pid: u32,
    pub request: Vec<u8>,
    /// Of the route that does least: what everything around a handler costs.
    pub constant_request: Vec<u8>,
    pub body_bytes: usize,
    process: Child,
    _folder: Folder,
    /// Simulator and database are its.
    pub around: Service,
}

impl Running {
    pub async fn stop(mut self) {
        self.process.kill().await.unwrap();
        self.around.stop().await;
    }
}

/// Connects an account, starts the program, asks it once.
pub async fn start() -> Running {
    let around = Service::start().await;
    around.connect("ada", "google").await;
    neighbour::connect(&around).await;
    let consumer = around.service(&["google:*"]).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let folder = Folder::new();
    let toml = around
        .toml
        .replace("listen = \"127.0.0.1:0\"", &format!("listen = \"{address}\""));
    let config = folder.write("config.toml", &toml);
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let process = Command::new(env!("CARGO_BIN_EXE_oauth-manager"))
        .args(["serve", "--config", config.to_str().unwrap()])
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let path = "/api/v1/oauth/users/ada/token?feature=google.calendar&min_ttl=5m";
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\r\n",
        consumer.token()
    )
    .into_bytes();
    eventually("the program answers", || async {
        let ready = around
            .http
            .get(format!("http://{address}/ready"))
            .send()
            .await
            .ok()?;
        ready.status().is_success().then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let body_bytes = load::body_bytes(address, &request);
    Running {
        address,
        pid: process.id().unwrap(),
        request,
        constant_request: format!("GET /health HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes(),
        body_bytes,
        process,
        _folder: folder,
        around,
    }
}
