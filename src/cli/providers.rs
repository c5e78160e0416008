//! `providers list`.

use std::process::ExitCode;

use clap::Subcommand;
use oauth_manager_actors::{
    domain::{provider::Provider, provider_problem::ProviderProblem},
    ports::oauth::OAuth as _,
};
use serde::Serialize;

use super::{online, output};
use crate::{app::Assembly, config::Config};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List providers, whether each is configured, its features, and what keeps it from being used.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Ask no provider: only what the configuration says.
        #[arg(long)]
        offline: bool,
    },
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    provider: &'a Provider,
    problem: Option<ProviderProblem>,
}

pub(super) async fn run(command: &Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let Command::List { json, offline } = command;
    let assembly = Assembly::new(config)?;
    let tried = if *offline {
        Vec::new()
    } else {
        online::try_out(&assembly.engine).await
    };
    let providers = assembly.engine.providers();
    let listed = providers.iter().map(|provider| {
        let tried = tried.iter().find(|(key, _)| *key == provider.key);
        Listed {
            provider,
            problem: tried.and_then(|(_, tried)| tried.as_ref().err().cloned()),
        }
    });
    if *json {
        output::json(&listed.collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = listed.map(|Listed { provider, problem }| {
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
            problem.map_or_else(|| "-".to_owned(), |problem| online::told(&Err(problem))),
            features.join(" "),
        ]
    });
    output::table(
        &["PROVIDER", "NAME", "CONFIGURED", "PROBLEM", "FEATURES"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(ExitCode::SUCCESS)
}
