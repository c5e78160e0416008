//! `serve`: the service, until it is told to stop.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::net::TcpListener;

use super::signals;
use crate::{app, config::Config, telemetry};

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    telemetry::init(&config.log)?;
    let address = config.server.listen;
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("server.listen: {address} cannot be bound"))?;
    Ok(app::serve(config, listener, signals::stop()).await?.into())
}
