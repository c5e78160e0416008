//! The operator's listener, beside the public one: metrics, and nothing else.

use std::net::SocketAddr;

use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use oauth_manager_actors::handle::OAuthManager;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Assembly, scrape};
use crate::{
    config::Config,
    http::{self, settings::HttpSettings},
};

/// The listener, bound, and what is read there.
pub(super) struct Operators {
    pub(super) address: SocketAddr,
    listener: TcpListener,
    recorder: PrometheusHandle,
}

impl Operators {
    /// Binds it and keeps what is measured from now on; `None`: nobody is to read it.
    ///
    /// # Errors
    /// It cannot be bound.
    pub(super) async fn bind(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(wanted) = config.server.metrics_listen else {
            return Ok(None);
        };
        let listener = TcpListener::bind(wanted)
            .await
            .with_context(|| format!("server.metrics_listen: {wanted} cannot be bound"))?;
        Ok(Some(Self {
            address: listener
                .local_addr()
                .context("server.metrics_listen has no address")?,
            listener,
            recorder: scrape::record()?,
        }))
    }

    /// Answers scrapes until told to stop.
    pub(super) fn serve(
        self,
        tasks: &TaskTracker,
        settings: &HttpSettings,
        manager: &OAuthManager,
        assembly: &Assembly,
        now: &http::Now,
        stop: &CancellationToken,
    ) {
        tracing::info!(address = %self.address, "metrics for operators");
        tasks.spawn(scrape::upkeep(
            self.recorder.clone(),
            manager.clone(),
            stop.clone(),
        ));
        let scrape = scrape::scrape(self.recorder, manager.clone(), assembly.clone(), now());
        let service = http::HttpService::of_metrics(settings, scrape, now.clone());
        tasks.spawn(http::serve(self.listener, service, stop.clone()));
    }
}
