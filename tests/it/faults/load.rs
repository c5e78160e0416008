//! Callers who ask every node for tokens and write down what they get.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use oauth_manager::dev::simulator::Simulator;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Connected, random_below, wall_ms};

/// Longer than a caller would wait.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one request for a token got.
#[derive(Debug, Clone)]
pub struct Answer {
    pub node: usize,
    pub integration: String,
    pub asked_ms: i64,
    pub answered_ms: i64,
    pub given: Given,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A token, and what the provider knew of it when it was given: whose it is, and when it ends.
    Token(Option<(String, Option<i64>)>),
    /// A refusal with its code and detail.
    Refused(u16, String),
    /// The node was not there, or went away.
    Nothing,
}

/// Callers at work. They are sent to nodes that are ready, as a load balancer would.
pub struct Load {
    stop: CancellationToken,
    callers: JoinSet<Vec<Answer>>,
}

impl Load {
    /// So many callers ask for these accounts' tokens, any account of any node, each with this pause in between.
    pub fn start(cluster: &Cluster, accounts: &[Connected], callers: usize, pause: Duration) -> Self {
        let stop = CancellationToken::new();
        let mut running = JoinSet::new();
        for _ in 0..callers {
            let caller = Caller {
                http: cluster.http.clone(),
                nodes: cluster
                    .nodes
                    .iter()
                    .map(|node| (node.base_url.clone(), Arc::clone(&node.in_rotation)))
                    .collect(),
                integrations: accounts.iter().map(|account| account.id.clone()).collect(),
                credential: cluster.credential.clone(),
                simulator: Arc::clone(&cluster.simulator),
            };
            let stop = stop.clone();
            running.spawn(async move {
                let mut answers = Vec::new();
                while !stop.is_cancelled() {
                    answers.push(caller.ask().await);
                    tokio::time::sleep(pause).await;
                }
                answers
            });
        }
        Self {
            stop,
            callers: running,
        }
    }

    /// Everything that was asked and answered.
    pub async fn stop(self) -> Vec<Answer> {
        self.stop.cancel();
        self.callers.join_all().await.into_iter().flatten().collect()
    }
}

struct Caller {
    http: reqwest::Client,
    nodes: Vec<(String, Arc<AtomicBool>)>,
    integrations: Vec<String>,
    credential: String,
    simulator: Arc<Simulator>,
}

impl Caller {
    async fn ask(&self) -> Answer {
        let first = random_below(self.nodes.len());
        let ready = |node: &usize| self.nodes[*node].1.load(Ordering::Relaxed);
        let node = (first..self.nodes.len())
            .chain(0..first)
            .find(ready)
            .unwrap_or(first);
        let integration = self.integrations[random_below(self.integrations.len())].clone();
        let url = format!(
            "{}/api/v1/oauth/integrations/{integration}/token",
            self.nodes[node].0
        );
        let asked_ms = wall_ms();
        let given = self.fetch(&url).await.unwrap_or(Given::Nothing);
        Answer {
            node,
            integration,
            asked_ms,
            answered_ms: wall_ms(),
            given,
        }
    }

    async fn fetch(&self, url: &str) -> reqwest::Result<Given> {
        let request = self.http.get(url).bearer_auth(&self.credential).timeout(PATIENCE);
        let response = request.send().await?;
        let status = response.status().as_u16();
        let body: Value = response.json().await?;
        if status != 200 {
            let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
            return Ok(Given::Refused(
                status,
                format!("{}: {}", text("code"), text("detail")),
            ));
        }
        let token = body["access_token"].as_str().unwrap_or_default();
        Ok(Given::Token(self.simulator.access_token_of(token)))
    }
}
