//! Answers of a provider that hold what no database keeps: their tokens are stored all the same, and none of them holds
//! up another account's.

use oauth_manager::dev::simulator::{Endpoint, Fault, Gate, Provider, Simulator};
use serde_json::{Value, json};

use crate::{
    foreign_provider::openid,
    harness::{
        Api, Folder, Proxy, Service, ServiceOptions, database::as_system, eventually, fresh_database,
        http_client, serving::Serving, start_simulator, user_token,
    },
};

/// Accounts whose answers can be stored, behind one whose cannot.
const GOOD: usize = 10;

async fn connected(service: &Service, user: &str) -> String {
    let request = json!({ "provider": "acme", "features": ["acme.profile"] });
    let integration = service.connect_with(user, request).await;
    integration["id"].as_str().unwrap().to_owned()
}

async fn refreshed(user: &Api, id: &str) -> Value {
    let path = format!("/integrations/{id}/refresh");
    user.post(&path, json!({})).await.expect_status(200)
}

async fn last_remark(user: &Api) -> Value {
    let audit = user.get("/audit?limit=50").await.expect_status(200);
    let mut rows = audit["items"].as_array().unwrap().iter();
    rows.find(|row| row["action"] == "refresh").unwrap()["error"].clone()
}

fn assert_presented_once(simulator: &Simulator) {
    let refusals = simulator.refusals();
    assert!(refusals.is_empty(), "{refusals:#?}");
    let refreshes = simulator.token_requests(Provider::Oidc, "refresh_token");
    let mut presented: Vec<_> = refreshes
        .iter()
        .map(|request| request.refresh_token().unwrap().to_owned())
        .collect();
    presented.sort();
    presented.dedup();
    assert_eq!(presented.len(), refreshes.len(), "none was presented twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_with_nul_or_501_names_in_its_scope_is_stored_and_goes_on() {
    let simulator = start_simulator(&ServiceOptions::default()).await;
    let options = ServiceOptions {
        extra_toml: openid(&simulator),
        ..ServiceOptions::default()
    };
    let service = Service::start_before(simulator, options).await;
    let (id, user) = (connected(&service, "ada").await, service.user("ada"));
    let granted = ["openid", "profile", "offline_access"];
    let many: Vec<_> = (0..498).map(|n| format!("a.scope.{n}")).collect();
    let names: Vec<_> = many.iter().map(String::as_str).chain(granted).collect();
    assert_eq!(names.len(), 501);
    for (scope, scopes) in [
        (json!("openid profile offline_access ad\0min"), granted.len()),
        (json!("\0"), granted.len()),
        (json!(names.join(" ")), 500),
    ] {
        let field = "scope".to_owned();
        let fault = Fault::Set { field, value: scope };
        service
            .simulator
            .inject(Provider::Oidc, Endpoint::Refresh, fault, 1);
        let view = refreshed(&user, &id).await;
        assert_eq!(service.simulator.pending_faults(), 0);
        assert_eq!(view["status"], "active", "{view:#}");
        let kept = view["scopes"].as_array().unwrap();
        assert_eq!(kept.len(), scopes);
        assert!(
            granted.iter().all(|scope| kept.contains(&json!(scope))),
            "{kept:?}"
        );
        assert_eq!(last_remark(&user).await, "scopes_trimmed");
        let consumer = service.service(&["acme:*"]).await;
        let token = consumer.get("/users/ada/token?feature=acme.profile").await;
        token.expect_status(200);
        // The next one presents the token that came with it.
        let view = refreshed(&user, &id).await;
        assert_eq!(view["status"], "active", "{view:#}");
    }
    assert_presented_once(&service.simulator);
    service.stop().await;
}

/// Accounts of a strict provider, the program to run with them, and the way to its database.
struct Scene {
    simulator: Simulator,
    proxy: Proxy,
    direct: String,
    toml: String,
    spool: Folder,
    ids: Vec<String>,
}

impl Scene {
    async fn set() -> Self {
        let spool = Folder::new();
        let direct = fresh_database().await;
        let proxy = Proxy::before(&direct, false).await;
        let simulator = start_simulator(&ServiceOptions::default()).await;
        let options = ServiceOptions {
            database_url: Some(proxy.url(&direct)),
            spool: Some(spool.path().join("spool")),
            extra_toml: openid(&simulator),
            ..ServiceOptions::default()
        };
        let service = Service::start_before(simulator, options).await;
        let mut ids = Vec::new();
        for n in 0..=GOOD {
            ids.push(connected(&service, &format!("user-{n}")).await);
        }
        let toml = service.toml.replacen(
            "listen = \"127.0.0.1:0\"\n",
            "listen = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\n",
            1,
        );
        let (simulator, _) = service.stop().await;
        Self {
            simulator,
            proxy,
            direct,
            toml,
            spool,
            ids,
        }
    }

    async fn serving(&self) -> Serving {
        let serving = Serving::start(self.toml.clone()).await;
        eventually("it is ready", || async {
            (serving.get("/ready").await.0 == 200).then_some(())
        })
        .await;
        serving
    }

    fn user(serving: &Serving, n: usize) -> Api {
        let token = user_token(&format!("user-{n}"));
        Api::new(http_client(), &serving.base_url, Some(token))
    }

    fn spooled_bytes(&self) -> u64 {
        let slots = std::fs::read_dir(self.spool.path().join("spool"))
            .into_iter()
            .flatten();
        let files = slots
            .flatten()
            .flat_map(|slot| std::fs::read_dir(slot.path()).into_iter().flatten());
        let journals = files
            .flatten()
            .filter(|file| file.file_name().to_string_lossy().starts_with("journal-"));
        journals
            .map(|file| file.metadata().map_or(0, |metadata| metadata.len()))
            .sum()
    }

    /// Every account's answer arrives while the database is gone, in their order, and lies in the spool.
    async fn answers_in_hand(&self, serving: &Serving) {
        let ask = async |n: usize| {
            let path = format!("/integrations/{}/refresh", self.ids[n]);
            Self::user(serving, n).post(&path, json!({})).await
        };
        let asked = futures_util::future::join_all((0..self.ids.len()).map(ask));
        let gates: Vec<Gate> = self
            .ids
            .iter()
            .map(|_| self.simulator.gate_answer(Provider::Oidc, Endpoint::Refresh))
            .collect();
        let outage = async {
            for gate in &gates {
                gate.arrived().await;
            }
            self.proxy.cut();
            for gate in &gates {
                let before = self.spooled_bytes();
                gate.release();
                eventually("the answer is in the spool", || async {
                    (self.spooled_bytes() > before).then_some(())
                })
                .await;
            }
        };
        tokio::join!(asked, outage);
    }

    async fn generation(&self, n: usize) -> i64 {
        let id = self.ids[n].rsplit_once('_').unwrap().1;
        let sql = format!("SELECT generation FROM oauth_tokens WHERE integration_id = '{id}'");
        let rows = as_system(&self.direct).await.query(&sql, &[]).await.unwrap();
        rows[0].get(0)
    }

    /// From now on this account's row takes no new tokens; by a rule that this program knows nothing of.
    async fn refuse(&self, n: usize) {
        let id = self.ids[n].rsplit_once('_').unwrap().1;
        let sql = format!(
            "ALTER TABLE oauth_tokens ADD CONSTRAINT unforeseen
             CHECK (integration_id <> '{id}' OR generation = 1) NOT VALID"
        );
        as_system(&self.direct).await.batch_execute(&sql).await.unwrap();
    }

    async fn refuse_no_more(&self) {
        let sql = "ALTER TABLE oauth_tokens DROP CONSTRAINT unforeseen";
        as_system(&self.direct).await.batch_execute(sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_with_one_answer_nobody_can_store_gives_the_ten_behind_it_to_their_rows() {
    let scene = Scene::set().await;
    let mut serving = scene.serving().await;
    scene.answers_in_hand(&serving).await;
    serving.child.kill().await.unwrap();
    // The first of them, so that everybody else's is behind it.
    scene.refuse(0).await;
    scene.proxy.mend();

    let mut serving = scene.serving().await;
    for n in 1..=GOOD {
        eventually("it is stored", || async {
            (scene.generation(n).await == 2).then_some(())
        })
        .await;
        let view = refreshed(&Scene::user(&serving, n), &scene.ids[n]).await;
        assert_eq!(view["status"], "active", "{view:#}");
    }
    assert_eq!(scene.generation(0).await, 1);
    let scraped = serving.scrape().await;
    assert_eq!(scraped.value("oauth_spool_set_aside_total", &[]), Some(1.0));
    serving.child.kill().await.unwrap();

    // It is still there when the rule is gone.
    scene.refuse_no_more().await;
    let serving = scene.serving().await;
    eventually("the last one is stored", || async {
        (scene.generation(0).await == 2).then_some(())
    })
    .await;
    refreshed(&Scene::user(&serving, 0), &scene.ids[0]).await;
    assert_presented_once(&scene.simulator);
}
