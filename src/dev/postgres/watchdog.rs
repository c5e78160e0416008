//! The server's watchdog: a shell that ends Postgres when we end, whatever ends us.
//!
//! The shell's standard input is a pipe whose other end we hold. A pipe closes with its holder, even one that was
//! killed with signal 9, so its end is the one reliable sign of our death. The watchdog lives in a process group of
//! its own: Ctrl-C in a terminal reaches us and not the server, which we still need in order to finish.
//!
//! Its standard output is a lock file. Nothing is written there; the lock lasts until the watchdog is done, which
//! tells the next run that this one's server has gone.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::Duration;

use super::account::Account;
use super::binaries::Binaries;
use super::directory::Directory;
use super::error::PostgresError;

/// `$1` server, `$2` directory, `$3` whether it is ephemeral, then the server's arguments.
///
/// Repeats the signal because a server that is only just starting may still ignore it, and turns to QUIT after some
/// twenty seconds. The files of an ephemeral cluster go only once the pipe has closed: a server that failed by
/// itself leaves its log to be read.
const SCRIPT: &str = r#"
server=$1 dir=$2 ephemeral=$3
shift 3
exec 3<&0 </dev/null
"$server" -D "$dir/cluster" "$@" >>"$dir/server.log" 2>&1 3<&- &
pid=$!
(
  read -r _ <&3
  trap 'exit 0' TERM
  tries=0
  signal=INT
  while kill -s "$signal" "$pid" 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || signal=QUIT
    sleep 0.2 2>/dev/null || sleep 1
  done
) >/dev/null &
watcher=$!
wait "$pid"
status=$?
kill "$watcher" 2>/dev/null
wait "$watcher"
if [ $? -eq 0 ] && [ "$ephemeral" = yes ]; then
  rm -rf "$dir/cluster" "$dir/cluster.new"
  rm -f "$dir/server.log" "$dir/superuser.password" "$dir/role.password" "$dir/pwfile"
  rm -f "$dir/server.lock" "$dir/run.lock"
  rmdir "$dir"
fi
exit "$status"
"#;

/// How often a stopping watchdog is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);
/// Longer than the script needs to lose its patience with the server.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// A running watchdog with its server. Dropping it is enough to end both.
#[derive(Debug)]
pub(super) struct Watchdog {
    child: Child,
    /// Held, never written to: its closing is the message.
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts the server on `port`.
    pub(super) fn start(
        account: &Account,
        binaries: &Binaries,
        directory: &Directory,
        server_lock: &File,
        port: u16,
    ) -> Result<Self, PostgresError> {
        let shell = Path::new("/bin/sh");
        let lock = server_lock
            .try_clone()
            .map_err(PostgresError::io("share", &directory.root))?;
        let mut command = account.command(shell);
        command
            .args(["-c", SCRIPT, "oauth-manager-postgres"])
            .arg(binaries.postgres())
            .arg(&directory.root)
            .arg(if directory.ephemeral { "yes" } else { "no" });
        for setting in settings(port, directory.ephemeral) {
            command.arg("-c").arg(setting);
        }
        command
            .stdin(Stdio::piped())
            .stdout(lock)
            .stderr(Stdio::null())
            .process_group(0);
        let mut child = command.spawn().map_err(PostgresError::io("run", shell))?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// The status if the server ended by itself.
    pub(super) fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Kills the watchdog alone, as the kernel might, and leaves its server an orphan.
    #[cfg(test)]
    pub(super) fn kill_for_test(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Closes the pipe and waits until the server has gone.
    pub(super) async fn stop(mut self) -> Result<(), PostgresError> {
        self.pipe = None;
        let deadline = tokio::time::Instant::now() + STOP_DEADLINE;
        while self.exited().is_none() {
            if tokio::time::Instant::now() >= deadline {
                return Err(PostgresError::StopTimedOut);
            }
            tokio::time::sleep(STOP_POLL).await;
        }
        Ok(())
    }
}

/// The server's settings. Modest memory: it shares a developer's machine.
fn settings(port: u16, ephemeral: bool) -> Vec<String> {
    let mut settings = vec![
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        // A socket's path may be 107 bytes at most; a data directory's is often longer.
        "unix_socket_directories=".to_owned(),
        "max_connections=200".to_owned(),
        "shared_buffers=64MB".to_owned(),
        "logging_collector=off".to_owned(),
        "log_destination=stderr".to_owned(),
    ];
    if ephemeral {
        // Nobody will ever recover this cluster.
        settings.extend(["fsync=off", "synchronous_commit=off", "full_page_writes=off"].map(str::to_owned));
    }
    settings
}
