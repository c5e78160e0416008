//! The application's published keys, fetched by HTTP.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;

use crate::{
    config::Config,
    http::{KeySource, KeySourceError},
    oauth::Document,
};

/// Longest a fetch may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The configured key set's source, if users' JWTs are checked by published keys.
///
/// # Errors
/// The HTTP client cannot be built.
pub(super) fn source(config: &Config) -> anyhow::Result<Option<Arc<dyn KeySource>>> {
    let Some(endpoint) = &config.auth.jwks_url else {
        return Ok(None);
    };
    let development = config.server.is_development();
    let document = Document::new(endpoint.url().clone(), development, DEADLINE).context("auth.jwks_url")?;
    Ok(Some(Arc::new(PublishedKeys(document))))
}

struct PublishedKeys(Document);

#[async_trait]
impl KeySource for PublishedKeys {
    async fn fetch(&self) -> Result<serde_json::Value, KeySourceError> {
        let body = self
            .0
            .fetch()
            .await
            .map_err(|reason| KeySourceError(reason.into()))?;
        serde_json::from_slice(&body).map_err(|_| KeySourceError("the answer is not JSON".into()))
    }
}
