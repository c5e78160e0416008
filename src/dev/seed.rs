//! Fills a database with connected accounts, as many as a benchmark wants: rows as the service writes them, sealed with
//! its keys, copied in bulk. For benchmarks and tests of size alone; the audit knows nothing of these accounts.

use std::time::Duration;

use anyhow::Context as _;
use futures_util::pin_mut;
use oauth_manager_actors::{
    domain::{
        Timestamp,
        ids::{IntegrationId, ProviderKey, UserId},
        sealed::{KeyContext, SealContext, SealedColumn},
    },
    ports::vault::Vault as _,
};
use tokio_postgres::{
    Client,
    binary_copy::BinaryCopyInWriter,
    types::{ToSql, Type},
};
use uuid::Uuid;

use crate::vault::RingVault;

/// Accounts copied at once: enough that the round trips do not matter, few enough to stay small in memory.
const CHUNK: usize = 20_000;

const USERS: &str = "COPY users (id, subject) FROM STDIN BINARY";
const INTEGRATIONS: &str = "\
COPY oauth_integrations (id, user_id, subject, provider, provider_user_id, status, scopes, features)
FROM STDIN BINARY";
const TOKENS: &str = "\
COPY oauth_tokens (integration_id, subject, provider, generation, data_key, access_token, refresh_token, token_type,
    issued_at, expires_at, next_refresh_at, last_used_at)
FROM STDIN BINARY";

/// What to fill in.
#[derive(Debug, Clone)]
pub struct Seed {
    /// At which provider.
    pub provider: ProviderKey,
    /// How many accounts, each of a user of its own.
    pub accounts: usize,
    /// The scopes granted to each.
    pub scopes: Vec<String>,
    /// The features switched on for each.
    pub features: Vec<String>,
    /// This moment.
    pub now: Timestamp,
    /// How long the access tokens live from now.
    pub token_life: Duration,
    /// The first refresh falls due this long from now…
    pub due_first: Duration,
    /// …and the last this long; the others are spread between the two.
    pub due_last: Duration,
}

struct Account {
    id: IntegrationId,
    user: UserId,
    subject: String,
    due_at: Timestamp,
}

/// Fills in what is wanted; returns the accounts. The schema must be there, and the client's role one that row-level
/// security does not bind: it allows no copying.
///
/// # Errors
/// The database fails, or the keys do not seal.
pub async fn seed(client: &Client, vault: &RingVault, seed: &Seed) -> anyhow::Result<Vec<IntegrationId>> {
    // Nobody misses these rows after a crash.
    let session = "SET synchronous_commit = off";
    client.batch_execute(session).await.context("session")?;
    let mut ids = Vec::with_capacity(seed.accounts);
    while ids.len() < seed.accounts {
        let first = ids.len();
        let accounts: Vec<_> = (first..seed.accounts.min(first + CHUNK))
            .map(|n| account(seed, n))
            .collect();
        copy_users(client, &accounts).await.context("users")?;
        copy_integrations(client, seed, &accounts)
            .await
            .context("integrations")?;
        copy_tokens(client, vault, seed, &accounts)
            .await
            .context("tokens")?;
        ids.extend(accounts.into_iter().map(|account| account.id));
    }
    let statistics = "ANALYZE users; ANALYZE oauth_integrations; ANALYZE oauth_tokens";
    client.batch_execute(statistics).await.context("statistics")?;
    Ok(ids)
}

fn account(seed: &Seed, n: usize) -> Account {
    let spread = seed.due_last.saturating_sub(seed.due_first);
    let share = n as f64 / seed.accounts as f64;
    Account {
        id: IntegrationId::new(seed.provider.clone(), Uuid::now_v7()),
        user: UserId(Uuid::now_v7()),
        subject: format!("seed-{n}"),
        due_at: seed.now + seed.due_first + spread.mul_f64(share),
    }
}

async fn copy_users(client: &Client, accounts: &[Account]) -> anyhow::Result<()> {
    let sink = client.copy_in(USERS).await?;
    let writer = BinaryCopyInWriter::new(sink, &[Type::UUID, Type::TEXT]);
    pin_mut!(writer);
    for account in accounts {
        writer
            .as_mut()
            .write(&[&account.user.0, &account.subject])
            .await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_integrations(client: &Client, seed: &Seed, accounts: &[Account]) -> anyhow::Result<()> {
    let sink = client.copy_in(INTEGRATIONS).await?;
    let text = Type::TEXT;
    let types = [
        Type::UUID,
        Type::UUID,
        text.clone(),
        text.clone(),
        text.clone(),
        text,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ];
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for account in accounts {
        let row: [&(dyn ToSql + Sync); 8] = [
            &account.id.uuid,
            &account.user.0,
            &account.subject,
            &seed.provider.as_str(),
            &account.subject,
            &"active",
            &seed.scopes,
            &seed.features,
        ];
        writer.as_mut().write(&row).await?;
    }
    writer.finish().await?;
    Ok(())
}

async fn copy_tokens(
    client: &Client,
    vault: &RingVault,
    seed: &Seed,
    accounts: &[Account],
) -> anyhow::Result<()> {
    let sink = client.copy_in(TOKENS).await?;
    let (time, bytes) = (Type::TIMESTAMPTZ, Type::BYTEA);
    let types = [
        Type::UUID,
        Type::TEXT,
        Type::TEXT,
        Type::INT8,
        bytes.clone(),
        bytes.clone(),
        bytes,
        Type::TEXT,
        time.clone(),
        time.clone(),
        time.clone(),
        time,
    ];
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for account in accounts {
        let key = KeyContext {
            record: account.id.uuid,
            user: account.user,
            provider: seed.provider.clone(),
        };
        let data_key = vault.new_data_key(&key)?;
        let seal = |column, kind: &str| {
            let place = SealContext {
                key: key.clone(),
                column,
                generation: 1,
            };
            // About as long as Google's.
            let text = format!("{kind}-{}-{}", account.id.uuid.simple(), "x".repeat(150));
            vault.seal(&data_key, &place, text.as_bytes())
        };
        let access_token = seal(SealedColumn::AccessToken, "access")?;
        let refresh_token = seal(SealedColumn::RefreshToken, "refresh")?;
        let row: [&(dyn ToSql + Sync); 12] = [
            &account.id.uuid,
            &account.subject,
            &seed.provider.as_str(),
            &1_i64,
            &data_key.0,
            &access_token.0,
            &refresh_token.0,
            &"Bearer",
            &seed.now,
            &(seed.now + seed.token_life),
            &account.due_at,
            &seed.now,
        ];
        writer.as_mut().write(&row).await?;
    }
    writer.finish().await?;
    Ok(())
}
