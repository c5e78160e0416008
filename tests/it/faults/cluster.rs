//! Nodes as processes, on one database and in front of one simulator.

use std::{
    fmt::Write as _,
    fs::File,
    net::TcpListener as StdListener,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
    },
    time::Duration,
};

use oauth_manager::dev::simulator::{
    Client, Consent, Provider, RedirectUris, Rotation, Settings, Simulator, SimulatorConfig,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Child};

use super::{checker::Ended, database::Database, history};
use crate::harness::{
    AUTH_SECRET, Answer, Api, Browser, ENCRYPTION_KEY, Program, Proxy, connect, eventually, http_client,
    program, user_token,
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
/// Each node's own, in its folder.
const SPOOL: &str = "spool";
/// Long enough for a second node to die while it repeats the first one's attempt.
pub const GRACE: Duration = Duration::from_secs(30);

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

/// A node: the program, its configuration, and its own way to the database.
pub struct Node {
    pub base_url: String,
    pub way: Proxy,
    /// Whether it has said that it is ready, and has not ended since: whom callers are sent to.
    pub in_rotation: Arc<AtomicBool>,
    program: Program,
    child: Option<Child>,
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
            nodes.push(Node {
                base_url: format!("http://127.0.0.1:{}", ports[number]),
                way,
                in_rotation: Arc::default(),
                program: Program::new(&toml),
                child: None,
            });
        }
        let mut cluster = Self {
            simulator,
            database,
            nodes,
            http: http_client(),
            credential: String::new(),
            ended: Vec::new(),
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
        let flows = (0..count).map(|number| async move {
            let user = format!("{}-{number}", class.key());
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
        let (client, connection) = tokio_postgres::connect(self.database.url(), tokio_postgres::NoTls)
            .await
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "ends with its client")]
        tokio::spawn(connection);
        client
            .batch_execute("SET oauth_manager.scope = 'system'")
            .await
            .unwrap();
        client
    }
}

impl Node {
    /// Starts the process and waits until it is ready.
    pub async fn start(&mut self, http: &reqwest::Client) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .unwrap();
        let arguments = ["--config", self.program.config(), "serve"];
        let mut command = program::command(&arguments, self.program.folder.path());
        command.stdout(log.try_clone().unwrap()).stderr(Stdio::from(log));
        self.child = Some(command.spawn().unwrap());
        let url = format!("{}/ready", self.base_url);
        eventually("a node is ready", || async {
            let answer = http.get(&url).send().await.ok()?;
            (answer.status() == 200).then_some(())
        })
        .await;
        self.in_rotation.store(true, Ordering::Relaxed);
    }

    async fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.start_kill().unwrap();
        child.wait().await.unwrap();
        self.in_rotation.store(false, Ordering::Relaxed);
    }

    /// Asks it to stop; its exit code.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        let mut child = self.child.take().expect("it runs");
        let ended = tokio::time::timeout(Duration::from_secs(40), child.wait()).await;
        self.in_rotation.store(false, Ordering::Relaxed);
        ended.expect("it stops in time").unwrap().code()
    }

    /// `STOP`, `CONT`, …
    pub async fn signal(&self, name: &str) {
        program::signal(self.child.as_ref().expect("it runs"), name).await;
    }

    /// What it has logged, over all its runs.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// How much lies in its spool.
    pub fn spooled_bytes(&self) -> u64 {
        let mut folders = vec![self.program.folder.path().join(SPOOL)];
        let mut bytes = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(found) if found.is_dir() => folders.push(entry.path()),
                    Ok(found) => bytes += found.len(),
                    // Gone in between.
                    Err(_) => {}
                }
            }
        }
        bytes
    }

    fn log_file(&self) -> std::path::PathBuf {
        self.program.folder.path().join("node.log")
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

/// A port below those that outgoing connections take: a node that is down for a moment finds its own free again.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const COUNT: u16 = 16_000;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (start.wrapping_add(step) % COUNT);
        if StdListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
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
