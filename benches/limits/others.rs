//! Everybody else: they ask for tokens, refresh and begin to connect, a few times a second each.

use std::time::Duration;

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
const PAUSE: Duration = Duration::from_millis(10);

pub struct Others {
    consumer: Api,
    users: Vec<(Api, String)>,
    http: reqwest::Client,
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
        let mut users = Vec::new();
        for number in 0..CALLERS {
            let name = format!("other-{number}");
            let connected = service.around.connect(&name, "google").await;
            users.push((
                api(user_token(&name)),
                connected["id"].as_str().unwrap().to_owned(),
            ));
        }
        Self {
            consumer: api(consumer.token().to_owned()),
            users,
            http,
        }
    }

    /// Does everything for this long. Whatever does not go well ends the run.
    pub async fn measure(&self, span: Duration) -> Measured {
        let until = Instant::now() + span;
        let measured = futures_util::future::join_all((0..CALLERS).map(async |caller| {
            tokio::join!(
                repeat(until, async || self.hand_out(caller).await),
                repeat(until, async || self.refresh(caller).await),
                repeat(until, async || self.connect(caller).await),
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
        let path = format!("/users/other-{caller}/token?provider=google");
        self.consumer.get(&path).await.expect_status(200);
    }

    async fn refresh(&self, caller: usize) {
        let (user, id) = &self.users[caller];
        let path = format!("/integrations/{id}/refresh");
        user.post(&path, json!({})).await.expect_status(200);
    }

    /// From the wish to the provider's door.
    async fn connect(&self, caller: usize) {
        let wish = json!({ "provider": "notion", "return_to": APPLICATION });
        let begun = self.users[caller].0.post("/authorizations", wish).await;
        let begun = begun.expect_status(201);
        let opened = Browser::new(self.http.clone())
            .step(begun["authorization_url"].as_str().unwrap())
            .await;
        assert_eq!(opened.status, 303, "{opened:?}");
    }
}

async fn repeat(until: Instant, mut what: impl AsyncFnMut()) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let begun = Instant::now();
        what().await;
        took.push(begun.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    took
}
