//! `dev`: everything on this machine.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::ValueEnum;

use super::signals;
use crate::dev::{self, ConsentMode, DevOptions};

/// The flags of `dev` (design, section 7).
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The service's port.
    #[arg(long, default_value_t = 8002)]
    port: u16,
    /// The simulator's port.
    #[arg(long, default_value_t = 8003)]
    simulator_port: u16,
    /// Where everything is kept: Postgres, keys, credentials. Default: .dev
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Whether the simulator asks, or grants at once.
    #[arg(long, value_enum, default_value_t = Consent::Ask)]
    consent: Consent,
    /// How long simulated access tokens live (60s, 10m, 1h). Default: as long as each provider's do.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    token_lifetime: Option<Duration>,
    /// Begin with nothing: forget what earlier runs left.
    #[arg(long)]
    fresh: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Consent {
    /// Show a consent page.
    Ask,
    /// Grant at once.
    Auto,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = crate::config::duration(text).map_err(str::to_owned)?;
    if duration < Duration::from_secs(1) {
        return Err("at least 1s".into());
    }
    Ok(duration)
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let options = DevOptions {
        port: args.port,
        simulator_port: args.simulator_port,
        data_dir: args.data_dir,
        consent: match args.consent {
            Consent::Ask => ConsentMode::Ask,
            Consent::Auto => ConsentMode::Auto,
        },
        token_lifetime: args.token_lifetime,
        fresh: args.fresh,
    };
    dev::run(options, &crate::config::ProcessEnvironment, signals::stop())
        .await
        .map(ExitCode::from)
}
