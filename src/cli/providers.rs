//! `providers list`.

use std::process::ExitCode;

use clap::Subcommand;
use oauth_manager_actors::ports::oauth::OAuth as _;

use super::output;
use crate::{app::Assembly, config::Config};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List providers, whether each is configured, and its features.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let Command::List { json } = command;
    let assembly = Assembly::new(config)?;
    let providers = assembly.engine.providers();
    if *json {
        output::json(&providers)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = providers.iter().map(|provider| {
        let features: Vec<_> = provider
            .features
            .iter()
            .map(|feature| feature.key.as_str())
            .collect();
        let configured = if provider.configured { "yes" } else { "no" };
        vec![
            provider.key.to_string(),
            provider.display_name.clone(),
            configured.to_owned(),
            features.join(" "),
        ]
    });
    output::table(
        &["PROVIDER", "NAME", "CONFIGURED", "FEATURES"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(ExitCode::SUCCESS)
}
