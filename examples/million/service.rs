//! The built service as a process of its own.

use std::{
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use base64::Engine as _;
use oauth_manager_actors::domain::ids::IntegrationId;
use tokio::process::{Child, Command};

/// What seals here.
pub const KEY_ID: &str = "million";
pub const KEY: [u8; 32] = *b"9v\xd1\x03kQ\xee\x7f\x1c\xa4Z\x88\x0e\xb7\xf5\x21\x6d\xc8\x39\x92\x5f\xe3\x11\xab\x74\x4d\xd6\x08\x9e\xcc\x32\x57";
/// Random-looking, because anything else is refused.
const JWT_SECRET: &str = "c4b1e0f25a7d4896b3c1f0a9d8e7564321fedcba90871625";
/// Longest a start is waited for before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub struct Service {
    child: Child,
    base_url: String,
    credential: String,
    http: reqwest::Client,
    began: Instant,
    config: PathBuf,
}

impl Service {
    /// Starts it on this database. Nothing falls due while it runs; should anything, its provider is nowhere.
    pub async fn start(database_url: &str, credential: &str) -> anyhow::Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let base_url = format!("http://127.0.0.1:{port}");
        let key = base64::engine::general_purpose::STANDARD.encode(KEY);
        let toml = format!(
            "[server]\nenvironment = \"development\"\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"{base_url}\"\n\
             [database]\nurl = \"{database_url}\"\n[encryption]\nkeys = [\"{KEY_ID}:{key}\"]\n\
             [auth]\nhs256_secret = \"{JWT_SECRET}\"\n\
             [providers.google]\nclient_id = \"benchmark\"\nclient_secret = \"benchmark\"\nallow_loopback = true\n\
             token_endpoint = \"http://127.0.0.1:9/token\"\n[log]\nfilter = \"warn\"\n"
        );
        let config = std::env::temp_dir().join(format!("oauth-manager-million-{}.toml", std::process::id()));
        std::fs::write(&config, toml)?;
        // Beside this program's own folder, where the build put it.
        let program = std::env::current_exe()?;
        let program = program
            .ancestors()
            .nth(2)
            .context("a folder")?
            .join("oauth-manager");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
        let began = Instant::now();
        let child = Command::new(&program)
            .args(["--config".as_ref(), config.as_os_str(), "serve".as_ref()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} must be built first", program.display()))?;
        Ok(Self {
            child,
            base_url,
            credential: credential.to_owned(),
            http,
            began,
            config,
        })
    }

    /// How long it took from its start until it said that it was ready.
    pub async fn ready(&self) -> anyhow::Result<Duration> {
        let url = format!("{}/ready", self.base_url);
        while self.began.elapsed() < PATIENCE {
            let answer = self.http.get(&url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(self.began.elapsed());
            }
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("it is not ready after {} s", PATIENCE.as_secs())
    }

    /// What it holds in memory.
    pub fn resident_mib(&self) -> anyhow::Result<u64> {
        let pid = self.child.id().context("it runs")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib: u64 = line
            .and_then(|line| line.trim().strip_suffix(" kB"))
            .context("VmRSS")?
            .parse()?;
        Ok(kib / 1024)
    }

    /// Asks for an account's token.
    pub async fn token(&self, id: &IntegrationId) -> anyhow::Result<()> {
        let url = format!("{}/api/v1/oauth/integrations/{id}/token", self.base_url);
        let answer = self.http.get(url).bearer_auth(&self.credential).send().await?;
        let status = answer.status();
        let body = answer.text().await?;
        anyhow::ensure!(status.is_success(), "{status}: {body}");
        Ok(())
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.child.start_kill()?;
        self.child.wait().await?;
        std::fs::remove_file(&self.config)?;
        Ok(())
    }
}
