//! From rows to the words of the business. A row that cannot be is [`StoreError::Inconsistent`], with table, id and
//! column, never with a value.

use std::{collections::BTreeSet, fmt::Display, str::FromStr};

use tokio_postgres::{Row, types::FromSql};
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        account::Account,
        consent::Agreements,
        feature::FeatureKey,
        ids::{AttemptId, IntegrationId, NodeId, UserId},
        integration::{Claim, Owner, Standing, Status, StoredGrant, StoredIntegration},
        reason::ReasonCode,
        scope::ScopeSet,
        sealed::{Digest, Sealed, WrappedKey},
    },
    ports::store::{StoreError, StoreResult},
};

/// Columns of an integration `i` with its tokens `t`, as [`integration`] reads them.
macro_rules! integration_columns {
    () => {
        "i.id, i.user_id, i.subject, i.provider, i.provider_user_id, i.provider_issuer, i.account_name, \
         i.account_email, i.status, i.status_reason, i.who_must_act, i.scopes, i.features, i.agreements, i.metadata, \
         i.created_at, i.updated_at, i.last_refreshed_at, t.generation, t.data_key, t.access_token, \
         t.refresh_token, t.token_type, t.issued_at, t.expires_at, t.refresh_token_expires_at, \
         t.refresh_token_since, t.last_used_at, t.next_refresh_at, t.failures, t.claim_attempt, t.claim_node, \
         t.claim_since, coalesce(t.claim_unsettled_since, t.claim_since) AS claim_unsettled_since, t.claim_until, \
         t.claim_until <= now() AS claim_stale"
    };
}
pub(super) use integration_columns;

/// One row of one table, on its way to a type.
pub(super) struct Record<'a> {
    row: &'a Row,
    table: &'static str,
    id: Uuid,
}

impl<'a> Record<'a> {
    /// A row whose column `id` is its key.
    pub(super) fn of(table: &'static str, row: &'a Row) -> StoreResult<Self> {
        let id = row.try_get("id").map_err(|_| StoreError::Inconsistent {
            table,
            id: "-".into(),
            detail: "id cannot be read".into(),
        })?;
        Ok(Self { row, table, id })
    }

    pub(super) fn id(&self) -> Uuid {
        self.id
    }

    /// The same row, read as a part of this table.
    fn part(&self, table: &'static str) -> Self {
        Self { table, ..*self }
    }

    pub(super) fn wrong(&self, detail: impl Display) -> StoreError {
        StoreError::Inconsistent {
            table: self.table,
            id: self.id.to_string(),
            detail: detail.to_string(),
        }
    }

    /// A column as the driver gives it; also where it is null and must not be.
    pub(super) fn get<T: FromSql<'a>>(&self, column: &str) -> StoreResult<T> {
        self.row
            .try_get(column)
            .map_err(|_| self.wrong(format_args!("{column} cannot be read")))
    }

    /// A text column of a type of ours.
    pub(super) fn parse<T: FromStr>(&self, column: &str) -> StoreResult<T> {
        self.understand(column, self.get(column)?)
    }

    /// A text column of a type of ours that may be null.
    pub(super) fn parse_opt<T: FromStr>(&self, column: &str) -> StoreResult<Option<T>> {
        self.get::<Option<&str>>(column)?
            .map(|text| self.understand(column, text))
            .transpose()
    }

    fn understand<T: FromStr>(&self, column: &str, text: &str) -> StoreResult<T> {
        text.parse()
            .map_err(|_| self.wrong(format_args!("{column} is not understood")))
    }

    pub(super) fn reason(&self, column: &str) -> StoreResult<Option<ReasonCode>> {
        Ok(self.get::<Option<&str>>(column)?.map(ReasonCode::new))
    }

    pub(super) fn scopes(&self, column: &str) -> StoreResult<ScopeSet> {
        Ok(self.get::<Vec<&str>>(column)?.into_iter().collect())
    }

    pub(super) fn features(&self, column: &str) -> StoreResult<BTreeSet<FeatureKey>> {
        self.get::<Vec<&str>>(column)?
            .into_iter()
            .map(|key| self.understand(column, key))
            .collect()
    }

    /// A number that the database keeps signed and that is never negative.
    pub(super) fn count(&self, column: &str) -> StoreResult<u32> {
        u32::try_from(self.get::<i32>(column)?).map_err(|_| self.wrong(format_args!("{column} is negative")))
    }

    pub(super) fn sealed(&self, column: &str) -> StoreResult<Option<Sealed>> {
        Ok(self.get::<Option<Vec<u8>>>(column)?.map(Sealed))
    }

    pub(super) fn wrapped_key(&self, column: &str) -> StoreResult<Option<WrappedKey>> {
        Ok(self.get::<Option<Vec<u8>>>(column)?.map(WrappedKey))
    }

    pub(super) fn digest(&self, column: &str) -> StoreResult<Option<Digest>> {
        self.get::<Option<&[u8]>>(column)?
            .map(|bytes| {
                bytes
                    .try_into()
                    .map(Digest)
                    .map_err(|_| self.wrong(format_args!("{column} is not a digest")))
            })
            .transpose()
    }

    pub(super) fn owner(&self) -> StoreResult<Owner> {
        Ok(Owner {
            user_id: UserId(self.get("user_id")?),
            subject: self.parse("subject")?,
        })
    }
}

/// Which integration a row is of.
pub(super) fn id(row: &Row) -> StoreResult<Uuid> {
    Ok(Record::of("oauth_integrations", row)?.id())
}

/// An integration with its tokens.
pub(super) fn integration(row: &Row) -> StoreResult<StoredIntegration> {
    let record = Record::of("oauth_integrations", row)?;
    let standing = Standing {
        status: record.parse("status")?,
        reason: record.reason("status_reason")?,
        who_must_act: record.parse_opt("who_must_act")?,
    };
    let grant = grant(&record.part("oauth_tokens"))?;
    if grant.is_none() && matches!(standing.status, Status::Active | Status::Degraded) {
        return Err(record.wrong(format_args!("{} without tokens", standing.status.as_str())));
    }
    Ok(StoredIntegration {
        id: IntegrationId::new(record.parse("provider")?, record.id()),
        owner: record.owner()?,
        account: Account {
            id: record.get("provider_user_id")?,
            issuer: record.get("provider_issuer")?,
            name: record.get("account_name")?,
            email: record.get("account_email")?,
        },
        standing,
        scopes: record.scopes("scopes")?,
        features: record.features("features")?,
        agreements: Agreements::from_json(record.get("agreements")?)
            .map_err(|_| record.wrong("agreements are not understood"))?,
        metadata: record.get("metadata")?,
        created_at: record.get("created_at")?,
        updated_at: record.get("updated_at")?,
        last_refreshed_at: record.get("last_refreshed_at")?,
        grant,
    })
}

/// The tokens in the row; `None`: forgotten (their row stays, for its generation), or never there.
fn grant(record: &Record<'_>) -> StoreResult<Option<StoredGrant>> {
    let (data_key, access_token) = match (record.wrapped_key("data_key")?, record.sealed("access_token")?) {
        (Some(data_key), Some(access_token)) => (data_key, access_token),
        (None, None) => return Ok(None),
        _ => return Err(record.wrong("a data key without tokens, or tokens without one")),
    };
    Ok(Some(StoredGrant {
        generation: record.get("generation")?,
        data_key,
        access_token,
        refresh_token: record.sealed("refresh_token")?,
        token_type: record.get("token_type")?,
        issued_at: record.get("issued_at")?,
        expires_at: record.get("expires_at")?,
        refresh_token_expires_at: record.get("refresh_token_expires_at")?,
        refresh_token_since: record.get("refresh_token_since")?,
        last_used_at: record.get("last_used_at")?,
        next_refresh_at: record.get("next_refresh_at")?,
        failures: record.count("failures")?,
        claim: claim(
            record,
            [
                "claim_attempt",
                "claim_node",
                "claim_since",
                "claim_unsettled_since",
                "claim_until",
                "claim_stale",
            ],
        )?,
    }))
}

/// A claim in these columns: attempt, node, since, unsettled since, until, stale.
fn claim(record: &Record<'_>, columns: [&str; 6]) -> StoreResult<Option<Claim>> {
    let [attempt, node, since, unsettled_since, until, stale] = columns;
    let Some(held_by) = record.get::<Option<Uuid>>(attempt)? else {
        return Ok(None);
    };
    Ok(Some(Claim {
        attempt: AttemptId(held_by),
        node: NodeId(record.get(node)?),
        since: record.get(since)?,
        unsettled_since: record.get(unsettled_since)?,
        until: record.get(until)?,
        stale: record.get(stale)?,
    }))
}

/// When the work of a row that was just claimed had been planned for.
pub(super) fn planned_at(row: &Row) -> StoreResult<Option<oauth_manager_actors::domain::Timestamp>> {
    Record::of("oauth_tokens", row)?.get("planned_at")
}

/// The claim that had run out before a new one was taken.
pub(super) fn stale_claim(row: &Row) -> StoreResult<Option<Claim>> {
    let record = Record::of("oauth_tokens", row)?;
    claim(
        &record,
        [
            "stale_attempt",
            "stale_node",
            "stale_since",
            "stale_unsettled_since",
            "stale_until",
            "stale_stale",
        ],
    )
}
