//! The adapters, built from the configuration. Building connects to nothing.

use std::sync::Arc;

use anyhow::Context as _;
use oauth_manager_actors::{ports::clock::Clock, settings::Ports};

use super::{clock::SystemClock, mapping, rng::SystemRng};
use crate::{config::Config, oauth::Engine, storage::Storage, vault::RingVault};

/// The adapters of one process.
#[derive(Clone)]
pub struct Assembly {
    /// The database.
    pub storage: Storage,
    /// Sealing.
    pub vault: Arc<RingVault>,
    /// The provider engine.
    pub engine: Arc<Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly").finish_non_exhaustive()
    }
}

impl Assembly {
    /// Builds them.
    ///
    /// # Errors
    /// Something is configured that cannot work.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (settings, providers) = mapping::engine_settings(config)?;
        let engine = Engine::new(settings, providers, Arc::clone(&clock)).context("providers")?;
        let storage = Storage::connect(mapping::storage_options(config)).context("database.url")?;
        storage.hold_back();
        Ok(Self {
            storage,
            vault: Arc::new(vault(config)?),
            engine: Arc::new(engine),
            clock,
        })
    }

    /// The same, as the actors see them.
    pub fn ports(&self) -> Ports {
        let storage = Arc::new(self.storage.clone());
        Ports {
            integrations: storage.clone(),
            authorizations: storage.clone(),
            records: storage.clone(),
            clients: storage.clone(),
            egress: storage.clone(),
            sessions: storage,
            oauth: self.engine.clone(),
            vault: self.vault.clone(),
            clock: Arc::clone(&self.clock),
            rng: Arc::new(SystemRng::default()),
        }
    }
}

/// The vault of the configured keys.
///
/// # Errors
/// The keys cannot be used.
pub fn vault(config: &Config) -> anyhow::Result<RingVault> {
    Ok(RingVault::new(
        mapping::keyring(config).context("encryption.keys")?,
    ))
}
