//! The `*_file` twin of each secret: the name of a file that holds it, as container platforms mount them.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use figment::value::{Dict, Value};

use super::error::ConfigError;

/// Every secret outside the providers, by section.
const SECRETS: [(&str, &str); 3] = [
    ("database", "url"),
    ("encryption", "keys"),
    ("auth", "hs256_secret"),
];
/// Every secret of a provider.
const PROVIDER_SECRETS: [&str; 2] = ["client_secret", "client_secret_next"];

/// Where providers' secrets were read from: by provider and key, as the layers have it so far.
pub(super) type Origins = BTreeMap<(String, &'static str), PathBuf>;

/// A secret is a line or a few; a larger file was named by mistake.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Replaces each twin in one layer by what its file holds. Within a layer both are an error; a higher layer's twin
/// simply overrides a lower layer's secret.
pub(super) fn resolve(layer: &mut Dict, origins: &mut Origins) -> Result<(), ConfigError> {
    for (section, key) in SECRETS {
        if let Some(Value::Dict(_, table)) = layer.get_mut(section) {
            resolve_key(table, section, key)?;
        }
    }
    for_each_provider(layer, |provider, table| {
        PROVIDER_SECRETS.iter().try_for_each(|key| {
            let origin = (provider.to_owned(), *key);
            match table.get(&format!("{key}_file")).and_then(Value::as_str) {
                Some(file) => drop(origins.insert(origin, PathBuf::from(file))),
                // Given itself, it replaces whatever file a lower layer named.
                None if table.contains_key(*key) => drop(origins.remove(&origin)),
                None => {}
            }
            resolve_key(table, &format!("providers.{provider}"), key)
        })
    })
}

/// Replaces each secret by a marker, for showing the configuration.
pub(super) fn redact(layer: &mut Dict) {
    const MARKER: &str = "[redacted]";
    for (section, key) in SECRETS {
        let Some(Value::Dict(_, table)) = layer.get_mut(section) else {
            continue;
        };
        if let Some(value) = table.get_mut(key) {
            *value = Value::from(MARKER);
        }
    }
    let done = for_each_provider(layer, |_, table| {
        for key in PROVIDER_SECRETS {
            if let Some(value) = table.get_mut(key) {
                *value = Value::from(MARKER);
            }
        }
        Ok(())
    });
    debug_assert!(done.is_ok());
}

/// Reads a secret and takes off the one line end that editors add.
pub(super) fn read(key: &str, path: &str) -> Result<String, ConfigError> {
    let failed = |reason: String| ConfigError::one(key, format!("cannot read {path}: {reason}"));
    let metadata = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if metadata.is_file() && metadata.len() > FILE_BYTES_MAX {
        return Err(failed("larger than any secret".to_owned()));
    }
    let mut text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        Err(failed("it is empty".to_owned()))
    } else {
        Ok(text)
    }
}

fn resolve_key(table: &mut Dict, path: &str, key: &str) -> Result<(), ConfigError> {
    let twin = format!("{key}_file");
    let Some(named) = table.remove(&twin) else {
        return Ok(());
    };
    let full = format!("{path}.{twin}");
    if table.contains_key(key) {
        return Err(ConfigError::one(
            full,
            format!("{key} is given too: give one of them"),
        ));
    }
    let Some(file) = named.as_str() else {
        return Err(ConfigError::one(full, "expected the name of a file"));
    };
    let secret = read(&full, file)?;
    table.insert(key.to_owned(), Value::from(secret));
    Ok(())
}

fn for_each_provider(
    layer: &mut Dict,
    mut act: impl FnMut(&str, &mut Dict) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let Some(Value::Dict(_, providers)) = layer.get_mut("providers") else {
        return Ok(());
    };
    for (name, provider) in providers {
        if let Value::Dict(_, table) = provider {
            act(name, table)?;
        }
    }
    Ok(())
}
