//! The application: adapters, actors and HTTP put together, started and stopped in order.

mod assembly;
pub mod clock;
mod credential;
mod exit;
mod jwks;
mod mapping;
mod neighbours;
mod prepare;
pub mod rng;

use std::{future::Future, sync::Arc};

use anyhow::Context as _;
use oauth_manager_actors::{handle::OAuthManager, ports::clock::Clock, settings::Settings, system};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use assembly::{Assembly, spool, vault};
pub use credential::new_credential;
pub use exit::Exit;
pub use mapping::command_settings;
pub use prepare::{Unusable, prepare, prepare_within};

use crate::{config::Config, http};

/// Runs the service on this listener until `stop` ends, or until it cannot go on.
///
/// The listener is open from the first moment, so that `/health` and `/ready` can tell what is missing while Postgres is
/// not there yet.
///
/// # Errors
/// Something is configured that cannot work.
pub async fn serve(
    config: &Config,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<Exit> {
    let running = Running::start(config, listener).await?;
    running.until(stop).await
}

/// A running service.
#[derive(Debug)]
pub struct Running {
    /// The façade, for services in this process.
    pub manager: OAuthManager,
    assembly: Assembly,
    shutdown: system::Shutdown,
    stop_http: CancellationToken,
    /// Cancelled when the database is found unusable: its keys or its schema are not this program's.
    unusable: CancellationToken,
    /// Whether the database is prepared.
    prepared: watch::Receiver<bool>,
    tasks: TaskTracker,
}

impl Running {
    /// Starts actors and HTTP; the database is prepared in the background, for as long as it takes.
    ///
    /// # Errors
    /// Something is configured that cannot work.
    pub async fn start(config: &Config, listener: TcpListener) -> anyhow::Result<Self> {
        Self::start_adjusted(config, listener, |_| {}).await
    }

    /// The same with settings of the actors that have no key in the configuration, for tests that cannot wait as long as
    /// an operator can.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_adjusted(
        config: &Config,
        listener: TcpListener,
        adjust: impl FnOnce(&mut Settings),
    ) -> anyhow::Result<Self> {
        let assembly = Assembly::new(config)?;
        let mut settings = mapping::actor_settings(config)?;
        adjust(&mut settings);
        let (manager, shutdown) = system::start(assembly.ports(spool(config)?), settings)
            .await
            .context("the actors do not start")?;

        let (tasks, stop_http, unusable) = (
            TaskTracker::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let clock = assembly.clock.clone();
        let service = http::HttpService::new(
            manager.clone(),
            mapping::http_settings(config)?,
            jwks::source(config)?,
            Arc::new(move || clock.now()),
        );
        let address = listener.local_addr().context("the listener has no address")?;
        tasks.spawn(http::serve(listener, service, stop_http.clone()));
        tracing::info!(listen = %address, public_url = %config.server.public_url(), "listening");
        if config.server.is_development() {
            tracing::warn!(
                "environment is development: http and loopback addresses are accepted; never use this for real accounts"
            );
        }

        let (preparation, signal) = (assembly.clone(), unusable.clone());
        let stopping = stop_http.clone();
        let (announce, prepared) = watch::channel(false);
        tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                result = prepare(&preparation) => match result {
                    Ok(()) => drop(announce.send(true)),
                    Err(unusable) => {
                        tracing::error!("{unusable}");
                        signal.cancel();
                    }
                },
            }
        });
        tasks.spawn(
            assembly
                .clock
                .clone()
                .keep(assembly.storage.clone(), stop_http.clone()),
        );
        tasks.spawn(neighbours::hear(
            assembly.storage.clone(),
            manager.clone(),
            stop_http.clone(),
        ));
        Ok(Self {
            manager,
            assembly,
            shutdown,
            stop_http,
            unusable,
            prepared,
            tasks,
        })
    }

    /// The adapters.
    pub fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// Waits until the database is prepared.
    ///
    /// # Errors
    /// It is not, in time or at all.
    pub async fn ready_within(&self, patience: std::time::Duration) -> anyhow::Result<()> {
        let mut prepared = self.prepared.clone();
        let ready = async {
            tokio::select! {
                changed = prepared.wait_for(|prepared| *prepared) => { changed.context("stopped before the database was ready")?; Ok(()) }
                () = self.unusable.cancelled() => anyhow::bail!("the database cannot be used; the line above says why"),
            }
        };
        tokio::time::timeout(patience, ready)
            .await
            .context("the database was not ready in time")?
    }

    /// Serves until `stop` ends or the service cannot go on, then stops in order: HTTP, what is in flight, the actors.
    ///
    /// # Errors
    /// None today; callers treat this as the end of the process.
    pub async fn until(self, stop: impl Future<Output = ()>) -> anyhow::Result<Exit> {
        let exit = tokio::select! {
            () = stop => Exit::Stopped,
            () = self.shutdown.failed() => Exit::Defective,
            () = self.unusable.cancelled() => Exit::Unusable,
        };
        tracing::info!(?exit, "stopping");
        self.stop_http.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let stopped = self.shutdown.graceful().await;
        self.assembly.storage.close();
        tracing::info!(
            drained = stopped.drained,
            audit_written = stopped.audit_written,
            "stopped"
        );
        Ok(exit)
    }
}
