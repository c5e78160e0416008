//! The ledger on disk: what the providers remember outlives the simulator, as it does at real providers. Otherwise every
//! account that a database still knows would be dead after a restart.
//!
//! It is written before the answer that follows from it leaves: a process that is killed at any moment has promised nothing
//! that the next one does not know.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    hash::Hash,
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{ledger::Ledger, provider::Provider, world::World};

/// Read and written by the developer alone.
const PRIVATE: u32 = 0o600;

/// The file.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    /// Counts states of the world; the number of the last one that was written.
    written: Mutex<u64>,
}

/// The world at one moment.
#[derive(Debug)]
pub struct State {
    number: u64,
    text: serde_json::Result<String>,
}

#[derive(Serialize)]
struct Kept<'a> {
    clients: Vec<ClientSecret>,
    ledger: &'a Ledger,
}

/// What is read back.
#[derive(Debug, Deserialize)]
pub struct Restored {
    pub clients: Vec<ClientSecret>,
    pub ledger: Ledger,
}

/// The secret that an application has now.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClientSecret {
    pub provider: Provider,
    pub client_id: String,
    pub client_secret: String,
}

impl Archive {
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            written: Mutex::new(0),
        }
    }

    /// What an earlier run left, if there was one.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not one of ours.
    pub fn read(&self) -> io::Result<Option<Restored>> {
        let named = |error: &dyn std::fmt::Display| {
            let path = self.path.display();
            io::Error::other(format!(
                "{path}: {error}: remove it, and the accounts in it are gone"
            ))
        };
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| named(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(named(&error)),
        }
    }

    /// The world as it is; to be taken while nobody else can change it.
    pub fn state(world: &mut World) -> State {
        world.states += 1;
        let kept = Kept {
            clients: world.client_secrets(),
            ledger: &world.ledger,
        };
        State {
            number: world.states,
            text: serde_json::to_string(&kept),
        }
    }

    /// Writes it, unless a later one was written meanwhile.
    pub async fn write(self: &Arc<Self>, state: State) {
        let archive = Arc::clone(self);
        let written = tokio::task::spawn_blocking(move || archive.write_now(&state)).await;
        if let Err(error) = written.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::error!(path = %self.path.display(), %error, "what the simulated providers know is not kept");
        }
    }

    fn write_now(&self, state: &State) -> io::Result<()> {
        let text = state
            .text
            .as_ref()
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < state.number {
            replace(&self.path, text.as_bytes())?;
            *written = state.number;
        }
        Ok(())
    }
}

/// Whole or not at all.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file: File = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(PRIVATE)
        .open(&beside)?;
    // The mode above is only for a new file.
    file.set_permissions(fs::Permissions::from_mode(PRIVATE))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

/// A map whose keys are no text, as a list of pairs.
pub mod pairs {
    use super::{Deserialize, Deserializer, Hash, HashMap, Serialize, Serializer};

    pub fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &HashMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Eq + Hash,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}
