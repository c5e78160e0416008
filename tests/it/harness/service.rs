//! The service under test, and the simulator it talks to.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf, time::Duration};

use jsonwebtoken::{EncodingKey, Header};
use oauth_manager::{
    app::{Exit, Running},
    config::Config,
    dev::{
        simulated::provider_toml,
        simulator::{self, Consent, Provider, Simulator, SimulatorConfig},
    },
};
use oauth_manager_actors::{
    domain::{
        client::{Allow, Policy},
        sealed::DigestPurpose,
    },
    handle::OAuthManager,
    ports::{store::ClientStore as _, vault::Vault as _},
    settings::Settings,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

use super::{APPLICATION, Answer, Api, Browser, End, Folder, api::http_client, database};

/// Checks users' JWTs. Random-looking, because anything else is refused.
pub const AUTH_SECRET: &str = "c4b1e0f25a7d4896b3c1f0a9d8e7564321fedcba90871625";
/// Seals. Random-looking for the same reason.
pub const ENCRYPTION_KEY: &str = "q3V0bK9xWmZ1p7RcE4uYhN8sT2aLdJf6oGiXvQwB5yM=";

/// The variable for the pause between two refreshes that somebody forces.
pub const FORCED_REFRESH_INTERVAL: &str = "OAUTH_MANAGER__TIMINGS__FORCED_REFRESH_INTERVAL";

/// What a test wants otherwise than usual.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Whether the simulator asks.
    pub consent: Consent,
    /// How long simulated access tokens live.
    pub token_lifetime: Option<Duration>,
    /// Added to the configuration, as TOML: whole tables that are not there yet (residency, timings, log, more providers).
    pub extra_toml: String,
    /// Changes the configuration as a whole, where adding to it is not enough.
    pub change_toml: fn(String) -> String,
    /// The `[auth]` section, if users' JWTs are not checked by the shared secret.
    pub auth_toml: Option<String>,
    /// The database, if not a fresh one.
    pub database_url: Option<String>,
    /// Changes what has no key in the configuration, because an operator never needs it shorter.
    pub adjust: fn(&mut Settings),
    /// Where its spool is, if not in a folder of its own.
    pub spool: Option<PathBuf>,
    /// Whether the test begins only when the database is prepared.
    pub await_ready: bool,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            consent: Consent::Auto,
            token_lifetime: None,
            extra_toml: String::new(),
            change_toml: |toml| toml,
            auth_toml: None,
            database_url: None,
            adjust: |_| {},
            spool: None,
            await_ready: true,
        }
    }
}

/// A running service.
pub struct Service {
    pub simulator: Simulator,
    pub manager: OAuthManager,
    pub base_url: String,
    pub database_url: String,
    pub config: Config,
    /// Everybody's: making one costs more than most requests. It keeps no cookies.
    pub http: reqwest::Client,
    /// The configuration as a file would hold it.
    pub toml: String,
    assembly: oauth_manager::app::Assembly,
    _folder: Folder,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<anyhow::Result<Exit>>>,
}

impl Service {
    /// With every built-in provider simulated, and nothing asked.
    pub async fn start() -> Self {
        Self::start_with(ServiceOptions::default()).await
    }

    pub async fn start_with(options: ServiceOptions) -> Self {
        let simulator = start_simulator(&options).await;
        Self::start_before(simulator, options).await
    }

    /// In front of a simulator that runs already: a second node, or the same one started again.
    pub async fn start_before(simulator: Simulator, options: ServiceOptions) -> Self {
        super::logs::capture();
        let database_url = match &options.database_url {
            Some(url) => url.clone(),
            None => database::fresh().await,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let folder = Folder::new();
        let spool = options
            .spool
            .clone()
            .unwrap_or_else(|| folder.path().join("spool"));
        let toml = configuration(&simulator, &base_url, &database_url, &options);
        let mut toml = (options.change_toml)(toml);
        let _ = writeln!(toml, "[spool]\ndirectory = {:?}", spool.to_str().unwrap());
        let config = Config::from_toml(&toml, &unbounded()).unwrap_or_else(|error| panic!("{error}\n{toml}"));
        let running = Running::start_adjusted(&config, listener, options.adjust)
            .await
            .unwrap();
        if options.await_ready {
            running.ready_within(Duration::from_secs(30)).await.unwrap();
        }
        let (manager, assembly) = (running.manager.clone(), running.assembly().clone());
        let (stop, stopped) = oneshot::channel();
        #[expect(
            clippy::disallowed_methods,
            reason = "the service under test runs beside its test"
        )]
        let running = tokio::spawn(running.until(async move {
            let _ = stopped.await;
        }));
        Self {
            simulator,
            manager,
            base_url,
            database_url,
            config,
            http: http_client(),
            toml,
            assembly,
            _folder: folder,
            stop: Some(stop),
            running: Some(running),
        }
    }

    /// A second node on the same database and in front of the same simulator, under the first one's public address.
    pub async fn second_node(&self) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let running = Running::start(&self.config, listener).await.unwrap();
        running.ready_within(Duration::from_secs(30)).await.unwrap();
        Node {
            base_url,
            _running: running,
        }
    }

    /// Stops gracefully; the simulator goes on, for whoever is started next.
    pub async fn stop(mut self) -> (Simulator, Exit) {
        drop(self.stop.take());
        let exit = self.running.take().unwrap().await.unwrap().unwrap();
        (self.simulator, exit)
    }

    /// Waits until it ends by itself.
    pub async fn ended(mut self) -> (Simulator, Exit) {
        let exit = self.running.take().unwrap().await.unwrap().unwrap();
        (self.simulator, exit)
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.running.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The adapters, for looking behind the service.
    pub fn assembly(&self) -> &oauth_manager::app::Assembly {
        &self.assembly
    }

    /// `…/api/v1/oauth` as this user.
    pub fn user(&self, subject: &str) -> Api {
        Api::new(self.http.clone(), &self.base_url, Some(user_token(subject)))
    }

    /// `…/api/v1/oauth` as nobody.
    pub fn anonymous(&self) -> Api {
        Api::new(self.http.clone(), &self.base_url, None)
    }

    /// `…/api/v1/oauth` with whatever credential.
    pub fn with_token(&self, token: &str) -> Api {
        Api::new(self.http.clone(), &self.base_url, Some(token.to_owned()))
    }

    /// `…/api/v1/oauth` as a new service client with this policy: `google:*`, `*:*`, …; it may open sessions.
    pub async fn service(&self, allow: &[&str]) -> Api {
        let allow: Vec<Allow> = allow.iter().map(|entry| entry.parse().unwrap()).collect();
        self.client(Policy {
            allow,
            sessions: true,
            admin: false,
        })
        .await
    }

    /// `…/api/v1/oauth` as a new service client.
    pub async fn client(&self, policy: Policy) -> Api {
        let token = format!("oms_{}", uuid::Uuid::new_v4().simple());
        let digest = self
            .assembly
            .vault
            .digest(DigestPurpose::ServiceCredential, &token);
        let name = format!("client-{}", uuid::Uuid::new_v4().simple());
        self.assembly
            .storage
            .create(&name, &digest, &policy)
            .await
            .unwrap();
        Api::new(self.http.clone(), &self.base_url, Some(token))
    }

    /// A new browser that holds our session for this user.
    pub async fn browser_of(&self, user: &str) -> Browser {
        let application = self.service(&[]).await;
        let request = json!({ "user": user, "return_to": APPLICATION });
        let link = application.post("/sessions", request).await.expect_status(201);
        let mut browser = self.browser();
        let end = enter(&application, &mut browser, user, link["url"].as_str().unwrap()).await;
        assert_eq!((end.status, end.url.path()), (200, "/connections"), "{end:?}");
        browser
    }

    /// A new browser, without any cookie.
    pub fn browser(&self) -> Browser {
        Browser::new(self.http.clone())
    }

    /// Connects an account of this provider for the user, the way an application does; returns the integration.
    pub async fn connect(&self, user: &str, provider: &str) -> serde_json::Value {
        self.connect_with(user, json!({ "provider": provider })).await
    }

    /// The same with more in the request (`features`, `scopes`, `login_hint`, …).
    pub async fn connect_with(&self, user: &str, request: serde_json::Value) -> serde_json::Value {
        super::connect(&self.user(user), self.browser(), request).await
    }

    /// A connection to the database as it is, row-level security bypassed by declaring the system's scope.
    pub async fn sql(&self) -> tokio_postgres::Client {
        database::as_system(&self.database_url).await
    }
}

/// The honest way from a session link to the pages: the browser opens it, the application confirms who sits there, the
/// browser goes in.
pub async fn enter(application: &Api, browser: &mut Browser, user: &str, link: &str) -> End {
    let asked = browser.open(link).await;
    let confirmed = confirm_session(application, user, &asked)
        .await
        .expect_status(200);
    browser.open(confirmed["url"].as_str().unwrap()).await
}

/// The application's word on who sits before a browser that came to it from a session link.
pub async fn confirm_session(application: &Api, user: &str, asked: &End) -> Answer {
    let id = asked.query("session_id").unwrap_or_else(|| panic!("{asked:?}"));
    let word = json!({ "user": user, "confirmation": asked.query("session_confirmation").unwrap() });
    application.post(&format!("/sessions/{id}/confirm"), word).await
}

/// Another node of the same service; it ends with its test.
pub struct Node {
    pub base_url: String,
    _running: Running,
}

/// A simulator on a port of its own.
pub async fn start_simulator(options: &ServiceOptions) -> Simulator {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = simulator::Settings {
        consent: options.consent,
        access_token_lifetime: options.token_lifetime,
        ..simulator::Settings::default()
    };
    Simulator::start(
        listener,
        SimulatorConfig {
            settings,
            ..SimulatorConfig::default()
        },
    )
    .unwrap()
}

/// Tests force one refresh after the other; what bounds that is a test of its own.
fn unbounded() -> BTreeMap<String, String> {
    BTreeMap::from([(FORCED_REFRESH_INTERVAL.to_owned(), "0s".to_owned())])
}

fn configuration(
    simulator: &Simulator,
    base_url: &str,
    database_url: &str,
    options: &ServiceOptions,
) -> String {
    let shared_secret = format!("hs256_secret = \"{AUTH_SECRET}\"");
    let auth = options.auth_toml.as_ref().unwrap_or(&shared_secret);
    let mut toml = format!(
        "[server]\nenvironment = \"development\"\nlisten = \"127.0.0.1:0\"\npublic_url = \"{base_url}\"\n\
         [database]\nurl = \"{database_url}\"\nmax_connections = 8\n\
         [encryption]\nkeys = [\"test:{ENCRYPTION_KEY}\"]\n[auth]\n{auth}\n"
    );
    for provider in [
        Provider::Google,
        Provider::Microsoft,
        Provider::Notion,
        Provider::YouTube,
    ] {
        toml.push_str(&provider_toml(simulator, provider));
    }
    let _ = writeln!(toml, "{}", options.extra_toml);
    toml
}

/// The application's JWT for this user.
pub fn user_token(subject: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "a test is its own clock here")]
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    jwt(&json!({ "sub": subject, "iat": now, "exp": now + 3600 }))
}

/// A JWT of the application with these claims.
pub fn jwt(claims: &serde_json::Value) -> String {
    jsonwebtoken::encode(
        &Header::default(),
        claims,
        &EncodingKey::from_secret(AUTH_SECRET.as_bytes()),
    )
    .unwrap()
}
