//! `integrations list|show|refresh|revoke`: connected accounts, for the operator.

use std::process::ExitCode;

use clap::Subcommand;
use oauth_manager_actors::{
    domain::{
        Timestamp,
        ids::{IntegrationId, Subject},
        integration::{IntegrationView, Status},
        page::{PAGE_LIMIT_MAX, Page, PageRequest},
        reason::WhoMustAct,
    },
    handle::{Explanation, Filter, OAuthManager},
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
        /// Only those that stand so: pending, active, degraded, reauth_required, paused, revoked.
        #[arg(long, conflicts_with = "user")]
        status: Option<Status>,
        /// Only those whose move this is: user, admin, operator, nobody.
        #[arg(long, conflicts_with = "user")]
        who: Option<WhoMustAct>,
        /// Only those that need somebody.
        #[arg(long, conflicts_with_all = ["user", "status", "who"])]
        troubled: bool,
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
        Command::List {
            user,
            status,
            who,
            troubled,
            limit,
            json,
        } => {
            let which = match user {
                Some(user) => Which::Of(user),
                None if troubled || status.is_some() || who.is_some() => {
                    Which::Filtered(Filter { who, status })
                }
                None => Which::All,
            };
            list(&node.manager, &which, limit, json).await
        }
        Command::Show { id, json } => show(&node.manager, &id, json).await,
        Command::Refresh { id } => refresh(&node.manager, &id).await,
        Command::Revoke { id } => revoke(&node.manager, &id).await,
    };
    node.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

/// Which accounts to list.
enum Which {
    All,
    Of(Subject),
    Filtered(Filter),
}

/// An account of a list; why it is so where that was asked for.
struct Listed {
    user: Subject,
    view: IntegrationView,
    why: Option<Explanation>,
}

async fn list(manager: &OAuthManager, which: &Which, limit: usize, as_json: bool) -> anyhow::Result<()> {
    let mut found: Vec<Listed> = Vec::new();
    let mut page = PageRequest {
        limit: PAGE_LIMIT_MAX,
        after: None,
    };
    loop {
        let next = read(manager, which, page.clone()).await?;
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
            .map(|listed| {
                let mut item = json!({ "user": listed.user, "integration": listed.view });
                if let Some(why) = &listed.why {
                    item["explanation"] = json!(why);
                }
                item
            })
            .collect();
        return output::json(&items);
    }
    let rows = found.iter().map(|listed| {
        let view = &listed.view;
        let mut row = vec![
            view.id.to_string(),
            listed.user.to_string(),
            view.status.as_str().to_owned(),
            view.status_reason
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            time(view.next_refresh_at).unwrap_or_default(),
        ];
        if let Some(why) = &listed.why {
            row.push(why.who_must_act.as_str().to_owned());
            row.push(why.because.clone());
        }
        row
    });
    let rows = rows.collect::<Vec<_>>();
    let header = ["ID", "USER", "STATUS", "REASON", "NEXT REFRESH", "WHO", "WHY"];
    let columns = if matches!(which, Which::Filtered(_)) { 7 } else { 5 };
    output::table(&header[..columns], &rows);
    Ok(())
}

async fn read(manager: &OAuthManager, which: &Which, page: PageRequest) -> anyhow::Result<Page<Listed>> {
    let plain = |(user, view)| Listed {
        user,
        view,
        why: None,
    };
    Ok(match which {
        Which::Of(user) => manager
            .integrations(user, page)
            .await?
            .map(|view| plain((user.clone(), view))),
        Which::All => manager.integrations_of_all(page).await?.map(plain),
        Which::Filtered(filter) => manager
            .accounts_wanting(filter.clone(), page)
            .await?
            .map(|account| Listed {
                user: account.user,
                view: account.view,
                why: Some(account.explanation),
            }),
    })
}

async fn show(manager: &OAuthManager, id: &IntegrationId, as_json: bool) -> anyhow::Result<()> {
    let account = manager.account(id).await?;
    let explained = &account.explained;
    let (view, why) = (&explained.view, &explained.explanation);
    if as_json {
        return output::json(&json!({
            "user": explained.user,
            "integration": view,
            "explanation": why,
            "failures": account.failures,
            "history": account.history,
        }));
    }
    let or_never = |at| time(at).unwrap_or_else(|| "-".to_owned());
    println!("id                 {}", view.id);
    println!("user               {}", explained.user);
    println!("account            {}", view.account.id);
    println!("status             {}", view.status.as_str());
    if let Some(reason) = &view.status_reason {
        println!("reason             {reason}");
    }
    println!("since              {:.0}", why.since);
    println!("state              {}", why.state);
    println!("because            {}", why.because);
    println!("what happens next  {}", why.what_happens_next);
    println!("when               {}", or_never(why.when));
    println!(
        "who must act       {}: {}",
        why.who_must_act.as_str(),
        why.what_they_do
    );
    println!("scopes             {}", view.scopes.join(" "));
    println!("connected          {}", or_never(Some(view.created_at)));
    println!("last refreshed     {}", or_never(view.last_refreshed_at));
    println!("token ends         {}", or_never(view.access_token_expires_at));
    println!("next refresh       {}", or_never(view.next_refresh_at));
    println!("failures in a row  {}", account.failures);
    // A running node knows more than the database: it has tried to reach the provider.
    println!(
        "\nSaid of the database alone; a running service also knows whether it holds calls to this provider off:"
    );
    println!("GET /api/v1/oauth/admin/integrations/{}\n", view.id);
    let rows = account.history.iter().map(|row| {
        vec![
            format!("{:.0}", row.at),
            row.action.clone(),
            row.outcome.clone(),
            row.error.as_ref().map(ToString::to_string).unwrap_or_default(),
            row.actor.clone(),
            row.count.to_string(),
        ]
    });
    output::table(
        &["WHEN", "WHAT", "OUTCOME", "ERROR", "BY", "TIMES"],
        &rows.collect::<Vec<_>>(),
    );
    Ok(())
}

fn time(at: Option<Timestamp>) -> Option<String> {
    at.map(|at| format!("{at:.0}"))
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
