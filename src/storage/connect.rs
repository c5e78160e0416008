//! Connections: where an account's integration belongs, and storing a finished flow in one transaction.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        account::{ACCOUNT_TEXT_MAX_CHARS, Account},
        consent::Agreements,
        ids::{IntegrationId, ProviderKey, UserId},
        integration::{Owner, Status},
    },
    ports::store::{Commit, ConnectCommit, Reservation, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, clean, insert_audit},
    consents::insert_consent,
    events::insert_event,
    lease::Transaction,
    row::{self, integration_columns},
};

/// The generation is read beside the grant: a row whose tokens were forgotten keeps it.
const RESERVE: &str = concat!(
    "SELECT ",
    integration_columns!(),
    ", coalesce(t.generation, 0) AS generation_present
     FROM oauth_integrations i LEFT JOIN oauth_tokens t ON t.integration_id = i.id
     WHERE i.user_id = $1 AND i.provider = $2 AND i.provider_user_id = $3
         AND (i.provider_issuer IS NULL OR i.provider_issuer = $4)
     ORDER BY i.provider_issuer NULLS LAST LIMIT 1"
);

const FINISH_FLOW: &str = "\
UPDATE oauth_authorizations
SET status = 'connected', integration_id = $4, error = NULL, updated_at = now(),
    data_key = NULL, pkce_verifier = NULL, code = NULL, confirmation = NULL, nonce = NULL, staged = NULL
WHERE id = $1 AND user_id = $2 AND provider = $3
    AND (status = 'exchanged' OR status = 'account_mismatch' AND expires_at > now())";

const INSERT_INTEGRATION: &str = "\
INSERT INTO oauth_integrations (id, user_id, subject, provider, provider_user_id, provider_issuer, account_name,
    account_email, status, scopes, features, metadata, agreements)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'active', $9, $10, $11, $12)
ON CONFLICT DO NOTHING";

const INSERT_TOKENS: &str = "\
INSERT INTO oauth_tokens (integration_id, subject, generation, data_key, access_token, refresh_token, token_type,
    issued_at, expires_at, refresh_token_expires_at, next_refresh_at, refresh_token_since)
VALUES ($1, $2, 1, $3, $4, $5, $6, $7, $8, $9, $10, $7)";

const REPLACE_TOKENS: &str = "\
UPDATE oauth_tokens
SET generation = generation + 1, data_key = $3, access_token = $4, refresh_token = $5, token_type = $6,
    issued_at = $7, expires_at = $8, refresh_token_expires_at = $9, next_refresh_at = $10, failures = 0,
    claim_attempt = NULL, claim_node = NULL, claim_since = NULL, claim_until = NULL,
    claim_unsettled_since = NULL,
    last_used_at = now(), refresh_token_since = $7, refresh_token_warned_at = NULL,
    dispatched_to = NULL, dispatched_until = NULL, revoked_at = NULL, updated_at = now()
WHERE integration_id = $1 AND subject = $2 AND generation = $11 AND (revoked_at IS NOT NULL) = $12::boolean";

/// Features of a revoked integration are not brought back: that would switch on what the user took back.
const UPDATE_INTEGRATION: &str = "\
UPDATE oauth_integrations
SET provider_issuer = $6, account_name = $7, account_email = $8,
    status = 'active', status_reason = NULL, who_must_act = NULL, scopes = $9,
    features = CASE WHEN status = 'revoked' THEN $10::text[]
        ELSE ARRAY(SELECT DISTINCT feature FROM unnest(features || $10::text[]) AS feature ORDER BY feature) END,
    agreements = CASE WHEN status = 'revoked' THEN $12::jsonb ELSE agreements || $12::jsonb END,
    metadata = $11, revoked_at = NULL, provider_revocation = NULL, updated_at = now()
WHERE id = $1 AND user_id = $2 AND subject = $3 AND provider = $4 AND provider_user_id = $5";

/// What was reported of the tokens that are replaced is over.
const FORGET_REJECTION: &str = "DELETE FROM oauth_token_rejections WHERE integration_id = $1";

const RECORD: &str = concat!(
    "WITH audit AS (",
    insert_audit!(),
    ") ",
    insert_event!("$15", "$17::text"),
    " FROM oauth_integrations i JOIN oauth_tokens t ON t.integration_id = i.id WHERE i.id = $16"
);

impl Storage {
    pub(super) async fn reserve_place(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
    ) -> StoreResult<Reservation> {
        let client = self.system().await?;
        let row = client
            .query_opt(
                RESERVE,
                &[&user.0, &provider.as_str(), &account.id, &account.issuer],
            )
            .await?;
        let Some(row) = row else {
            return Ok(Reservation {
                id: IntegrationId::new(provider.clone(), Uuid::now_v7()),
                generation: 0,
                present: None,
            });
        };
        let generation = row::Record::of("oauth_tokens", &row)?.get("generation_present")?;
        let present = row::integration(&row)?;
        Ok(Reservation {
            id: present.id.clone(),
            generation,
            present: Some(Box::new(present)),
        })
    }

    pub(super) async fn store_connection(&self, commit: &ConnectCommit) -> StoreResult<Commit> {
        let transaction = self.system().await?.begin().await?;
        let written = finish_flow(&transaction, commit).await?
            && if commit.reservation.generation == 0 {
                insert(&transaction, commit).await?
            } else {
                replace(&transaction, commit).await?
            };
        if !written {
            transaction.rollback().await?;
            return Ok(Commit::Fenced);
        }
        let owner = Owner {
            user_id: commit.user_id,
            subject: commit.subject.clone(),
        };
        for consent in &commit.consents {
            insert_consent(&transaction, &commit.reservation.id, &owner, consent).await?;
        }
        record(&transaction, commit).await?;
        transaction.commit().await?;
        self.announce(&commit.reservation.id).await;
        Ok(Commit::Done)
    }
}

async fn finish_flow(transaction: &Transaction, commit: &ConnectCommit) -> StoreResult<bool> {
    let id = &commit.reservation.id;
    let touched = transaction
        .execute(
            FINISH_FLOW,
            &[
                &commit.authorization.0,
                &commit.user_id.0,
                &id.provider.as_str(),
                &id.uuid,
            ],
        )
        .await?;
    Ok(touched == 1)
}

/// A first connection; not written if this account was connected in the meantime.
async fn insert(transaction: &Transaction, commit: &ConnectCommit) -> StoreResult<bool> {
    if integration(transaction, INSERT_INTEGRATION, commit).await? != 1 {
        return Ok(false);
    }
    tokens(transaction, INSERT_TOKENS, commit, None).await?;
    Ok(true)
}

/// A connection anew; not written if the tokens moved on or were revoked in the meantime. Tokens first: the lock order of all writes.
async fn replace(transaction: &Transaction, commit: &ConnectCommit) -> StoreResult<bool> {
    let present = commit.reservation.present.as_ref();
    let was_revoked = present.is_some_and(|row| row.standing.status == Status::Revoked);
    let fence = Some((commit.reservation.generation, was_revoked));
    let is_replaced = tokens(transaction, REPLACE_TOKENS, commit, fence).await? == 1
        && integration(transaction, UPDATE_INTEGRATION, commit).await? == 1;
    transaction
        .execute(FORGET_REJECTION, &[&commit.reservation.id.uuid])
        .await?;
    Ok(is_replaced)
}

async fn integration(transaction: &Transaction, sql: &str, commit: &ConnectCommit) -> StoreResult<u64> {
    let id = &commit.reservation.id;
    let account = &commit.account;
    let text = |text: &Option<String>| text.as_deref().map(|text| clean(text, ACCOUNT_TEXT_MAX_CHARS));
    transaction
        .execute(
            sql,
            &[
                &id.uuid,
                &commit.user_id.0,
                &commit.subject.as_str(),
                &id.provider.as_str(),
                &account.id,
                &account.issuer,
                &text(&account.name),
                &text(&account.email),
                &commit.scopes.to_strings(),
                &feature_names(&commit.features),
                &commit.metadata,
                &Agreements::of(&commit.consents).to_json(),
            ],
        )
        .await
}

async fn tokens(
    transaction: &Transaction,
    sql: &str,
    commit: &ConnectCommit,
    fence: Option<(i64, bool)>,
) -> StoreResult<u64> {
    let refresh_token = commit.refresh_token.as_ref().map(|sealed| &sealed.0);
    let subject = commit.subject.as_str();
    let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
        &commit.reservation.id.uuid,
        &subject,
        &commit.data_key.0,
        &commit.access_token.0,
        &refresh_token,
        &commit.token_type,
        &commit.issued_at,
        &commit.expires_at,
        &commit.refresh_token_expires_at,
        &commit.next_refresh_at,
    ];
    if let Some((generation, was_revoked)) = &fence {
        params.push(generation);
        params.push(was_revoked);
    }
    transaction.execute(sql, &params).await
}

/// The audit row and the event.
async fn record(transaction: &Transaction, commit: &ConnectCommit) -> StoreResult<()> {
    let audit = AuditRow::of(&commit.audit);
    let kind = match commit.reservation.present {
        None => "connected",
        Some(_) => "reconnected",
    };
    transaction
        .execute(
            RECORD,
            &audit.params_and(&[&Uuid::now_v7(), &commit.reservation.id.uuid, &kind]),
        )
        .await?;
    Ok(())
}

pub(super) fn feature_names<'a>(
    features: impl IntoIterator<Item = &'a oauth_manager_actors::domain::feature::FeatureKey>,
) -> Vec<&'a str> {
    features
        .into_iter()
        .map(oauth_manager_actors::domain::feature::FeatureKey::as_str)
        .collect()
}
