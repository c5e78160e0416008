//! Everybody else: they ask for tokens, refresh and begin to connect, a few times a second each.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    harness::{APPLICATION, Api, Browser, http_client, user_token},
    service::Running,
};

/// What they do.
pub const KINDS: [&str; 3] = ["hand-out", "refresh", "connect"];
/// Of each kind at once.
const CALLERS: usize = 4;
/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(25);
/// Of each caller, refreshed one after the other: no account comes again before it may be refreshed again.
const ACCOUNTS: usize = 64;

pub struct Others {
    consumer: Api,
    /// The accounts of each caller, each with its user.
    accounts: Vec<Vec<(Api, String)>>,
    rounds: AtomicUsize,
    http: reqwest::Client,
    base_url: String,
}

/// How long each answer took, by kind.
pub struct Measured([Vec<Duration>; KINDS.len()]);

impl Measured {
    pub fn p99(&self, kind: usize) -> Duration {
        let mut took = self.0[kind].clone();
        took.sort_unstable();
        took[(took.len() - 1) * 99 / 100]
    }
}

impl Others {
    pub async fn of(service: &Running) -> Self {
        let http = http_client();
        let api = |token: String| Api::new(http.clone(), &service.base_url, Some(token));
        let consumer = service.around.service(&["*:*"]).await;
        let connect = async |caller: usize| {
            let mut accounts = Vec::new();
            for number in 0..ACCOUNTS {
                let name = format!("other-{caller}-{number}");
                // Google ends the oldest of more than a hundred grants of one person: each is somebody else there too.
                let wish = json!({ "provider": "google", "login_hint": format!("{name}@example.com") });
                let connected = service.around.connect_with(&name, wish).await;
                let id = connected["id"].as_str().unwrap().to_owned();
                accounts.push((api(user_token(&name)), id));
            }
            accounts
        };
        Self {
            accounts: join_all((0..CALLERS).map(connect)).await,
            consumer: api(consumer.token().to_owned()),
            rounds: AtomicUsize::new(0),
            base_url: service.base_url.clone(),
            http,
        }
    }

    /// Does everything for this long. Whatever does not go well ends the run.
    pub async fn measure(&self, span: Duration) -> Measured {
        let until = Instant::now() + span;
        let measured = join_all((0..CALLERS).map(async |caller| {
            tokio::join!(
                repeat(until, async |_| self.hand_out(caller).await),
                repeat(until, async |round| self.refresh(caller, round).await),
                repeat(until, async |_| self.connect().await),
            )
        }))
        .await;
        let mut all = Measured(Default::default());
        for (hand_outs, refreshes, connects) in measured {
            all.0[0].extend(hand_outs);
            all.0[1].extend(refreshes);
            all.0[2].extend(connects);
        }
        all
    }

    async fn hand_out(&self, caller: usize) {
        let path = format!("/users/other-{caller}-0/token?provider=google");
        self.consumer.get(&path).await.expect_status(200);
    }

    async fn refresh(&self, caller: usize, round: usize) {
        let (user, id) = &self.accounts[caller][round % ACCOUNTS];
        let path = format!("/integrations/{id}/refresh");
        user.post(&path, json!({})).await.expect_status(200);
    }

    /// From the wish to the provider's door, of a user who was never here.
    async fn connect(&self) {
        let number = self.rounds.fetch_add(1, Ordering::Relaxed);
        let newcomer = user_token(&format!("newcomer-{number}"));
        let newcomer = Api::new(self.http.clone(), &self.base_url, Some(newcomer));
        let wish = json!({ "provider": "notion", "return_to": APPLICATION });
        let begun = newcomer.post("/authorizations", wish).await;
        let begun = begun.expect_status(201);
        let opened = Browser::new(self.http.clone())
            .step(begun["authorization_url"].as_str().unwrap())
            .await;
        assert_eq!(opened.status, 303, "{opened:?}");
    }
}

async fn repeat(until: Instant, mut what: impl AsyncFnMut(usize)) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        what(took.len()).await;
        took.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took
}
