//! Making the database ready: schema, key check, catalogue. Retried for as long as Postgres is away; until it is done,
//! nothing else gets a connection.

use std::time::Duration;

use oauth_manager_actors::{
    handle::OAuthManager,
    ports::{
        oauth::OAuth as _,
        store::{RecordStore as _, StoreError},
    },
};

use super::Assembly;
use crate::{
    storage::{ConnectionProblem, KeyCheck, MigrationError},
    vault::check::{self, KeyCheckError},
};

/// First pause between tries; doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause between tries: how late a returned Postgres is noticed at most.
const PAUSE_MAX: Duration = Duration::from_secs(3);

/// Pause between looks for rows that need a key that is not configured.
const MISSING_KEYS_PAUSE: Duration = Duration::from_secs(60);

/// Ids of keys that rows need and that are not configured.
pub type MissingKeys = Vec<String>;

/// The database can be reached, and this program must not work with it. One line for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// Its schema.
    #[error("database: {0}")]
    Schema(MigrationError),
    /// How it is reached.
    #[error("database.url: {0}")]
    Connection(ConnectionProblem),
    /// Its keys.
    #[error("encryption.keys: {0}")]
    Key(KeyCheckError),
    /// Its keys, none of which is configured.
    #[error(
        "encryption.keys: this database was sealed with other keys than the configured ones, {0} among them"
    )]
    OtherKeys(String),
    /// It is not there, and whoever asks does not wait.
    #[error("database.url: {0}")]
    Away(StoreError),
}

enum Obstacle {
    Passing(String),
    Final(Unusable),
}

/// Makes the database ready, waiting for it as long as it takes.
///
/// # Errors
/// It is there, and not one this program can work with.
pub async fn prepare(assembly: &Assembly) -> Result<MissingKeys, Unusable> {
    let mut pause = PAUSE_MIN;
    loop {
        match attempt(assembly).await {
            Ok(missing) => return Ok(missing),
            Err(Obstacle::Final(unusable)) => return Err(unusable),
            Err(Obstacle::Passing(reason)) => {
                tracing::warn!(
                    reason,
                    retry_in_ms = pause.as_millis(),
                    "waiting for Postgres (database.url)"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// The same for a command that does not wait forever.
///
/// # Errors
/// It is not there in time, or not one this program can work with.
pub async fn prepare_within(assembly: &Assembly, patience: Duration) -> Result<MissingKeys, Unusable> {
    match tokio::time::timeout(patience, prepare(assembly)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(Unusable::Away(StoreError::Unavailable(
            "no answer in time".into(),
        ))),
    }
}

/// For a command that makes the schema ready itself: whether the database can be worked with at all.
///
/// # Errors
/// It is not there, or not reached as it must be.
pub async fn check_connection(assembly: &Assembly) -> Result<(), Unusable> {
    assembly
        .storage
        .check_connection()
        .await
        .map_err(|problem| match problem {
            ConnectionProblem::Away(error) => Unusable::Away(error),
            other => Unusable::Connection(other),
        })
}

async fn attempt(assembly: &Assembly) -> Result<MissingKeys, Obstacle> {
    let storage = &assembly.storage;
    storage
        .check_connection()
        .await
        .map_err(|problem| match problem {
            ConnectionProblem::Away(StoreError::Unavailable(reason)) => Obstacle::Passing(reason),
            other => Obstacle::Final(Unusable::Connection(other)),
        })?;
    let applied = storage.migrate().await.map_err(|error| match error {
        MigrationError::Store(StoreError::Unavailable(reason)) => Obstacle::Passing(reason),
        other => Obstacle::Final(Unusable::Schema(other)),
    })?;
    for migration in applied {
        tracing::info!(
            version = migration.version,
            name = migration.name,
            "schema migrated"
        );
    }
    check_keys(assembly).await?;
    let missing = missing_keys(assembly)
        .await
        .map_err(|error| Obstacle::Passing(error.to_string()))?;
    // Before anybody is served: our own clock may be minutes off.
    assembly.clock.sample(storage).await;
    storage.admit();
    storage
        .seed_catalogue(assembly.engine.providers())
        .await
        .map_err(|error| Obstacle::Passing(error.to_string()))?;
    if let Ok(false) = storage.row_security_binds().await {
        tracing::warn!(
            "database.url connects as a role that row-level security does not bind: give the service a role that is neither \
             superuser nor BYPASSRLS, so that the database itself keeps users apart"
        );
    }
    tracing::info!("the database is ready");
    Ok(missing)
}

/// Keys that rows were sealed with and still need, and that are not configured here. A key leaves its check value behind
/// when it is retired, so only those can be missing, and where all are configured no row is looked at.
async fn missing_keys(assembly: &Assembly) -> Result<MissingKeys, StoreError> {
    let mut missing = Vec::new();
    for stored in assembly.storage.key_checks().await? {
        let configured = assembly.vault.keyring().ids().any(|id| id == stored.key_id);
        if !configured && assembly.storage.needs_key(&stored.key_id).await? {
            tracing::error!(
                key.id = stored.key_id,
                "accounts are sealed with a key that is not configured: add it to encryption.keys, after the active one. \
                 Until then their tokens cannot be opened, and this node says that it is not ready"
            );
            missing.push(stored.key_id);
        }
    }
    Ok(missing)
}

/// Looks again from time to time while keys are missing: another node may be re-wrapping what they sealed.
pub(super) async fn await_keys(assembly: &Assembly, manager: &OAuthManager, missing: MissingKeys) {
    let mut missing = missing;
    while !missing.is_empty() {
        tokio::time::sleep(MISSING_KEYS_PAUSE).await;
        if let Ok(now) = missing_keys(assembly).await {
            missing = now;
            manager.keys_missing(!missing.is_empty());
        }
    }
}

/// Every key whose check value is stored must prove itself; a key seen for the first time leaves one.
async fn check_keys(assembly: &Assembly) -> Result<(), Obstacle> {
    let passing = |error: StoreError| Obstacle::Passing(error.to_string());
    let wrong = |error: KeyCheckError| Obstacle::Final(Unusable::Key(error));
    let keyring = assembly.vault.keyring();
    let stored = assembly.storage.key_checks().await.map_err(passing)?;
    if let Some(known) = stored.first()
        && !stored
            .iter()
            .any(|stored| keyring.ids().any(|id| id == stored.key_id))
    {
        return Err(Obstacle::Final(Unusable::OtherKeys(known.key_id.clone())));
    }
    for id in keyring.ids() {
        let check_value = check::make(keyring, id).map_err(wrong)?;
        assembly
            .storage
            .add_key_check(&KeyCheck {
                key_id: id.to_owned(),
                check_value,
            })
            .await
            .map_err(passing)?;
    }
    for stored in assembly.storage.key_checks().await.map_err(passing)? {
        // A key that was retired after its rows were re-wrapped leaves its check value behind; a row that still needs
        // it says so when it is opened.
        if keyring.ids().any(|id| id == stored.key_id) {
            check::verify(keyring, &stored.key_id, &stored.check_value).map_err(wrong)?;
        }
    }
    Ok(())
}
