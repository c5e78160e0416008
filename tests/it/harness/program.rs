//! The program as an operator runs it: a process with arguments, a configuration file and an environment of its own.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::{Child, Command};

/// No command takes this long; one that does hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A folder that goes with the test.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("oauth-manager-it-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir(&path).unwrap();
        // Open to the account that a private Postgres runs under.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What a process still writes is left to the machine's own cleaning.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The program with a configuration.
pub struct Program {
    pub folder: Folder,
    config: PathBuf,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    /// `None`: a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Program {
    pub fn new(toml: &str) -> Self {
        let folder = Folder::new();
        let config = folder.write("config.toml", toml);
        Self { folder, config }
    }

    /// The configuration file, for `--config`.
    pub fn config(&self) -> &str {
        self.config.to_str().unwrap()
    }

    /// Runs a command with this configuration to its end.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["--config", self.config()];
        all.extend(arguments);
        self.run_exactly(&all, &[]).await
    }

    /// Runs with these arguments and variables, and nothing else.
    pub async fn run_exactly(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut command = command(arguments, self.folder.path());
        command.envs(variables.iter().copied());
        finish(command.spawn().expect("the program starts")).await
    }
}

/// The program with a bare environment.
pub fn command(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oauth-manager"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env(super::FORCED_REFRESH_INTERVAL, "0s")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // What a private Postgres needs to be found and to run.
    // And where a measured run writes what it covered.
    for name in ["PATH", "LD_LIBRARY_PATH", "TMPDIR", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Waits for the end of a run.
pub async fn finish(child: Child) -> Ran {
    let output = tokio::time::timeout(DEADLINE, child.wait_with_output())
        .await
        .expect("it ends in time")
        .expect("its output");
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Ran {
    /// Its output, if it went well.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one line that says what is wrong, if it was refused with this code.
    #[track_caller]
    pub fn expect_refusal(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        let lines: Vec<_> = self.stderr.lines().collect();
        assert_eq!(lines.len(), 1, "one line says it: {self:?}");
        assert!(lines[0].starts_with("error: "), "{self:?}");
        lines[0].to_owned()
    }
}

/// Sends a signal to a run: `TERM`, `INT`, `KILL`.
pub async fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().expect("it runs").to_string()])
        .status()
        .await
        .unwrap();
    assert!(sent.success());
}
