//! The adapters, built from the configuration. Building connects to nothing.

use std::sync::Arc;

use anyhow::Context as _;
use oauth_manager_actors::{ports::spool::Spool, settings::Ports};

use super::{Misconfigured, clock::SharedClock, mapping, rng::SystemRng};
use crate::{config::Config, oauth::Engine, spool::FileSpool, storage::Storage, vault::RingVault};

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
    pub clock: SharedClock,
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
    pub fn new(config: &Config) -> Result<Self, Misconfigured> {
        Self::build(config).map_err(Misconfigured::new)
    }

    fn build(config: &Config) -> anyhow::Result<Self> {
        let clock = SharedClock::of_this_machine();
        let (settings, providers) = mapping::engine_settings(config)?;
        let engine = Engine::new(settings, providers, Arc::new(clock.clone())).context("providers")?;
        let storage = Storage::connect(mapping::storage_options(config)).context("database.url")?;
        storage.hold_back();
        Ok(Self {
            storage,
            vault: Arc::new(vault(config)?),
            engine: Arc::new(engine),
            clock,
        })
    }

    /// The same, as the actors see them, with this spool.
    pub fn ports(&self, spool: Arc<dyn Spool>) -> Ports {
        let storage = Arc::new(self.storage.clone());
        Ports {
            integrations: storage.clone(),
            authorizations: storage.clone(),
            records: storage.clone(),
            overview: storage.clone(),
            clients: storage.clone(),
            egress: storage.clone(),
            users: storage.clone(),
            sessions: storage,
            oauth: self.engine.clone(),
            spool,
            vault: self.vault.clone(),
            clock: Arc::new(self.clock.clone()),
            rng: Arc::new(SystemRng::default()),
        }
    }
}

/// The spool of the configured directory, taken from now on.
///
/// # Errors
/// The directory cannot be used.
pub fn spool(config: &Config) -> Result<Arc<dyn Spool>, Misconfigured> {
    let directory = config.spool.directory(config.server.environment);
    let opened = FileSpool::open(directory)
        .with_context(|| "spool.directory: this account must be able to make and write it");
    Ok(Arc::new(opened.map_err(Misconfigured::new)?))
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
