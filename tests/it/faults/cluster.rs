//! Nodes as processes, on one database and in front of one simulator.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use oauth_manager::dev::simulator::{
    Client, Consent, Provider, RedirectUris, Rotation, Settings, Simulator, SimulatorConfig,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{
    checker::{CutOff, Ended},
    database::Database,
    history,
    node::{Node, SPOOL, free_port},
};
use crate::harness::{
    AUTH_SECRET, Answer, Api, Browser, ENCRYPTION_KEY, Proxy, connect, eventually, http_client, user_token,
};

/// What a refresh token's second use does, for each of the three providers every cluster has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Ends the grant.
    Strict,
    /// Gives the same successor within [`GRACE`], ends the grant later.
    Grace,
    /// Nothing.
    Safe,
}

pub const CLASSES: [Class; 3] = [Class::Strict, Class::Grace, Class::Safe];
/// As identity providers have it.
pub const GRACE: Duration = Duration::from_secs(15);

impl Class {
    /// The provider's key in the configuration.
    pub fn key(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Grace => "grace",
            Self::Safe => "safe",
        }
    }

    pub fn client_id(self) -> String {
        format!("{}-client", self.key())
    }

    fn refresh_class(self) -> String {
        match self {
            Self::Strict => "single_use".to_owned(),
            Self::Grace => format!("grace:{}s", GRACE.as_secs()),
            Self::Safe => "safe".to_owned(),
        }
    }

    fn rotation(self) -> Rotation {
        match self {
            Self::Strict => Rotation::Strict,
            Self::Grace => Rotation::Grace(GRACE),
            Self::Safe => Rotation::Never,
        }
    }
}

/// What a test wants of its cluster.
pub struct Options {
    pub nodes: usize,
    pub own_postgres: bool,
    /// How long access tokens live, by class.
    pub lifetime: fn(Class) -> Duration,
    pub lease: Duration,
    pub provider_deadline: Duration,
    /// For every wait for the database.
    pub database_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            own_postgres: false,
            lifetime: |_| Duration::from_secs(3600),
            lease: Duration::from_secs(30),
            provider_deadline: Duration::from_secs(10),
            database_timeout: Duration::from_secs(5),
        }
    }
}

/// A connected account.
#[derive(Debug, Clone)]
pub struct Connected {
    pub id: String,
    pub user: String,
}

impl Connected {
    /// The row's id.
    pub fn uuid(&self) -> uuid::Uuid {
        self.id.split_once('_').unwrap().1.parse().unwrap()
    }
}

pub struct Cluster {
    pub simulator: Arc<Simulator>,
    pub database: Database,
    pub nodes: Vec<Node>,
    pub http: reqwest::Client,
    /// Of a service that may receive everything.
    pub credential: String,
    /// Nodes that ended without having been asked to finish.
    pub ended: Vec<Ended>,
    /// Nodes that could not reach the database, and the others could.
    pub cut_off: Vec<CutOff>,
}

impl Cluster {
    pub async fn start(options: Options) -> Self {
        let simulator = Arc::new(start_simulator(&options).await);
        let database = if options.own_postgres {
            Database::own().await
        } else {
            Database::shared().await
        };
        let ports: Vec<u16> = (0..options.nodes).map(|_| free_port()).collect();
        let mut nodes = Vec::new();
        for number in 0..options.nodes {
            let way = Proxy::before(database.url(), false).await;
            let toml = configuration(&simulator, &ports, number, &way.url(database.url()), &options);
            nodes.push(Node::new(ports[number], &toml, way));
        }
        let mut cluster = Self {
            simulator,
            database,
            nodes,
            http: http_client(),
            credential: String::new(),
            ended: Vec::new(),
            cut_off: Vec::new(),
        };
        // One after the other: the first makes the schema.
        for node in &mut cluster.nodes {
            node.start(&cluster.http).await;
        }
        let create = ["clients", "create", "caller", "--allow", "*:*", "--json"];
        let made = cluster.nodes[0].program.run(&create).await.expect_success();
        let made: Value = serde_json::from_str(&made).unwrap();
        made["token"]
            .as_str()
            .unwrap()
            .clone_into(&mut cluster.credential);
        history::observe(&cluster.sql().await).await;
        cluster
    }

    /// Connects an account of its own person at this provider, all of them at once; returns them.
    pub async fn connect(&self, class: Class, count: usize) -> Vec<Connected> {
        self.connect_named(class, "person", count).await
    }

    /// The same with names of their own.
    pub async fn connect_named(&self, class: Class, name: &str, count: usize) -> Vec<Connected> {
        let flows = (0..count).map(|number| async move {
            let user = format!("{}-{name}-{number}", class.key());
            let api = self.user(0, &user);
            let request = json!({ "provider": class.key(), "login_hint": user });
            let integration = connect(&api, Browser::new(self.http.clone()), request).await;
            Connected {
                id: integration["id"].as_str().unwrap().to_owned(),
                user,
            }
        });
        futures_util::future::join_all(flows).await
    }

    /// Asks this node, as the account's user, to refresh now.
    pub async fn refresh(&self, node: usize, account: &Connected) -> Answer {
        let path = format!("/integrations/{}/refresh", account.id);
        self.user(node, &account.user).post(&path, json!({})).await
    }

    /// Asks this node for the account's token.
    pub async fn token(&self, node: usize, account: &Connected) -> Answer {
        self.caller(node)
            .get(&format!("/integrations/{}/token", account.id))
            .await
    }

    /// `…/api/v1/oauth` of this node as a user.
    pub fn user(&self, node: usize, user: &str) -> Api {
        Api::new(
            self.http.clone(),
            &self.nodes[node].base_url,
            Some(user_token(user)),
        )
    }

    /// `…/api/v1/oauth` of this node as the service that may receive everything.
    pub fn caller(&self, node: usize) -> Api {
        Api::new(
            self.http.clone(),
            &self.nodes[node].base_url,
            Some(self.credential.clone()),
        )
    }

    /// What makes up the row, as far as a late write would change it: generation, access token, status.
    pub async fn row(&self, account: &Connected) -> (i64, Vec<u8>, String) {
        let sql = "SELECT t.generation, t.access_token, i.status FROM oauth_tokens t \
                   JOIN oauth_integrations i ON i.id = t.integration_id WHERE i.id = $1";
        let sessions = self.sql().await;
        let row = sessions.query_one(sql, &[&account.uuid()]).await.unwrap();
        (row.get(0), row.get(1), row.get(2))
    }

    /// Waits until nobody holds or left behind a claim on an account of this class that may have presented its refresh token
    /// longer ago than this.
    pub async fn settled_since(&self, class: Class, age: Duration) {
        let sql = self.sql().await;
        let open = "SELECT count(*) FROM oauth_tokens WHERE provider = $1 AND claim_attempt IS NOT NULL \
                    AND claim_unsettled_since < now() - $2::double precision * interval '1 second'";
        eventually("what was cut off is taken over", || async {
            let row = sql
                .query_one(open, &[&class.key(), &age.as_secs_f64()])
                .await
                .unwrap();
            (row.get::<_, i64>(0) == 0).then_some(())
        })
        .await;
    }

    /// Whether somebody's claim is on the row, stale or not.
    pub async fn is_claimed(&self, account: &Connected) -> bool {
        let sql = "SELECT claim_attempt IS NOT NULL FROM oauth_tokens WHERE integration_id = $1";
        let sessions = self.sql().await;
        sessions.query_one(sql, &[&account.uuid()]).await.unwrap().get(0)
    }

    /// Waits until another node may take the account's claim for stale.
    pub async fn lease_runs_out(&self, account: &Connected) {
        let sql = self.sql().await;
        let stale = "SELECT claim_attempt IS NULL OR claim_until <= now() FROM oauth_tokens WHERE integration_id = $1";
        eventually("the claim is stale", || async {
            let row = sql.query_one(stale, &[&account.uuid()]).await.unwrap();
            row.get::<_, bool>(0).then_some(())
        })
        .await;
    }

    /// Ends the process as a power cut would, here and now.
    pub async fn kill(&mut self, node: usize) {
        let at_ms = wall_ms();
        self.nodes[node].kill().await;
        self.ended.push(Ended { node, at_ms });
    }

    pub async fn restart(&mut self, node: usize) {
        self.nodes[node].start(&self.http).await;
    }

    /// Asks every node to stop and waits until they have: afterwards everything is written.
    pub async fn stop(&mut self) {
        for node in &mut self.nodes {
            assert_eq!(node.terminate().await, Some(0), "{}", node.log());
        }
    }

    pub async fn stop_postgres(&mut self, how: super::database::Stop) {
        self.database.own_mut().stop(how).await;
    }

    pub async fn start_postgres(&mut self) {
        self.database.own_mut().start().await;
        for node in &self.nodes {
            node.way.lead_to(self.database.url());
        }
    }

    /// A session of the test's own, past every proxy.
    pub async fn sql(&self) -> tokio_postgres::Client {
        crate::harness::database::as_system(self.database.url()).await
    }
}

async fn start_simulator(options: &Options) -> Simulator {
    let clients = CLASSES.map(|class| Client {
        provider: Provider::Oidc,
        client_id: class.client_id(),
        client_secret: "a secret of the simulator's".to_owned(),
        display_name: "Application".to_owned(),
        redirect_uris: RedirectUris::AnyLoopback,
        rotation: class.rotation(),
        access_token_lifetime: Some((options.lifetime)(class)),
    });
    let config = SimulatorConfig {
        settings: Settings {
            consent: Consent::Auto,
            ..Settings::default()
        },
        clients: clients.to_vec(),
        // Everything: the checker reads all of it.
        recorded_requests_max: 2_000_000,
        ..SimulatorConfig::default()
    };
    Simulator::start(TcpListener::bind("127.0.0.1:0").await.unwrap(), config).unwrap()
}

fn configuration(
    simulator: &Simulator,
    ports: &[u16],
    number: usize,
    database_url: &str,
    options: &Options,
) -> String {
    let database_ms = options.database_timeout.as_millis();
    let mut toml = format!(
        "[server]\nenvironment = \"development\"\nlisten = \"127.0.0.1:{port}\"\n\
         public_url = \"http://127.0.0.1:{first}\"\n\
         [database]\nurl = \"{database_url}\"\nmax_connections = 8\nconnect_timeout = \"{database_ms}ms\"\n\
         wait_timeout = \"{database_ms}ms\"\nstatement_timeout = \"{database_ms}ms\"\n\
         [encryption]\nkeys = [\"test:{ENCRYPTION_KEY}\"]\n[auth]\nhs256_secret = \"{AUTH_SECRET}\"\n\
         [spool]\ndirectory = \"{SPOOL}\"\n\
         [timings]\nrefresh_lease = \"{lease}ms\"\nprovider_deadline = \"{deadline}ms\"\nshutdown_grace = \"20s\"\n",
        port = ports[number],
        first = ports[0],
        lease = options.lease.as_millis(),
        deadline = options.provider_deadline.as_millis(),
    );
    let issuer = simulator.provider_url(Provider::Oidc);
    for class in CLASSES {
        let (key, client_id, refresh_class) = (class.key(), class.client_id(), class.refresh_class());
        // The query tells the simulator's record which node called; the secret in the body, which application.
        let _ = write!(
            toml,
            "[providers.{key}]\ntype = \"oidc\"\ndisplay_name = \"{key}\"\nissuer = \"{issuer}\"\n\
             token_endpoint = \"{issuer}/token?node={number}\"\n\
             client_id = \"{client_id}\"\nclient_secret = \"a secret of the simulator's\"\nclient_auth = \"post\"\n\
             refresh_class = \"{refresh_class}\"\nallow_loopback = true\n\
             [providers.{key}.features]\n\"{key}.profile\" = [\"openid\", \"profile\", \"offline_access\"]\n"
        );
    }
    toml
}

/// Milliseconds since the epoch.
pub fn wall_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a test is its own clock here")]
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(now.as_millis()).unwrap()
}

/// Anything below `end`.
pub fn random_below(end: usize) -> usize {
    let random = uuid::Uuid::new_v4().as_u128() % u128::try_from(end.max(1)).unwrap();
    usize::try_from(random).unwrap()
}
