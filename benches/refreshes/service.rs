//! The built service as a process of its own, on a seeded database and a provider of one refresh class.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use base64::Engine as _;
use tokio::process::{Child, Command};

use crate::provider::{self, Provider};

/// Names another build of the program to measure, to compare the two.
const PROGRAM: &str = "OAUTH_MANAGER_PROGRAM";
/// What seals here.
pub const KEY_ID: &str = "refreshes";
pub const KEY: [u8; 32] = *b"\x51k\x9e\x02\xf3q\xb8A\xd7\x1dE\xc4\x66\x8a\x13\xe0\x7f\x92\x2c\xb5\x0b\xdeS\x34\xa9\x70\x1f\xc8\x4d\x96\xe2\x3b";
/// Random-looking, because anything else is refused.
const JWT_SECRET: &str = "8f0c2d7be1a94c35b6d80e7f12a3c9d4560b1e8f7a2d4c39";
/// Calls to the provider at once, of either class: as many as Google gets.
const CONCURRENCY: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

/// How the provider treats refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same for ever, as at Google.
    Safe,
    /// Each is good for one refresh, and answers wait in the spool until they are stored.
    SingleUse,
}

impl Class {
    pub fn provider(self) -> &'static str {
        match self {
            Self::Safe => "google",
            Self::SingleUse => "rotating",
        }
    }

    fn toml(self, provider: &Provider) -> String {
        let origin = format!("http://{}", provider.address);
        let client = format!(
            "client_id = \"benchmark\"\nclient_secret = \"benchmark\"\nallow_loopback = true\n\
             max_concurrency = {CONCURRENCY}\n"
        );
        match self {
            Self::Safe => format!(
                "[providers.google]\n{client}token_endpoint = \"{origin}{}\"\n",
                provider::SAFE
            ),
            Self::SingleUse => format!(
                "[providers.rotating]\ntype = \"oauth2\"\ndisplay_name = \"Rotating\"\n{client}\
                 refresh_class = \"single_use\"\nauthorization_endpoint = \"{origin}/authorize\"\n\
                 token_endpoint = \"{origin}{}\"\nuserinfo_endpoint = \"{origin}/userinfo\"\n\
                 account_id_pointer = \"/sub\"\n\
                 [providers.rotating.features]\n\"rotating.profile\" = [\"openid\"]\n",
                provider::ROTATING
            ),
        }
    }
}

/// The service; killed when dropped.
pub struct Service {
    pub address: SocketAddr,
    pub pid: u32,
    metrics: SocketAddr,
    process: Child,
    http: reqwest::Client,
}

impl Service {
    /// Starts it and waits until it is ready. Its configuration, log and spool are in the folder.
    pub async fn start(
        database_url: &str,
        class: Class,
        provider: &Provider,
        idle_after: &str,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let (address, metrics) = (free()?, free()?);
        let key = base64::engine::general_purpose::STANDARD.encode(KEY);
        let toml = format!(
            "[server]\nenvironment = \"development\"\nlisten = \"{address}\"\npublic_url = \"http://{address}\"\n\
             metrics_listen = \"{metrics}\"\n[database]\nurl = \"{database_url}\"\n\
             [encryption]\nkeys = [\"{KEY_ID}:{key}\"]\n[auth]\nhs256_secret = \"{JWT_SECRET}\"\n\
             [residency]\nidle_after = \"{idle_after}\"\n[spool]\ndirectory = \"{spool}\"\n[log]\nfilter = \"warn\"\n{}",
            class.toml(provider),
            spool = folder.join("spool").display(),
        );
        let config = folder.join("config.toml");
        std::fs::write(&config, toml)?;
        let log = std::fs::File::create(folder.join("log"))?;
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| env!("CARGO_BIN_EXE_oauth-manager").into());
        let process = Command::new(program)
            .args(["--config".as_ref(), config.as_os_str(), "serve".as_ref()])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut service = Self {
            address,
            pid: process.id().context("it runs")?,
            metrics,
            process,
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?,
        };
        let (url, http) = (format!("http://{address}/ready"), service.http.clone());
        let ready = async {
            loop {
                let answer = http.get(&url).send().await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let is_ready = tokio::select! {
            () = ready => true,
            _ = service.process.wait() => false,
            () = tokio::time::sleep(PATIENCE) => false,
        };
        anyhow::ensure!(is_ready, "it is not ready: {}", log_tail(folder));
        Ok(service)
    }

    /// What it measured.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        let url = format!("http://{}/metrics", self.metrics);
        Ok(self.http.get(url).send().await?.text().await?)
    }

    /// Asks it to stop and waits until it has: what was under way is stored.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let term = Command::new("kill")
            .args(["-TERM", &self.pid.to_string()])
            .status()
            .await?;
        anyhow::ensure!(term.success(), "it cannot be told to stop");
        tokio::time::timeout(PATIENCE, self.process.wait()).await??;
        Ok(())
    }
}

/// The end of its log: empty if all went well.
pub fn log_tail(folder: &Path) -> String {
    const BYTES: usize = 2_000;
    let path: PathBuf = folder.join("log");
    let log = std::fs::read_to_string(path).unwrap_or_default();
    let from = log.len().saturating_sub(BYTES);
    log.get(from..).unwrap_or_default().to_owned()
}
