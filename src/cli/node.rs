//! A short-lived node: a command that refreshes or revokes runs the same actors on the same database as any other node,
//! and is kept from harm by the same claims.

use std::time::Duration;

use anyhow::Context as _;
use oauth_manager_actors::{handle::OAuthManager, system};

use crate::{
    app::{self, Assembly, prepare_within},
    config::Config,
};

pub(super) struct Node {
    pub(super) manager: OAuthManager,
    assembly: Assembly,
    shutdown: system::Shutdown,
}

impl Node {
    pub(super) async fn start(config: &Config) -> anyhow::Result<Self> {
        let assembly = Assembly::new(config)?;
        prepare_within(&assembly, Duration::from_secs(15)).await?;
        let settings = app::command_settings(config)?;
        let (manager, shutdown) = system::start(assembly.ports(), settings)
            .await
            .context("the actors do not start")?;
        Ok(Self {
            manager,
            assembly,
            shutdown,
        })
    }

    pub(super) async fn stop(self) {
        self.shutdown.graceful().await;
        self.assembly.storage.close();
    }
}
