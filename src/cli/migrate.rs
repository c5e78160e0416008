//! `migrate`: the schema, brought up to date.

use std::process::ExitCode;

use anyhow::Context as _;

use crate::{
    app::{self, Assembly},
    config::Config,
};

pub(super) async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let assembly = Assembly::new(config)?;
    app::check_connection(&assembly).await?;
    let applied = assembly.storage.migrate().await.context("database")?;
    for migration in &applied {
        println!("applied {:04} {}", migration.version, migration.name);
    }
    let version = assembly.storage.current_version().await.context("database")?;
    println!(
        "schema version {version}{}",
        if applied.is_empty() {
            ", already up to date"
        } else {
            ""
        }
    );
    Ok(ExitCode::SUCCESS)
}
