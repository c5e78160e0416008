//! `users export|erase`: everything about one user, for the operator.

use std::{
    io::{self, IsTerminal as _, Write as _},
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
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    if let Command::Erase { yes: false, .. } = command
        && !io::stdin().is_terminal()
    {
        anyhow::bail!("erasing cannot be undone, and there is no terminal to ask on: say --yes");
    }
    let node = Node::start(config).await?;
    let result = match command {
        Command::Export { subject } => export(&node.manager, &subject).await,
        Command::Erase { subject, yes, json } => erase(&node.manager, &subject, yes, json).await,
    };
    node.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Line by line: however much there is, no more than a page of it is in memory.
async fn export(manager: &OAuthManager, subject: &Subject) -> anyhow::Result<()> {
    known(manager, subject).await?;
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

async fn erase(manager: &OAuthManager, subject: &Subject, yes: bool, as_json: bool) -> anyhow::Result<()> {
    known(manager, subject).await?;
    if !yes && !is_meant(subject)? {
        anyhow::bail!("nothing was erased");
    }
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

/// A name that was mistyped is told, instead of done nothing for.
async fn known(manager: &OAuthManager, subject: &Subject) -> anyhow::Result<()> {
    if manager.knows_as_operator(subject).await? {
        return Ok(());
    }
    anyhow::bail!("no such user: nothing is kept about {subject}")
}

fn is_meant(subject: &Subject) -> anyhow::Result<bool> {
    eprint!(
        "Everything of {subject} is erased: accounts are taken back at their providers, and nothing of it can be undone. \
         Type \"yes\" to go on: "
    );
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
