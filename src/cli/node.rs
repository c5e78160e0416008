//! A short-lived node: a command that refreshes or revokes runs the same actors on the same database as any other node,
//! and is kept from harm by the same claims.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use oauth_manager_actors::{
    handle::OAuthManager,
    ports::spool::{Spool, SpoolError, SpoolTicket, SpooledAnswer},
    system,
};

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
        let spool = app::spool(config).unwrap_or_else(|error| {
            tracing::warn!("{error}: answers of providers are kept in memory alone while this command runs");
            Arc::new(NoSpool)
        });
        let (manager, shutdown) = system::start(assembly.ports(spool), settings)
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

/// For a command of an account that may not write where the service does.
struct NoSpool;

#[async_trait]
impl Spool for NoSpool {
    fn put(&self, _: &SpooledAnswer) -> Result<SpoolTicket, SpoolError> {
        Err(SpoolError("there is none".into()))
    }

    async fn sync(&self) -> Result<(), SpoolError> {
        Ok(())
    }

    fn forget(&self, _: SpoolTicket) -> Result<(), SpoolError> {
        Ok(())
    }

    fn left(&self) -> Vec<(SpoolTicket, SpooledAnswer)> {
        Vec::new()
    }

    fn depth(&self) -> usize {
        0
    }
}
