//! `keys generate|status`.

use std::{process::ExitCode, time::Duration};

use clap::Subcommand;

use super::output;
use crate::{
    app::{Assembly, prepare_within},
    config::Config,
    vault::keyring,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print a new key, as `encryption.keys` and OAUTH_ENCRYPTION_KEYS want it.
    Generate,
    /// Say which keys are configured, which is active, and what each still seals.
    Status,
}

pub(super) fn generate() -> anyhow::Result<ExitCode> {
    println!("{}", *keyring::generate()?);
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Generate => generate(),
        Command::Status => status(config).await,
    }
}

async fn status(config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let assembly = Assembly::new(config)?;
    prepare_within(&assembly, Duration::from_secs(15)).await?;
    let keyring = assembly.vault.keyring();
    let rows = keyring
        .ids()
        .map(|id| {
            vec![
                id.to_owned(),
                if id == keyring.active_id() {
                    "active"
                } else {
                    "readable"
                }
                .to_owned(),
                "matches the database".to_owned(),
            ]
        })
        .collect::<Vec<_>>();
    output::table(&["KEY", "STATE", "CHECK"], &rows);
    Ok(ExitCode::SUCCESS)
}
