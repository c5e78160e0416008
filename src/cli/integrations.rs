//! `integrations list|show|refresh|revoke`: connected accounts, for the operator.

use std::process::ExitCode;

use clap::Subcommand;
use oauth_manager_actors::{
    domain::{
        ids::{IntegrationId, Subject},
        integration::IntegrationView,
        page::{PAGE_LIMIT_MAX, PageRequest},
    },
    handle::OAuthManager,
};
use serde_json::json;

use super::{node::Node, output};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List connected accounts, newest first.
    List {
        /// Only this user's.
        #[arg(long)]
        user: Option<Subject>,
        /// At most this many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say how one stands, why, and what happens next.
    Show {
        /// Its id.
        id: IntegrationId,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Refresh one now.
    Refresh {
        /// Its id.
        id: IntegrationId,
    },
    /// Take one back: refused here at once, then told to the provider.
    Revoke {
        /// Its id.
        id: IntegrationId,
    },
}

pub(super) async fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    super::quiet_logs();
    let node = Node::start(config).await?;
    let result = match command {
        Command::List { user, limit, json } => list(&node.manager, user.as_ref(), limit, json).await,
        Command::Show { id, json } => show(&node.manager, &id, json).await,
        Command::Refresh { id } => refresh(&node.manager, &id).await,
        Command::Revoke { id } => revoke(&node.manager, &id).await,
    };
    node.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn list(
    manager: &OAuthManager,
    user: Option<&Subject>,
    limit: usize,
    as_json: bool,
) -> anyhow::Result<()> {
    let mut found: Vec<(Subject, IntegrationView)> = Vec::new();
    let mut page = PageRequest {
        limit: PAGE_LIMIT_MAX,
        after: None,
    };
    loop {
        let next = match user {
            Some(user) => manager
                .integrations(user, page.clone())
                .await?
                .map(|view| (user.clone(), view)),
            None => manager.integrations_of_all(page.clone()).await?,
        };
        found.extend(next.items);
        match next.next {
            Some(cursor) if found.len() < limit => page.after = Some(cursor),
            _ => break,
        }
    }
    found.truncate(limit);
    if as_json {
        let items: Vec<_> = found
            .iter()
            .map(|(user, view)| json!({ "user": user, "integration": view }))
            .collect();
        return output::json(&items);
    }
    let rows = found.iter().map(|(user, view)| {
        vec![
            view.id.to_string(),
            user.to_string(),
            view.status.as_str().to_owned(),
            view.status_reason
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            view.next_refresh_at
                .map(|at| format!("{at:.0}"))
                .unwrap_or_default(),
        ]
    });
    output::table(
        &["ID", "USER", "STATUS", "REASON", "NEXT REFRESH"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(())
}

async fn show(manager: &OAuthManager, id: &IntegrationId, as_json: bool) -> anyhow::Result<()> {
    let (user, view) = manager.integration_as_operator(id).await?;
    if as_json {
        return output::json(&json!({ "user": user, "integration": view }));
    }
    let time = |at: Option<oauth_manager_actors::domain::Timestamp>| {
        at.map_or("-".to_owned(), |at| format!("{at:.0}"))
    };
    println!("id                 {}", view.id);
    println!("user               {user}");
    println!("account            {}", view.account.id);
    println!("status             {}", view.status.as_str());
    if let Some(reason) = &view.status_reason {
        println!("why                {reason}");
    }
    println!(
        "who must act       {}",
        view.who_must_act.map_or("nobody", |who| who.as_str())
    );
    println!("scopes             {}", view.scopes.join(" "));
    println!("connected          {}", time(Some(view.created_at)));
    println!("last refreshed     {}", time(view.last_refreshed_at));
    println!("token ends         {}", time(view.access_token_expires_at));
    println!("next refresh       {}", time(view.next_refresh_at));
    Ok(())
}

async fn refresh(manager: &OAuthManager, id: &IntegrationId) -> anyhow::Result<()> {
    let view = manager.refresh_as_operator(id).await.map_err(told)?;
    println!(
        "refreshed {}; its token ends {}",
        view.id,
        view.access_token_expires_at
            .map_or("when the provider says".to_owned(), |at| format!("{at:.0}"))
    );
    Ok(())
}

async fn revoke(manager: &OAuthManager, id: &IntegrationId) -> anyhow::Result<()> {
    let report = manager.revoke_as_operator(id).await.map_err(told)?;
    println!(
        "revoked {id}; at the provider: {}\n{}",
        report.provider_revocation.as_str(),
        report.detail
    );
    Ok(())
}

/// A refusal with whose move it is.
fn told(error: oauth_manager_actors::domain::error::ServiceError) -> anyhow::Error {
    anyhow::anyhow!(
        "{}: {error} (who must act: {})",
        error.code(),
        error.who_must_act().as_str()
    )
}
