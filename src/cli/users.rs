//! `users export|erase`: everything about one user, for the operator.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Subcommand;
use oauth_manager_actors::{
    domain::{
        erasure::ErasureStatus,
        ids::Subject,
        page::{PAGE_LIMIT_MAX, PageRequest},
    },
    handle::OAuthManager,
};

use super::{node::Node, output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Print everything kept about a user, one JSON object a line; never a token.
    Export {
        /// The user, as the application names them.
        subject: Subject,
    },
    /// Take back and delete what is a user's; consents and audit go on under a pseudonym.
    Erase {
        /// The user, as the application names them.
        subject: Subject,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let node = Node::start(config).await?;
    let result = match command {
        Command::Export { subject } => export(&node.manager, &subject).await,
        Command::Erase { subject, json } => erase(&node.manager, &subject, json).await,
    };
    node.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Line by line: however much there is, no more than a page of it is in memory.
async fn export(manager: &OAuthManager, subject: &Subject) -> anyhow::Result<()> {
    let mut page = PageRequest {
        limit: PAGE_LIMIT_MAX,
        after: None,
    };
    loop {
        let found = manager.export_as_operator(subject, page.clone()).await?;
        let mut out = io::stdout().lock();
        for item in &found.items {
            writeln!(out, "{item}")?;
        }
        match found.next {
            Some(next) => page.after = Some(next),
            None => return Ok(()),
        }
    }
}

async fn erase(manager: &OAuthManager, subject: &Subject, as_json: bool) -> anyhow::Result<()> {
    let report = manager.erase_as_operator(subject).await?;
    if as_json {
        return output::json(&report);
    }
    let status = match report.status {
        ErasureStatus::Pending => "pending",
        ErasureStatus::Erased => "erased",
    };
    println!("{status}: {}", report.detail);
    Ok(())
}
