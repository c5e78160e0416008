//! Servers that outlived the run that started them.
//!
//! Usually the watchdog of a killed run is still stopping its server, and waiting is all there is to do. If the
//! watchdog was killed too (a container's end, an out-of-memory kill), the server is ours to stop.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::account::Account;
use super::directory::{Directory, open_lock};
use super::error::PostgresError;

/// How often we look again.
const POLL: Duration = Duration::from_millis(50);
/// A fast shutdown writes a checkpoint; half a minute is a slow disk's share.
const DEADLINE: Duration = Duration::from_secs(40);

/// Waits until no server of an earlier run is left, and returns the lock the next watchdog will hold.
pub(super) async fn wait_until_gone(account: &Account, directory: &Directory) -> Result<File, PostgresError> {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    let still_there = || PostgresError::LeftoverAlive {
        data_dir: directory.root.clone(),
    };
    let path = directory.server_lock();
    let lock = loop {
        // Opened anew each time: an ephemeral watchdog removes the file it holds.
        let file = open_lock(&path)?;
        match file.try_lock() {
            Ok(()) => break file,
            Err(TryLockError::Error(source)) => {
                return Err(PostgresError::Io {
                    action: "lock",
                    path,
                    source,
                });
            }
            Err(TryLockError::WouldBlock) if tokio::time::Instant::now() >= deadline => {
                return Err(still_there());
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(POLL).await,
        }
    };
    while let Some(pid) = recorded_pid(&directory.cluster()) {
        if !alive(pid) {
            // Stale. Postgres replaces the file itself, after making sure that no backend of the old one is left.
            break;
        }
        if !serves(pid, &directory.cluster()) {
            // The number went to another process, which Postgres would mistake for a server.
            let file = directory.cluster().join("postmaster.pid");
            fs::remove_file(&file).map_err(PostgresError::io("remove", &file))?;
            break;
        }
        if tokio::time::Instant::now() >= deadline {
            return Err(still_there());
        }
        tracing::info!(pid, "stopping the PostgreSQL of an earlier run");
        send(account, "INT", pid);
        tokio::time::sleep(POLL).await;
    }
    Ok(lock)
}

/// The first line of `postmaster.pid`.
fn recorded_pid(cluster: &Path) -> Option<u32> {
    let text = fs::read_to_string(cluster.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok().filter(|pid| *pid > 1)
}

fn alive(pid: u32) -> bool {
    if Path::new("/proc/self").exists() {
        return Path::new(&format!("/proc/{pid}")).exists();
    }
    ps_command(pid).is_some()
}

/// Is that process the server of this cluster? Postgres works in its data directory and was given it by name.
fn serves(pid: u32, cluster: &Path) -> bool {
    if let Ok(dir) = fs::read_link(format!("/proc/{pid}/cwd")) {
        return dir == cluster;
    }
    ps_command(pid).is_some_and(|command| command.contains(&*cluster.to_string_lossy()))
}

fn ps_command(pid: u32) -> Option<String> {
    let output = Command::new("ps")
        .args(["-o", "command=", "-p", &pid.to_string()])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Signals through the shell, under the server's own account: it cannot reach anybody else's process.
fn send(account: &Account, signal: &str, pid: u32) {
    let mut command = account.command(Path::new("/bin/sh"));
    command.args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &pid.to_string()]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.status() {
        tracing::warn!(%error, "cannot signal the PostgreSQL of an earlier run");
    }
}
