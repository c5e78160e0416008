//! `clients create|list|revoke`.

use std::{collections::BTreeSet, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Subcommand;
use oauth_manager_actors::{
    domain::{
        client::{Allow, Policy},
        reach::words_of_feature,
        sealed::DigestPurpose,
    },
    ports::{store::ClientStore, vault::Vault as _},
};
use serde_json::json;

use super::output;
use crate::{
    app::{Assembly, new_credential, prepare_within},
    config::Config,
};

/// Longest name of a client.
const NAME_MAX_CHARS: usize = 64;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a client and print its credential, once.
    Create {
        /// Its name, unique; appears in the audit.
        name: String,
        /// What it may receive: PROVIDER:FEATURE, `*` for any; may be given several times. `google:calendar` is the feature
        /// in all its levels, `google:calendar.read` looking only. A token that carries more is not handed to it:
        /// `google:*` allows any.
        #[arg(long, value_name = "PROVIDER:FEATURE")]
        allow: Vec<Allow>,
        /// It is an application: it may open sessions for its users, and confirms who sits before the browser.
        #[arg(long)]
        sessions: bool,
        /// It is an administrator's.
        #[arg(long)]
        admin: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List clients and their policies.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a client: every credential of it.
    Revoke {
        /// Its name.
        name: String,
    },
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let assembly = Assembly::new(config)?;
    prepare_within(&assembly, Duration::from_secs(15)).await?;
    match command {
        Command::Create {
            name,
            allow,
            sessions,
            admin,
            json,
        } => {
            create(
                &assembly,
                &name,
                Policy {
                    allow,
                    sessions,
                    admin,
                },
                json,
            )
            .await
        }
        Command::List { json } => list(&assembly, json).await,
        Command::Revoke { name } => revoke(&assembly, &name).await,
    }
}

async fn create(assembly: &Assembly, name: &str, policy: Policy, as_json: bool) -> anyhow::Result<ExitCode> {
    let well_formed = !name.is_empty()
        && name.len() <= NAME_MAX_CHARS
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    anyhow::ensure!(
        well_formed,
        "NAME: letters, digits, '-', '_' and '.', at most {NAME_MAX_CHARS}"
    );
    anyhow::ensure!(
        !policy.allow.is_empty() || policy.sessions || policy.admin,
        "a client without --allow, --sessions or --admin could do nothing: give it at least one"
    );
    for allow in &policy.allow {
        known(assembly, allow)?;
    }
    let credential = new_credential();
    let digest = assembly
        .vault
        .digest(DigestPurpose::ServiceCredential, credential.expose());
    assembly
        .storage
        .create(name, &digest, &policy)
        .await
        .with_context(|| format!("client {name}"))?;
    if as_json {
        output::json(&json!({ "name": name, "token": credential.expose() }))?;
    } else {
        println!("name   {name}\ntoken  {}\n", credential.expose());
        println!("The token is shown this once; only its digest is kept.");
    }
    Ok(ExitCode::SUCCESS)
}

/// A policy for something that does not exist is a typing mistake that would be noticed at 3 a.m.
fn known(assembly: &Assembly, allow: &Allow) -> anyhow::Result<()> {
    use oauth_manager_actors::ports::oauth::OAuth as _;
    let Some(key) = &allow.provider else { return Ok(()) };
    let providers = assembly.engine.providers();
    let Some(provider) = providers.iter().find(|provider| provider.key == *key) else {
        let names: Vec<_> = providers.iter().map(|provider| provider.key.as_str()).collect();
        anyhow::bail!(
            "--allow {allow}: there is no provider {key}; there are {}",
            names.join(", ")
        );
    };
    let words: BTreeSet<String> = provider
        .features
        .iter()
        .flat_map(|feature| words_of_feature(provider, feature))
        .collect();
    if let Some(name) = &allow.feature
        && !words.contains(name)
    {
        let names: Vec<_> = words.into_iter().collect();
        anyhow::bail!(
            "--allow {allow}: {key} has no feature {name}; it has {}",
            names.join(", ")
        );
    }
    Ok(())
}

async fn list(assembly: &Assembly, as_json: bool) -> anyhow::Result<ExitCode> {
    let clients = ClientStore::list(&assembly.storage).await?;
    if as_json {
        output::json(&clients)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = clients.iter().map(|client| {
        let mut may: Vec<String> = client.policy.allow.iter().map(Allow::to_string).collect();
        may.extend(client.policy.sessions.then(|| "sessions".to_owned()));
        may.extend(client.policy.admin.then(|| "admin".to_owned()));
        let state = client
            .revoked_at
            .map_or("live".to_owned(), |at| format!("revoked {at:.0}"));
        vec![
            client.name.clone(),
            may.join(" "),
            state,
            format!("{:.0}", client.created_at),
        ]
    });
    output::table(&["NAME", "MAY", "STATE", "CREATED"], &rows.collect::<Vec<_>>());
    Ok(ExitCode::SUCCESS)
}

async fn revoke(assembly: &Assembly, name: &str) -> anyhow::Result<ExitCode> {
    if ClientStore::revoke(&assembly.storage, name).await? {
        println!("revoked {name}; running nodes refuse it within seconds");
        return Ok(ExitCode::SUCCESS);
    }
    anyhow::bail!("there is no live client {name}")
}
