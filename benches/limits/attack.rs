//! One who takes all they can, until they are dropped.

use std::{net::SocketAddr, time::Duration};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    harness::{Api, http_client, user_token},
    service::Running,
};

/// Sockets of the attackers that hold connections.
const IDLE: usize = 1_000;
const BODIES: usize = 2_100;
/// Callers with callbacks that nobody awaits, and the pause of each between two: a thousand a second together.
const STRAYS: usize = 16;
const STRAY_PAUSE: Duration = Duration::from_millis(16);
/// Of one user, each as fast as it is answered.
const FORCING_LOOPS: usize = 4;
/// A closed connection is opened again after this.
const AGAIN: Duration = Duration::from_millis(500);

#[derive(Clone, Copy)]
pub enum Attack {
    IdleSockets,
    UnfinishedBodies,
    StrayCallbacks,
    ForcedRefreshes,
}

impl Attack {
    pub const ALL: [Self; 4] = [
        Self::IdleSockets,
        Self::UnfinishedBodies,
        Self::StrayCallbacks,
        Self::ForcedRefreshes,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::IdleSockets => "idle sockets",
            Self::UnfinishedBodies => "unfinished bodies",
            Self::StrayCallbacks => "stray callbacks",
            Self::ForcedRefreshes => "forced refreshes",
        }
    }

    pub async fn begin(self, service: &Running) -> JoinSet<()> {
        let mut attackers = JoinSet::new();
        let address = service.address();
        match self {
            Self::IdleSockets => {
                for _ in 0..IDLE {
                    attackers.spawn(hold(address, Vec::new()));
                }
            }
            Self::UnfinishedBodies => {
                let request = format!(
                    "POST /api/v1/oauth/authorizations HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
                     content-type: application/json\r\ncontent-length: 100\r\n\r\n{{",
                    user_token("mallory")
                );
                for _ in 0..BODIES {
                    attackers.spawn(hold(address, request.clone().into_bytes()));
                }
            }
            Self::StrayCallbacks => {
                for caller in 0..STRAYS {
                    let callback = format!("{}/api/v1/oauth/callback/google", service.base_url);
                    attackers.spawn(async move {
                        let http = http_client();
                        let mut pace = tokio::time::interval(STRAY_PAUSE);
                        for number in 0_u64.. {
                            pace.tick().await;
                            let url = format!("{callback}?code=x&state={caller:032x}{number:032x}");
                            let _ = http.get(url).send().await;
                        }
                    });
                }
            }
            Self::ForcedRefreshes => {
                let connected = service.around.connect("trudy", "google").await;
                let path = format!("/integrations/{}/refresh", connected["id"].as_str().unwrap());
                for _ in 0..FORCING_LOOPS {
                    let path = path.clone();
                    let trudy = Api::new(http_client(), &service.base_url, Some(user_token("trudy")));
                    attackers.spawn(async move {
                        loop {
                            trudy.post(&path, json!({})).await;
                        }
                    });
                }
            }
        }
        tokio::time::sleep(AGAIN * 2).await;
        attackers
    }
}

/// Sends this and no more; whenever the connection is closed, on a new one.
async fn hold(address: SocketAddr, bytes: Vec<u8>) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            let _ = stream.write_all(&bytes).await;
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}
