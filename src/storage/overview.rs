//! What an operator asks of the whole. Every statement here is bounded by an index or asked by hand.

use async_trait::async_trait;
use tokio_postgres::Row;

use oauth_manager_actors::{
    domain::{
        audit::AuditView,
        ids::{IntegrationId, Subject},
        integration::Status,
        page::{Page, PageRequest},
    },
    ports::store::{
        AccountsOf, Census, Inspected, KeyUsage, OverviewStore, StoreError, StoreResult, Wanting,
    },
};

use super::{
    Storage,
    cursor::{self, Cursor},
    records,
    row::{self, Record, integration_columns},
};

/// Read from the index `oauth_integrations_census` alone.
const CENSUS: &str =
    "SELECT provider, status, count(*) AS accounts FROM oauth_integrations GROUP BY provider, status";
/// Counted up to a bound: how much is too much is seen without counting all of it.
const BACKLOG: &str = "\
SELECT count(*) AS due, min(due.next_refresh_at) AS since FROM (
    SELECT next_refresh_at FROM oauth_tokens
    WHERE next_refresh_at <= now() AND (claim_until IS NULL OR claim_until <= now())
    ORDER BY next_refresh_at LIMIT 100000) AS due";
const INSPECT: &str = concat!(
    "SELECT ",
    integration_columns!(),
    ", i.status_since FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.id = $1 AND i.provider = $2"
);
/// By the index `oauth_integrations_troubled`, whose condition is repeated here.
const TROUBLED: &str = concat!(
    "SELECT ",
    integration_columns!(),
    ", i.status_since FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.status IN ('pending', 'degraded', 'reauth_required', 'paused') \
        AND ($1::text IS NULL OR i.status = $1) \
        AND CASE WHEN $2::text IS NULL THEN $1::text IS NOT NULL OR coalesce(i.who_must_act, 'nobody') <> 'nobody' \
            ELSE coalesce(i.who_must_act, 'nobody') = $2 END \
        AND (i.created_at, i.id) < ($3, $4) \
     ORDER BY i.created_at DESC, i.id DESC LIMIT $5"
);
/// By the index `oauth_integrations_newest`, past all that stand otherwise.
const OF_STATUS: &str = concat!(
    "SELECT ",
    integration_columns!(),
    ", i.status_since FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id \
     WHERE i.status = $1 AND ($2::text IS NULL OR coalesce(i.who_must_act, 'nobody') = $2) \
        AND (i.created_at, i.id) < ($3, $4) \
     ORDER BY i.created_at DESC, i.id DESC LIMIT $5"
);
/// By the index of a user's audit: a user has few accounts.
const HISTORY: &str = "\
SELECT id, at, actor, action, outcome, provider, integration_id, authorization_id, scopes, error, count, request_id,
    ip, user_agent
FROM oauth_audit_log
WHERE subject = $1 AND integration_id = $2
ORDER BY at DESC, id DESC LIMIT $3";
/// A wrapped key begins with a version, the length of its key's id, and the id.
const KEY_USAGE: &str = "\
SELECT convert_from(substring(data_key FROM 3 FOR get_byte(data_key, 1)), 'UTF8') AS key_id, count(*) AS data_keys
FROM oauth_tokens WHERE data_key IS NOT NULL GROUP BY 1 ORDER BY 1";
const NEEDS_KEY: &str = "\
SELECT 1 FROM oauth_tokens
WHERE data_key IS NOT NULL AND substring(data_key FROM 3 FOR get_byte(data_key, 1)) = convert_to($1, 'UTF8') LIMIT 1";

impl Storage {
    /// Whether a row still needs the key of this id. Looks at every row if none does.
    ///
    /// # Errors
    /// The database fails.
    pub async fn needs_key(&self, key_id: &str) -> StoreResult<bool> {
        self.within("overview.needs_key", async {
            let client = self.setup().await?;
            Ok(client.query_opt(NEEDS_KEY, &[&key_id]).await?.is_some())
        })
        .await
    }

    async fn count_all(&self) -> StoreResult<Census> {
        let client = self.system().await?;
        let accounts = client.query(CENSUS, &[]).await?;
        let backlog = client.query(BACKLOG, &[]).await?;
        let backlog = backlog.first().ok_or_else(|| unreadable("oauth_tokens"))?;
        Ok(Census {
            accounts: accounts.iter().map(accounts_of).collect::<StoreResult<_>>()?,
            due: number(backlog, "oauth_tokens", "due")?,
            due_since: backlog.try_get("since").map_err(|_| unreadable("oauth_tokens"))?,
        })
    }

    async fn inspect_one(&self, id: &IntegrationId) -> StoreResult<Option<Inspected>> {
        let client = self.system().await?;
        let row = client
            .query_opt(INSPECT, &[&id.uuid, &id.provider.as_str()])
            .await?;
        row.as_ref().map(inspected).transpose()
    }

    async fn list_wanting(&self, wanting: &Wanting, page: &PageRequest) -> StoreResult<Page<Inspected>> {
        let after = Cursor::of(page)?;
        let (status, who) = (
            wanting.status.map(Status::as_str),
            wanting
                .who
                .map(oauth_manager_actors::domain::reason::WhoMustAct::as_str),
        );
        let statement = match wanting.status {
            Some(Status::Active | Status::Revoked) => OF_STATUS,
            None | Some(Status::Pending | Status::Degraded | Status::ReauthRequired | Status::Paused) => {
                TROUBLED
            }
        };
        let transaction = self.system().await?.begin_listing().await?;
        let rows = transaction
            .query(
                statement,
                &[&status, &who, &after.at, &after.id, &cursor::rows_wanted(page)],
            )
            .await?;
        transaction.commit().await?;
        let items = rows.iter().map(inspected).collect::<StoreResult<Vec<_>>>()?;
        Ok(cursor::page(page, items, |item| Cursor {
            at: item.integration.created_at,
            id: item.integration.id.uuid,
        }))
    }

    async fn history_of(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        limit: u32,
    ) -> StoreResult<Vec<AuditView>> {
        let client = self.system().await?;
        let rows = client
            .query(HISTORY, &[&owner.as_str(), &id.uuid, &i64::from(limit)])
            .await?;
        rows.iter().map(records::audit_view).collect()
    }

    async fn usage_of_keys(&self) -> StoreResult<Vec<KeyUsage>> {
        let client = self.system().await?;
        let rows = client.query(KEY_USAGE, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(KeyUsage {
                    key_id: row.try_get("key_id").map_err(|_| unreadable("oauth_tokens"))?,
                    data_keys: number(row, "oauth_tokens", "data_keys")?,
                })
            })
            .collect()
    }
}

fn inspected(row: &Row) -> StoreResult<Inspected> {
    Ok(Inspected {
        since: Record::of("oauth_integrations", row)?.get("status_since")?,
        integration: row::integration(row)?,
    })
}

fn accounts_of(row: &Row) -> StoreResult<AccountsOf> {
    let text = |column| {
        row.try_get::<_, &str>(column)
            .map_err(|_| unreadable("oauth_integrations"))
    };
    Ok(AccountsOf {
        provider: text("provider")?
            .parse()
            .map_err(|_| unreadable("oauth_integrations"))?,
        status: text("status")?
            .parse()
            .map_err(|_| unreadable("oauth_integrations"))?,
        count: number(row, "oauth_integrations", "accounts")?,
    })
}

fn number(row: &Row, table: &'static str, column: &str) -> StoreResult<u64> {
    row.try_get::<_, i64>(column)
        .ok()
        .and_then(|number| u64::try_from(number).ok())
        .ok_or_else(|| unreadable(table))
}

fn unreadable(table: &'static str) -> StoreError {
    StoreError::Inconsistent {
        table,
        id: "-".into(),
        detail: "a count cannot be read".into(),
    }
}

// === impl OverviewStore ===

#[async_trait]
impl OverviewStore for Storage {
    async fn census(&self) -> StoreResult<Census> {
        self.within("overview.census", self.count_all()).await
    }

    async fn inspect(&self, id: &IntegrationId) -> StoreResult<Option<Inspected>> {
        self.within("overview.inspect", self.inspect_one(id)).await
    }

    async fn wanting(&self, wanting: &Wanting, page: &PageRequest) -> StoreResult<Page<Inspected>> {
        self.within("overview.wanting", self.list_wanting(wanting, page))
            .await
    }

    async fn history(&self, owner: &Subject, id: &IntegrationId, limit: u32) -> StoreResult<Vec<AuditView>> {
        self.within("overview.history", self.history_of(owner, id, limit))
            .await
    }

    async fn key_usage(&self) -> StoreResult<Vec<KeyUsage>> {
        self.within("overview.key_usage", self.usage_of_keys()).await
    }
}
