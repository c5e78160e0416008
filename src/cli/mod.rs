//! The command line (design, section 7): one file per command.

mod check_config;
mod clients;
#[cfg(feature = "dev")]
mod dev;
mod integrations;
mod keys;
mod migrate;
mod node;
mod online;
mod output;
mod providers;
mod serve;
mod signals;
mod users;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::{
    app::{Exit, Misconfigured, TooFewDescriptors, Unusable},
    config::{Config, ConfigError, LogConfig, LogFormat, ProcessEnvironment},
    telemetry,
};

/// Connects users' accounts at OAuth 2 providers and keeps their tokens sealed, fresh and theirs.
#[derive(Debug, Parser)]
#[command(name = "oauth-manager", version, about)]
struct Cli {
    /// The configuration file (TOML). Default: the one OAUTH_MANAGER_CONFIG names.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    Serve,
    /// Run everything on this machine: a private Postgres, a simulator of the providers, the service, a demo user.
    #[cfg(feature = "dev")]
    Dev(dev::Args),
    /// Bring the database's schema up to date.
    Migrate,
    /// Check the configuration and say what it means.
    CheckConfig(check_config::Args),
    /// Encryption keys.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Service clients.
    #[command(subcommand)]
    Clients(clients::Command),
    /// Providers.
    #[command(subcommand)]
    Providers(providers::Command),
    /// Connected accounts.
    #[command(subcommand)]
    Integrations(integrations::Command),
    /// Everything about one user: read out, or erased.
    #[command(subcommand)]
    Users(users::Command),
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime does not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(dispatch(cli)) {
        Ok(code) => code,
        Err(error) => {
            // The whole chain on one line: what was done, and what stopped it.
            eprintln!("error: {error:#}");
            failure(&error)
        }
    }
}

/// What cannot be built, a database that this configuration cannot work with and a limit of open files that is too low are the
/// same for every command: EX_CONFIG, as `serve` ends.
fn failure(error: &anyhow::Error) -> ExitCode {
    if error.is::<Misconfigured>() || error.is::<TooFewDescriptors>() {
        return Exit::Unusable.into();
    }
    match error.downcast_ref::<Unusable>() {
        Some(Unusable::Schema(_) | Unusable::Connection(_) | Unusable::Key(_) | Unusable::OtherKeys(_)) => {
            Exit::Unusable.into()
        }
        Some(Unusable::Away(_)) | None => ExitCode::FAILURE,
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "dev")]
    if let Command::Dev(args) = cli.command {
        return dev::run(args).await;
    }
    if let Command::Keys(keys::Command::Generate) = cli.command {
        return keys::generate();
    }
    let config = match Config::load(cli.config.as_deref(), &ProcessEnvironment) {
        Ok(config) => config,
        Err(error) => return Ok(refused(&error)),
    };
    match cli.command {
        #[cfg(feature = "dev")]
        Command::Dev(_) => Ok(ExitCode::FAILURE),
        Command::Serve => serve::run(&config).await,
        Command::Migrate => migrate::run(&config).await,
        Command::CheckConfig(args) => check_config::run(&args, &config).await,
        Command::Keys(command) => keys::run(command, &config).await,
        Command::Clients(command) => clients::run(command, &config).await,
        Command::Providers(command) => providers::run(&command, &config).await,
        Command::Integrations(command) => integrations::run(command, &config).await,
        Command::Users(command) => users::run(command, &config).await,
    }
}

/// One line for each thing that is wrong, each naming its key. EX_CONFIG.
fn refused(error: &ConfigError) -> ExitCode {
    if error.problems().is_empty() {
        eprintln!("error: {error}");
    }
    for problem in error.problems() {
        eprintln!("error: {}: {}", problem.key, problem.message);
    }
    ExitCode::from(78)
}

/// Logs of a command that answers and ends: warnings and errors only, on stderr.
fn quiet_logs() {
    let quiet = LogConfig {
        filter: "warn".into(),
        format: LogFormat::Text,
    };
    // A second initialisation, in a process that logs already, changes nothing.
    let _ = telemetry::init(&quiet);
}
