//! The application: adapters, actors and HTTP put together, started and stopped in order.

mod assembly;
pub mod clock;
mod credential;
mod descriptors;
mod exit;
mod jwks;
mod mapping;
mod misconfigured;
mod neighbours;
mod operators;
mod prepare;
mod readiness;
pub mod rng;
mod scrape;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use oauth_manager_actors::{handle::OAuthManager, ports::clock::Clock, settings::Settings, system};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use assembly::{Assembly, spool, vault};
pub use credential::new_credential;
pub use descriptors::TooFewDescriptors;
pub use exit::Exit;
pub use mapping::command_settings;
pub use misconfigured::Misconfigured;
pub use prepare::{Unusable, check_connection, prepare, prepare_within};
pub use scrape::documented_metrics;

use crate::{config::Config, http};
use operators::Operators;

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
    /// From the signal to the hard stop.
    grace: Duration,
    /// How long the listener stays open meanwhile.
    delay: Duration,
    metrics_address: Option<SocketAddr>,
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
        let room = descriptors::Room::make(config)?;
        let assembly = Assembly::new(config)?;
        let operators = Operators::bind(config).await?;
        let mut settings = mapping::actor_settings(config)?;
        adjust(&mut settings);
        let (manager, shutdown) = system::start(assembly.ports(spool(config)?), settings)
            .await
            .context("the actors do not start")?;

        // Until the rows were asked.
        manager.keys_missing(true);
        let (tasks, stop_http, unusable) = (
            TaskTracker::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let clock = assembly.clock.clone();
        let now: http::Now = Arc::new(move || clock.now());
        let settings = mapping::http_settings(config, room.connections_max)?;
        let metrics_address = operators.as_ref().map(|operators| operators.address);
        if let Some(operators) = operators {
            operators.serve(&tasks, &settings, &manager, &assembly, &now, &stop_http);
        }
        let service = http::HttpService::new(manager.clone(), settings, jwks::published(config)?, now);
        let address = listener.local_addr().context("the listener has no address")?;
        tasks.spawn(http::serve(listener, service, stop_http.clone()));
        tracing::info!(listen = %address, public_url = %config.server.public_url(), "listening");
        room.tell();
        if config.server.is_development() {
            tracing::warn!(
                "environment is development: http and loopback addresses are accepted; never use this for real accounts"
            );
        }

        let (preparation, signal) = (assembly.clone(), unusable.clone());
        let stopping = stop_http.clone();
        let keys = manager.clone();
        let (announce, prepared) = watch::channel(false);
        tasks.spawn(async move {
            let prepared = async {
                match prepare(&preparation).await {
                    Ok(missing) => {
                        keys.keys_missing(!missing.is_empty());
                        let _ = announce.send(true);
                        prepare::await_keys(&preparation, &keys, missing).await;
                    }
                    Err(unusable) => {
                        tracing::error!("{unusable}");
                        signal.cancel();
                    }
                }
            };
            tokio::select! {
                () = stopping.cancelled() => {}
                () = prepared => {}
            }
        });
        tasks.spawn(
            assembly
                .clock
                .clone()
                .keep(assembly.storage.clone(), stop_http.clone()),
        );
        tasks.spawn(readiness::watch(manager.clone(), stop_http.clone()));
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
            grace: config.timings.shutdown_grace,
            delay: config.timings.shutdown_delay(config.server.is_development()),
            metrics_address,
            tasks,
        })
    }

    /// Where the operator's listener is, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
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
        let hard_stop = Instant::now() + self.grace;
        // First the door is signed as closed, then it is closed: whoever sends requests here looks at the sign.
        self.manager.leave();
        if exit == Exit::Stopped {
            tokio::time::sleep(self.delay).await;
        }
        self.stop_http.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let left = hard_stop.saturating_duration_since(Instant::now());
        let stopped = self.shutdown.graceful_within(left).await;
        self.assembly.storage.close();
        tracing::info!(
            drained = stopped.drained,
            audit_written = stopped.audit_written,
            "stopped"
        );
        Ok(exit)
    }
}
