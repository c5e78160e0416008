//! `check-config`: what the configuration means, without starting anything; with `--online`, whether the providers are what it
//! says they are.

use std::process::ExitCode;

use clap::Args as Arguments;

use super::online;
use crate::{
    app::{Assembly, Exit},
    config::Config,
};

#[derive(Debug, Arguments)]
pub(super) struct Args {
    /// Fetch each configured provider's discovery document and keys, and say what is the matter with them.
    #[arg(long)]
    online: bool,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<ExitCode> {
    // Building the parts checks what only they can: addresses, features, certificates.
    let assembly = Assembly::new(config)?;
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
    if !args.online {
        return Ok(ExitCode::SUCCESS);
    }
    let mut is_well = true;
    for (key, tried) in online::try_out(&assembly.engine).await {
        is_well &= tried.is_ok();
        println!("online       {key}: {}", online::told(&tried));
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        Exit::Unusable.into()
    })
}
