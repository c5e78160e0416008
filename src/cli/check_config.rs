//! `check-config`: what the configuration means, without starting anything.

use std::process::ExitCode;

use crate::{app::Assembly, config::Config};

pub(super) fn run(config: &Config) -> anyhow::Result<ExitCode> {
    // Building the parts checks what only they can: addresses, features, certificates.
    let _ = Assembly::new(config)?;
    println!("configuration ok");
    println!("listen       {}", config.server.listen);
    println!("public url   {}", config.server.public_url());
    let configured: Vec<_> = config.configured_providers().map(|(key, _)| key).collect();
    let providers = if configured.is_empty() {
        "none configured".to_owned()
    } else {
        configured.join(", ")
    };
    println!("providers    {providers}");
    let keys: Vec<_> = config
        .encryption
        .keys
        .iter()
        .map(crate::config::EncryptionKey::id)
        .collect();
    println!("keys         {} (first is active)", keys.join(", "));
    Ok(ExitCode::SUCCESS)
}
