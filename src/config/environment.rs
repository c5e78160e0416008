//! The process environment, as a layer of the configuration. It is passed in, so that tests never touch the real one.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

use super::encryption::DEFAULT_KEY_ID;
use super::error::ConfigError;
use super::files;
use super::provider::BUILT_IN;

/// How our variables begin; `OAUTH_MANAGER_CONFIG`, which names the file, does not.
pub const PREFIX: &str = "OAUTH_MANAGER__";

/// Where variables come from.
pub trait Environment {
    /// All of them.
    fn vars(&self) -> BTreeMap<String, String>;
}

/// The real one. Variables that are not Unicode are not ours.
#[derive(Debug, Clone, Copy)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn vars(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        std::env::vars_os().filter_map(text).collect()
    }
}

impl Environment for BTreeMap<String, String> {
    fn vars(&self) -> BTreeMap<String, String> {
        self.clone()
    }
}

/// The names that are honoured besides our own: those that platforms and provider guides use.
pub(super) fn well_known(vars: &BTreeMap<String, String>) -> Result<Dict, ConfigError> {
    let mut layer = Dict::new();
    let mut take = |name: &str, path: &[&str]| -> Result<Option<String>, ConfigError> {
        let Some(value) = value_or_file(vars, name)? else {
            return Ok(None);
        };
        insert(&mut layer, path, value.clone());
        Ok(Some(value))
    };
    take("DATABASE_URL", &["database", "url"])?;
    let several = take("OAUTH_ENCRYPTION_KEYS", &["encryption", "keys"])?;
    for provider in BUILT_IN {
        let name = provider.to_ascii_uppercase();
        take(
            &format!("{name}_CLIENT_ID"),
            &["providers", provider, "client_id"],
        )?;
        take(
            &format!("{name}_CLIENT_SECRET"),
            &["providers", provider, "client_secret"],
        )?;
    }
    if let Some(key) = value_or_file(vars, "OAUTH_ENCRYPTION_KEY")? {
        if several.is_some() {
            let message = "OAUTH_ENCRYPTION_KEY and OAUTH_ENCRYPTION_KEYS are both set: set one";
            return Err(ConfigError::one("encryption.keys", message));
        }
        let key = if key.contains(':') {
            key
        } else {
            format!("{DEFAULT_KEY_ID}:{key}")
        };
        insert(&mut layer, &["encryption", "keys"], key);
    }
    Ok(layer)
}

/// The files that hold the well-known secrets of providers: they are looked at again when a provider no longer takes what
/// they held.
pub(super) fn well_known_files(vars: &BTreeMap<String, String>) -> files::Origins {
    let file_of = |provider: &str| {
        let name = format!("{}_CLIENT_SECRET_FILE", provider.to_ascii_uppercase());
        vars.get(&name).filter(|file| !file.is_empty())
    };
    let found = BUILT_IN
        .into_iter()
        .filter_map(|provider| Some((provider, file_of(provider)?)));
    found
        .map(|(provider, file)| ((provider.to_owned(), "client_secret"), file.into()))
        .collect()
}

/// `OAUTH_MANAGER__SECTION__KEY` for every key.
pub(super) fn prefixed(vars: &BTreeMap<String, String>) -> Result<Dict, ConfigError> {
    let mut layer = Dict::new();
    for (name, value) in vars {
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let lower = rest.to_ascii_lowercase();
        let mut path: Vec<String> = lower.split("__").map(str::to_owned).collect();
        if let [section, provider, inner @ ..] = path.as_mut_slice()
            && section == "providers"
        {
            // Shells know no dash in a name, provider keys no underscore.
            *provider = provider.replace('_', "-");
            if let [map, feature] = inner {
                // Nor a dot: the provider's name before a feature's is understood.
                if map == "features" && !feature.contains('.') {
                    *feature = format!("{provider}.{feature}");
                }
            }
        }
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        if path.len() < 2 || path.contains(&"") || !insert(&mut layer, &path, value.clone()) {
            return Err(ConfigError::one(
                name.as_str(),
                "expected a name such as OAUTH_MANAGER__SECTION__KEY",
            ));
        }
    }
    Ok(layer)
}

/// The variable, or the content of the file that its `_FILE` twin names. Empty counts as unset: compose files pass
/// variables on whether they have a value or not.
fn value_or_file(vars: &BTreeMap<String, String>, name: &str) -> Result<Option<String>, ConfigError> {
    let get = |name: &str| vars.get(name).filter(|value| !value.is_empty());
    let twin = format!("{name}_FILE");
    match (get(name), get(&twin)) {
        (Some(_), Some(_)) => Err(ConfigError::one(
            name,
            format!("{name} and {twin} are both set: set one"),
        )),
        (Some(value), None) => Ok(Some(value.clone())),
        (None, Some(path)) => files::read(&twin, path).map(Some),
        (None, None) => Ok(None),
    }
}

/// Puts a value below nested tables; false if a value is where a table should be.
fn insert(table: &mut Dict, path: &[&str], value: String) -> bool {
    match path {
        [] => false,
        [key] => table.insert((*key).to_owned(), Value::from(value)).is_none(),
        [key, rest @ ..] => {
            let inner = table
                .entry((*key).to_owned())
                .or_insert_with(|| Value::from(Dict::new()));
            match inner {
                Value::Dict(_, inner) => insert(inner, rest, value),
                _ => false,
            }
        }
    }
}
