//! One development run: what is started, in which order, and how it ends.

use std::{
    collections::BTreeMap, fmt::Write as _, future::Future, net::Ipv4Addr, path::PathBuf, time::Duration,
};

use anyhow::Context as _;
use tokio::{net::TcpListener, task::JoinSet};

use super::{
    data_dir::{DataDir, SIMULATOR_FILE},
    demo,
    postgres::{DatabaseSource, PostgresOptions, PrivatePostgres},
    simulated::provider_toml,
    simulator::{Consent, Provider, Settings, Simulator, SimulatorConfig},
    welcome,
};
use crate::{
    app::{Exit, Running},
    config::{Config, Environment},
    telemetry,
    vault::keyring,
};

/// The database of a development run.
const DATABASE: &str = "oauth_manager";
/// How long the first start may take to make the schema.
const READY_PATIENCE: Duration = Duration::from_secs(30);

/// What the command line says.
#[derive(Debug, Clone)]
pub struct DevOptions {
    /// The service's port.
    pub port: u16,
    /// The simulator's port.
    pub simulator_port: u16,
    /// Where everything is kept; `None`: `.dev`.
    pub data_dir: Option<PathBuf>,
    /// Whether the simulator asks.
    pub consent: ConsentMode,
    /// How long simulated access tokens live; `None`: as long as each provider's do.
    pub token_lifetime: Option<Duration>,
    /// Begin with nothing.
    pub fresh: bool,
}

/// Whether the simulator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConsentMode {
    /// It shows a consent page.
    Ask,
    /// It grants at once.
    Auto,
}

/// Runs everything until `stop` ends.
///
/// # Errors
/// A port is taken, there is no Postgres to be had, the data directory is in use: one line that says what to do.
pub async fn run(
    options: DevOptions,
    env: &dyn Environment,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Exit> {
    let data_dir = DataDir::take(options.data_dir.as_deref(), options.port)?;
    if options.fresh {
        data_dir.clear()?;
    }
    // Both ports first: a taken one is told before anything is started.
    let listener = bind(options.port, "--port").await?;
    let simulator_listener = bind(options.simulator_port, "--simulator-port").await?;
    let application_listener = beside(options.simulator_port).await?;
    let simulator = Simulator::start(simulator_listener, simulator_config(&options, &data_dir))
        .context("the simulator does not start")?;

    let variables = env.vars();
    let source = DatabaseSource::choose(variables.get("DATABASE_URL").map(String::as_str));
    let (postgres, database_url) = database(&data_dir, source).await?;
    let (auth_secret, _) = data_dir.secret("auth.secret", || Ok(keyring::generate()?.to_string()))?;
    let (encryption_key, made) =
        data_dir.secret("encryption.key", || Ok(keyring::generate()?.to_string()))?;

    let (simulated, real): (Vec<_>, Vec<_>) = BUILT_IN
        .into_iter()
        .partition(|(_, variable)| !is_set(&variables, variable));
    let mut toml = configuration(
        &options,
        &simulator,
        &simulated,
        &database_url,
        &auth_secret,
        &encryption_key,
        &variables,
    );
    let spool = data_dir.path().join("spool");
    let directory = toml::Value::from(spool.to_string_lossy().as_ref());
    // Writing into a String cannot fail.
    let _ = writeln!(toml, "[spool]\ndirectory = {directory}");
    let config = Config::from_toml(&toml, env)?;
    telemetry::init(&config.log)?;
    if made {
        tracing::warn!(path = %data_dir.path().join("encryption.key").display(), "no encryption key was configured: one was made for this data directory");
    }

    let running = Running::start(&config, listener).await?;
    running.ready_within(READY_PATIENCE).await?;
    let base_url = config.server.public_url().into_owned();
    let simulator_url = simulator.url().as_str().trim_end_matches('/').to_owned();
    let application_url = format!("http://{}", application_listener.local_addr()?).parse()?;
    let application = demo::application(running.assembly(), &base_url, application_url).await?;
    let credentials = demo::credentials(
        running.assembly(),
        &application,
        &base_url,
        &simulator_url,
        config_secret(&config, &auth_secret),
    )
    .await?;
    let file = data_dir.write(
        "credentials.json",
        &format!("{}\n", serde_json::to_string_pretty(&credentials)?),
    )?;
    let names = |providers: &[(Provider, &'static str)]| {
        providers
            .iter()
            .map(|(provider, _)| key(*provider))
            .collect::<Vec<_>>()
    };
    // Aborted with the run.
    let mut tasks = JoinSet::new();
    tasks.spawn(application.serve(application_listener));
    welcome::print(&credentials, &file, &names(&simulated), &names(&real));

    let exit = running.until(stop).await;
    simulator.stop().await;
    if let Some(postgres) = postgres {
        postgres.stop().await?;
    }
    exit
}

/// Built-in providers and the variable that makes each a real one.
const BUILT_IN: [(Provider, &str); 4] = [
    (Provider::Google, "GOOGLE_CLIENT_ID"),
    (Provider::Microsoft, "MICROSOFT_CLIENT_ID"),
    (Provider::Notion, "NOTION_CLIENT_ID"),
    (Provider::YouTube, "YOUTUBE_CLIENT_ID"),
];

fn key(provider: Provider) -> &'static str {
    match provider {
        Provider::Google => "google",
        Provider::Microsoft => "microsoft",
        Provider::Notion => "notion",
        Provider::YouTube => "youtube",
        Provider::Oidc => "oidc",
    }
}

fn is_set(variables: &BTreeMap<String, String>, name: &str) -> bool {
    variables.get(name).is_some_and(|value| !value.is_empty())
        || variables
            .get(&format!("{name}_FILE"))
            .is_some_and(|value| !value.is_empty())
}

async fn bind(port: u16, flag: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.with_context(|| format!("{flag} {port}: cannot listen on 127.0.0.1:{port}"))
}

/// The example application's: the port after this one, or any that is free.
async fn beside(port: u16) -> anyhow::Result<TcpListener> {
    let next = TcpListener::bind((Ipv4Addr::LOCALHOST, port.saturating_add(1))).await;
    match next {
        Ok(listener) => Ok(listener),
        Err(_taken) => bind(0, "the example application's port").await,
    }
}

fn simulator_config(options: &DevOptions, data_dir: &DataDir) -> SimulatorConfig {
    let consent = match options.consent {
        ConsentMode::Ask => Consent::Ask,
        ConsentMode::Auto => Consent::Auto,
    };
    let settings = Settings {
        consent,
        access_token_lifetime: options.token_lifetime,
        ..Settings::default()
    };
    SimulatorConfig {
        settings,
        // The database still has the accounts of earlier runs.
        kept_in: Some(data_dir.path().join(SIMULATOR_FILE)),
        ..SimulatorConfig::default()
    }
}

async fn database(
    data_dir: &DataDir,
    source: DatabaseSource,
) -> anyhow::Result<(Option<PrivatePostgres>, String)> {
    match source {
        DatabaseSource::Url(url) => Ok((None, url)),
        DatabaseSource::Private => {
            let options = PostgresOptions {
                data_dir: data_dir.path().join("postgres"),
                ephemeral: false,
            };
            let postgres = PrivatePostgres::start(options).await?;
            postgres.ensure_database(DATABASE).await?;
            let url = postgres.url(DATABASE);
            Ok((Some(postgres), url))
        }
    }
}

/// The configuration of a development run, as TOML: what an operator would write for it. Variables still win over it.
fn configuration(
    options: &DevOptions,
    simulator: &Simulator,
    simulated: &[(Provider, &str)],
    database_url: &str,
    auth_secret: &str,
    encryption_key: &str,
    variables: &BTreeMap<String, String>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let mut toml = format!(
        "[server]\nenvironment = \"development\"\nlisten = \"127.0.0.1:{port}\"\npublic_url = \"http://127.0.0.1:{port}\"\n\
         [database]\nurl = {}\n[auth]\nhs256_secret = {}\n",
        quoted(database_url),
        quoted(auth_secret),
        port = options.port,
    );
    if !["OAUTH_ENCRYPTION_KEY", "OAUTH_ENCRYPTION_KEYS"]
        .iter()
        .any(|name| is_set(variables, name))
    {
        // Writing into a String cannot fail.
        let _ = writeln!(
            toml,
            "[encryption]\nkeys = [{}]",
            quoted(&format!("dev:{encryption_key}"))
        );
    }
    for (provider, _) in simulated {
        toml.push_str(&provider_toml(simulator, *provider));
    }
    toml
}

/// The secret users' JWTs are checked with: a variable may have replaced ours.
fn config_secret<'a>(config: &'a Config, ours: &'a str) -> &'a str {
    config
        .auth
        .hs256_secret
        .as_ref()
        .map_or(ours, |secret| secret.expose())
}
