//! The application's published keys, fetched by HTTP.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;

use crate::{config::Config, jose::PublishedKeys, oauth::Document};

/// Longest a fetch may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// The configured key set, if users' JWTs are checked by published keys.
///
/// # Errors
/// The HTTP client cannot be built.
pub(super) fn published(config: &Config) -> anyhow::Result<Option<Arc<PublishedKeys>>> {
    let Some(endpoint) = &config.auth.jwks_url else {
        return Ok(None);
    };
    let development = config.server.is_development();
    let document = Document::new(endpoint.url().clone(), development, DEADLINE).context("auth.jwks_url")?;
    let document = Arc::new(document);
    let fetch = move || {
        let document = Arc::clone(&document);
        let fetched = async move { document.fetch().await.map_err(str::to_owned) };
        Box::pin(fetched) as futures_util::future::BoxFuture<'static, _>
    };
    Ok(Some(Arc::new(PublishedKeys::new(Box::new(fetch)))))
}
