//! The application's published keys, fetched by HTTP.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use url::Url;

use crate::{
    config::Config,
    http::{KeySource, KeySourceError},
    oauth::Transport,
};

/// Longest a fetch may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The configured key set's source, if users' JWTs are checked by published keys.
///
/// # Errors
/// The HTTP client cannot be built.
pub(super) fn source(config: &Config) -> anyhow::Result<Option<Arc<dyn KeySource>>> {
    let Some(endpoint) = &config.auth.jwks_url else { return Ok(None) };
    let settings = crate::oauth::EngineSettings { deadline: DEADLINE, ..crate::oauth::EngineSettings::default() };
    let transport = Transport::new(&settings).context("auth.jwks_url")?;
    Ok(Some(Arc::new(HttpKeySource { transport, url: endpoint.url().clone() })))
}

struct HttpKeySource {
    transport: Transport,
    url: Url,
}

#[async_trait]
impl KeySource for HttpKeySource {
    async fn fetch(&self) -> Result<serde_json::Value, KeySourceError> {
        let body = self.transport.get_document(&self.url, DEADLINE).await.map_err(KeySourceError)?;
        serde_json::from_slice(&body).map_err(|_| KeySourceError("the answer is not JSON".into()))
    }
}
