//! The database of a test: one of the shared server's, or a server of its own that the test may stop and start.

use std::path::PathBuf;

use oauth_manager::dev::postgres::{PostgresOptions, PrivatePostgres, ephemeral_dir};
use tokio::process::Command;

use crate::harness::{eventually, fresh_database};

const NAME: &str = "faults";

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, everything is written.
    Fast,
    /// As a crash: the next start recovers.
    Immediate,
}

pub enum Database {
    Shared(String),
    Own(Own),
}

/// A server with the durability of production: what it has confirmed survives an immediate stop.
pub struct Own {
    data_dir: PathBuf,
    server: Option<PrivatePostgres>,
    url: String,
}

impl Database {
    pub async fn shared() -> Self {
        Self::Shared(fresh_database().await)
    }

    pub async fn own() -> Self {
        let data_dir = ephemeral_dir().unwrap();
        let server = start(&data_dir).await;
        server.create_database(NAME).await.unwrap();
        let url = server.url(NAME);
        Self::Own(Own {
            data_dir,
            server: Some(server),
            url,
        })
    }

    pub fn url(&self) -> &str {
        match self {
            Self::Shared(url) => url,
            Self::Own(own) => &own.url,
        }
    }

    pub fn own_mut(&mut self) -> &mut Own {
        match self {
            Self::Own(own) => own,
            Self::Shared(_) => panic!("other tests use that server"),
        }
    }
}

async fn start(data_dir: &std::path::Path) -> PrivatePostgres {
    let options = PostgresOptions {
        data_dir: data_dir.to_owned(),
        ephemeral: false,
    };
    PrivatePostgres::start(options).await.unwrap()
}

impl Own {
    /// Returns when nobody answers any more. If it stays so for over a minute, no other run of the tests may begin meanwhile: it
    /// would sweep the directory away.
    pub async fn stop(&mut self, how: Stop) {
        let server = self.server.take().expect("it runs");
        let file = server.data_dir().join("cluster/postmaster.pid");
        let pid = std::fs::read_to_string(&file).unwrap();
        let pid = pid.lines().next().unwrap().trim();
        let signal = match how {
            Stop::Fast => "-INT",
            Stop::Immediate => "-QUIT",
        };
        assert!(
            Command::new("kill")
                .args([signal, pid])
                .status()
                .await
                .unwrap()
                .success()
        );
        let port = server.port();
        eventually("nobody listens", || async move {
            tokio::net::TcpStream::connect(("127.0.0.1", port)).await.err()
        })
        .await;
        server.stop().await.unwrap();
    }

    /// The same cluster, at another port.
    pub async fn start(&mut self) {
        assert!(self.server.is_none(), "it runs already");
        let server = start(&self.data_dir).await;
        self.url = server.url(NAME);
        self.server = Some(server);
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        // The server ends soon after its handle; what is left then, the next run of the tests sweeps.
        if let Some(server) = self.server.take() {
            let root = server.data_dir().to_owned();
            drop(server);
            let _ = std::fs::remove_dir_all(root);
        }
    }
}
