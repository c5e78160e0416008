//! Errors that real providers answered, through the whole program: who must act, whose tokens go, and what becomes of
//! everybody else. The rows were collected from public traces, from tests of vendors' own libraries and from documentation,
//! and say what is right independently of any table here; the simulator repeats them as they are.

mod declared;
mod page;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use futures_util::stream::{self, StreamExt as _};
use oauth_manager::dev::simulator::{Endpoint, Fault, FaultRule, Provider};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use self::{
    declared::simulated,
    page::{Judged, measured},
};
use crate::harness::{APPLICATION, Answer, Api, Browser, Service, ServiceOptions, eventually};

const ROWS: &str = include_str!("../fixtures/provider_errors.jsonl");
/// More would only wait for each other.
const PROVIDERS_AT_ONCE: usize = 4;
const PAGE: &str = include_str!("../../docs/providers/errors.md");

#[derive(Debug, Clone, Deserialize)]
pub struct Row {
    /// Its place among them.
    #[serde(default)]
    number: usize,
    provider: String,
    phase: String,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Value,
    right: Right,
}

#[derive(Debug, Clone, Deserialize)]
struct Right {
    class: String,
    who_must_act: String,
}

/// What became of an answer.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Who was named, in the answer to whoever asked.
    who: String,
    /// How the account stands then; empty: it was about no account.
    status: String,
    tokens_forgotten: bool,
    /// Another account did not refresh, or a new user did not connect.
    stopped_others: bool,
    /// The same, but only until the time that the provider named.
    others_wait_as_asked: bool,
}

impl Row {
    fn is_client_fault(&self) -> bool {
        self.right.class == "client_fault"
    }

    fn names_a_time(&self) -> bool {
        self.headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("retry-after"))
    }

    /// The answer as it was seen.
    fn fault(&self) -> Fault {
        let header = |(name, value): (&String, &String)| (name.clone(), value.clone());
        let (content_type, headers): (Vec<_>, Vec<_>) = self
            .headers
            .iter()
            .map(header)
            .partition(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let content_type = content_type.into_iter().next();
        Fault::Answer {
            status: self.status,
            content_type: content_type.map_or_else(|| "application/json".to_owned(), |(_, value)| value),
            headers,
            body: match &self.body {
                Value::String(text) => text.clone(),
                body => body.to_string(),
            },
        }
    }

    /// The same at the authorization endpoint, where an answer is what the browser brings back.
    fn redirect(&self) -> Fault {
        let parameters = self.body.as_str().unwrap().as_bytes();
        let mut faults = vec![Fault::CallbackParameter {
            name: "code".to_owned(),
            value: None,
        }];
        faults.extend(url::form_urlencoded::parse(parameters).map(|(name, value)| {
            Fault::CallbackParameter {
                name: name.into_owned(),
                value: Some(value.into_owned()),
            }
        }));
        Fault::All { faults }
    }
}

fn rows() -> Vec<Row> {
    let read = |(number, line): (usize, &str)| Row {
        number,
        ..serde_json::from_str(line).unwrap()
    };
    ROWS.lines().enumerate().map(read).collect()
}

/// One provider of a running service.
struct Bench<'a> {
    service: &'a Service,
    provider: &'a str,
    simulated: Provider,
    consumer: &'a Api,
    sql: &'a tokio_postgres::Client,
}

/// A connected account; its user bears the name of the account at the provider.
struct Account {
    user: String,
    id: String,
}

/// A flow whose browser is about to come back.
struct Returning {
    id: String,
    browser: Browser,
    callback: Url,
}

// === impl Bench: connecting ===

impl Bench<'_> {
    async fn leave(&self, user: &str) -> Returning {
        let mut request = json!({ "provider": self.provider, "return_to": APPLICATION });
        if self.simulated == Provider::Oidc {
            request["features"] = json!([format!("{}.profile", self.provider)]);
        }
        let begun = self.service.user(user).post("/authorizations", request).await;
        let begun = begun.expect_status(201);
        let mut browser = self.service.browser();
        let ours = browser.step(begun["authorization_url"].as_str().unwrap()).await;
        assert_eq!(ours.status, 303, "{ours:?}");
        let mut theirs = ours.url;
        theirs.query_pairs_mut().append_pair("_sim_user", user);
        let back = browser.step(theirs.as_str()).await;
        assert!(matches!(back.status, 302 | 303), "{back:?}");
        Returning {
            id: begun["authorization_id"].as_str().unwrap().to_owned(),
            browser,
            callback: back.url,
        }
    }

    async fn arrive(&self, user: &str, mut returning: Returning) -> Answer {
        let end = returning.browser.step(returning.callback.as_str()).await;
        let path = format!("/authorizations/{}", returning.id);
        let Some(confirmation) = end.query("confirmation") else {
            return self.service.user(user).get(&path).await;
        };
        let confirmation = json!({ "confirmation": confirmation });
        self.service
            .user(user)
            .post(&format!("{path}/confirm"), confirmation)
            .await
    }

    async fn try_connect(&self, user: &str) -> Result<Account, Answer> {
        let returning = self.leave(user).await;
        let answer = self.arrive(user, returning).await;
        match answer.body["id"].as_str() {
            Some(id) if answer.status == 200 => Ok(Account {
                user: user.to_owned(),
                id: id.to_owned(),
            }),
            _ => Err(answer),
        }
    }

    async fn connect(&self, user: &str) -> Account {
        let connected = self.try_connect(user).await;
        connected.unwrap_or_else(|answer| panic!("{}: {user}: {answer:?}", self.provider))
    }
}

// === impl Bench: what an account shows ===

impl Bench<'_> {
    async fn refresh(&self, account: &Account) -> Answer {
        let path = format!("/integrations/{}/refresh", account.id);
        self.service.user(&account.user).post(&path, json!({})).await
    }

    async fn view(&self, account: &Account) -> Value {
        let path = format!("/integrations/{}", account.id);
        let view = self.service.user(&account.user).get(&path).await;
        view.expect_status(200)
    }

    async fn hand_out(&self, account: &Account) -> Answer {
        self.consumer
            .get(&format!("/integrations/{}/token", account.id))
            .await
    }

    async fn has_tokens(&self, account: &Account) -> bool {
        let uuid = uuid::Uuid::parse_str(account.id.rsplit('_').next().unwrap()).unwrap();
        let kept =
            "SELECT count(access_token) + count(refresh_token) FROM oauth_tokens WHERE integration_id = $1";
        let kept: i64 = self.sql.query_one(kept, &[&uuid]).await.unwrap().get(0);
        kept > 0
    }
}

// === impl Bench: judging ===

impl Bench<'_> {
    /// Gives one account, or one flow, the row's answer.
    async fn give(&self, row: &Row, victim: Option<&Account>, user: &str) -> Seen {
        let simulator = &self.service.simulator;
        match row.phase.as_str() {
            "refresh" => {
                let victim = victim.unwrap();
                simulator.inject_for(self.simulated, Endpoint::Refresh, user, row.fault());
                let answer = self.refresh(victim).await;
                let view = self.view(victim).await;
                let tokens_forgotten = !self.has_tokens(victim).await;
                if !tokens_forgotten && view["status"] != "reauth_required" {
                    let handed_out = self.hand_out(victim).await;
                    assert_eq!(handed_out.status, 200, "{row:?}: {view:#} {handed_out:?}");
                }
                Seen {
                    who: who(&answer),
                    status: view["status"].as_str().unwrap().to_owned(),
                    tokens_forgotten,
                    ..Seen::default()
                }
            }
            "revoke" => {
                let victim = victim.unwrap();
                simulator.inject_for(self.simulated, Endpoint::Revoke, user, row.fault());
                let path = format!("/integrations/{}", victim.id);
                let report = self.service.user(&victim.user).delete(&path).await;
                let report = report.expect_status(200);
                let done = report["provider_revocation"] == "confirmed";
                let pending = report["provider_revocation"] == "pending";
                assert!(done || pending, "{report:#}");
                Seen {
                    who: "nobody".to_owned(),
                    status: "revoked".to_owned(),
                    ..Seen::default()
                }
            }
            phase => {
                let (endpoint, fault) = match phase {
                    "exchange" => (Endpoint::Exchange, row.fault()),
                    // Where a channel is looked up, at the exchange of a code.
                    "userinfo" if self.simulated == Provider::YouTube => (Endpoint::Api, row.fault()),
                    "userinfo" => (Endpoint::Userinfo, row.fault()),
                    "authorize" => (Endpoint::Authorize, row.redirect()),
                    other => panic!("no such phase: {other}"),
                };
                let selects_account = endpoint != Endpoint::Authorize;
                simulator.inject_rule(FaultRule {
                    provider: self.simulated,
                    endpoint,
                    fault,
                    times: 1,
                    // A browser that asks for consent says whose.
                    only_if_sent: (!selects_account).then(|| user.to_owned()),
                    only_for_account: selects_account.then(|| user.to_owned()),
                });
                let returning = self.leave(user).await;
                let answer = self.arrive(user, returning).await;
                // Whoever has no channel is connected all the same, and told when the features are tried.
                let who = match answer.status {
                    200 if phase == "userinfo" => self.verified(row, user, &answer.body).await,
                    _ => who(&answer),
                };
                Seen {
                    who,
                    ..Seen::default()
                }
            }
        }
    }

    /// Whom a look at the account's features names when the provider goes on saying so: each is tried once, and once more
    /// with a new token.
    async fn verified(&self, row: &Row, user: &str, integration: &Value) -> String {
        let features = integration["features"].as_array().unwrap().len();
        self.service.simulator.inject_rule(FaultRule {
            provider: self.simulated,
            endpoint: Endpoint::Api,
            fault: row.fault(),
            times: u32::try_from(2 * features).unwrap(),
            only_if_sent: None,
            only_for_account: Some(user.to_owned()),
        });
        let path = format!("/integrations/{}/verify", integration["id"].as_str().unwrap());
        let verified = self.service.user(user).post(&path, json!({})).await;
        let verified = verified.expect_status(200);
        assert_eq!(verified["integration"]["status"], "active", "{verified:#}");
        let mut features = verified["features"].as_array().unwrap().iter();
        let named = features.find_map(|feature| feature["who_must_act"].as_str());
        named.unwrap_or("nobody was told").to_owned()
    }

    /// Rows of one provider, one after the other. Whoever connects after one is the bystander of the next.
    async fn judge(&self, rows: Vec<Row>) -> Vec<Judged> {
        let mut judged = Vec::new();
        let mut bystander = self.connect(&format!("{}-first", self.provider)).await;
        for (n, row) in rows.into_iter().enumerate() {
            let user = format!("{}-{n}", self.provider);
            let victim = match row.phase.as_str() {
                "refresh" | "revoke" => Some(self.connect(&user).await),
                _ => None,
            };
            let mut seen = self.give(&row, victim.as_ref(), &user).await;
            let new = format!("{}-new-{n}", self.provider);
            if row.is_client_fault() {
                bystander = self.touches_nobody_and_heals(&row, &bystander, &new).await;
            } else {
                let refreshed = self.refresh(&bystander).await;
                let connected = self.try_connect(&new).await;
                let is_stopped = refreshed.status != 200 || connected.is_err();
                let waits = is_stopped && row.names_a_time() && refreshed.status == 503;
                if waits {
                    let handed_out = self.hand_out(&bystander).await;
                    assert_eq!(handed_out.status, 200, "{row:?}: {handed_out:?}");
                    assert_eq!(refreshed.body["who_must_act"], "nobody", "{refreshed:?}");
                }
                seen.others_wait_as_asked = waits;
                seen.stopped_others = is_stopped && !waits;
                if let Ok(account) = connected {
                    bystander = account;
                }
            }
            judged.push(Judged { row, seen });
        }
        judged
    }

    /// Our registration is refused: no user's state changes, valid tokens are handed out, and it heals by itself.
    async fn touches_nobody_and_heals(&self, row: &Row, bystander: &Account, new: &str) -> Account {
        assert_eq!(self.view(bystander).await["status"], "active", "{row:?}");
        assert_eq!(self.hand_out(bystander).await.status, 200, "{row:?}");
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let next = eventually("a new user connects again", || async {
            let n = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.try_connect(&format!("{new}-{n}")).await.ok()
        })
        .await;
        eventually("another account refreshes again", || async {
            (self.refresh(bystander).await.status == 200).then_some(())
        })
        .await;
        next
    }
}

/// Whom an answer names.
fn who(answer: &Answer) -> String {
    match answer.body["who_must_act"].as_str() {
        Some(who) => who.to_owned(),
        // A flow that its user declined, as far as anybody can tell.
        None if answer.body["status"] == "denied" => "user".to_owned(),
        None => format!("{} {}", answer.status, answer.body["status"]),
    }
}

/// Every row through one service, some providers beside each other and each one's rows one after the other.
async fn judge(rows: Vec<Row>, options: ServiceOptions) -> Vec<Judged> {
    let mut by_provider: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows {
        by_provider.entry(row.provider.clone()).or_default().push(row);
    }
    let providers: BTreeSet<String> = by_provider.keys().cloned().collect();
    let simulator = declared::simulator(&providers).await;
    let extra_toml = declared::toml(&simulator, &providers) + &options.extra_toml;
    let service = Service::start_before(
        simulator,
        ServiceOptions {
            extra_toml,
            ..options
        },
    )
    .await;
    let (consumer, sql) = (service.service(&["*:*"]).await, service.sql().await);
    let mut by_provider: Vec<_> = by_provider.into_iter().collect();
    // Whoever has most to do begins.
    by_provider.sort_by_key(|(_, rows)| Reverse(rows.len()));
    let judged = stream::iter(by_provider).map(|(provider, mut rows)| {
        let (service, consumer, sql) = (&service, &consumer, &sql);
        async move {
            // Whoever names a time to come again is left alone until then: nothing can follow it.
            rows.sort_by_key(Row::names_a_time);
            let bench = Bench {
                service,
                provider: &provider,
                simulated: simulated(&provider),
                consumer,
                sql,
            };
            bench.judge(rows).await
        }
    });
    let judged: Vec<_> = judged.buffer_unordered(PROVIDERS_AT_ONCE).collect().await;
    assert_eq!(
        service.simulator.pending_faults(),
        0,
        "each row was said to somebody"
    );
    service.stop().await;
    judged.into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_real_provider_answered_to_one_account_stops_no_other() {
    let (client_faults, others): (Vec<_>, Vec<_>) = rows().into_iter().partition(Row::is_client_fault);
    // A registration that is wrongly doubted stays so for as long as usual, and is seen. One that is rightly doubted is tried
    // again at once.
    let soon = ServiceOptions {
        adjust: |settings| settings.breaker_interval = std::time::Duration::from_millis(40),
        ..ServiceOptions::default()
    };
    let (others, client_faults) = tokio::join!(
        judge(others, ServiceOptions::default()),
        judge(client_faults, soon)
    );
    let mut judged: Vec<_> = others.into_iter().chain(client_faults).collect();
    judged.sort_by_key(|one| one.row.number);
    let text = measured(&judged);
    println!("{text}");
    for one in judged.iter().filter(|one| !one.is_right()) {
        println!("not right: {}", one.line());
    }
    for one in &judged {
        assert!(!one.seen.stopped_others, "stopped others: {}", one.line());
        assert!(!one.is_wrongly_dead(), "wrongly dead: {}", one.line());
    }
    assert_eq!(judged.len(), ROWS.lines().count());
    let right = judged.iter().filter(|one| one.is_right()).count();
    assert!(right * 100 >= judged.len() * 97, "{right} of {}", judged.len());
    assert!(
        PAGE.contains(&text),
        "docs/providers/errors.md says something else than was measured; it should say:\n\n{text}"
    );
}
