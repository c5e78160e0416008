//! Revocation: deny first, tell the provider, forget. Denying takes any claim away, so that a refresh under way can no
//! longer commit; the tokens stay sealed for telling the provider and are forgotten when that is settled.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        audit::AuditEntry,
        ids::{IntegrationId, ProviderKey, Subject},
        integration::StoredIntegration,
        reason::ReasonCode,
        token::ProviderRevocation,
    },
    ports::store::{Commit, StoreResult, UpstreamGrant},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    events::insert_event,
    refresh::{count, done_if},
    row::{self, integration_columns},
};

const REVOKE: &str = concat!(
    "WITH t AS (
        UPDATE oauth_tokens AS own
        SET revoked_at = now(), failures = 0, updated_at = now(),
            next_refresh_at = CASE WHEN own.access_token IS NULL THEN NULL ELSE $20::timestamptz END,
            claim_attempt = NULL, claim_node = NULL, claim_since = NULL, claim_until = NULL,
            claim_unsettled_since = NULL
        FROM oauth_integrations AS whose
        WHERE own.integration_id = $16 AND whose.id = own.integration_id AND whose.provider = $17
            AND own.revoked_at IS NULL AND ($18::text IS NULL OR whose.subject = $18)
        RETURNING own.*
    ), i AS (
        UPDATE oauth_integrations AS own
        SET status = 'revoked', status_reason = $19, who_must_act = NULL, revoked_at = now(), updated_at = now(),
            provider_revocation = CASE WHEN t.access_token IS NULL THEN NULL ELSE 'pending' END
        FROM t WHERE own.id = t.integration_id
        RETURNING own.*
    ), consents AS (
        UPDATE oauth_consents SET withdrawn_at = now()
        FROM i WHERE integration_id = i.id AND withdrawn_at IS NULL
    ), audit AS (",
    insert_audit!(),
    " FROM i), event AS (",
    insert_event!("$15", "'revoked'"),
    " FROM i JOIN t ON t.integration_id = i.id)
    SELECT ",
    integration_columns!(),
    " FROM i JOIN t ON t.integration_id = i.id"
);

const FORGET: &str = concat!(
    "WITH t AS (
        UPDATE oauth_tokens
        SET generation = generation + 1, data_key = NULL, access_token = NULL, refresh_token = NULL,
            next_refresh_at = NULL, failures = 0, updated_at = now()
        WHERE integration_id = $16 AND generation = $17 AND revoked_at IS NOT NULL AND data_key IS NOT NULL
        RETURNING integration_id, generation
    ), i AS (
        UPDATE oauth_integrations AS own
        SET provider_revocation = $18, updated_at = now()
        FROM t WHERE own.id = t.integration_id
        RETURNING own.id, own.subject, own.provider, own.status, own.status_reason
    ), audit AS (",
    insert_audit!(),
    " FROM t), event AS (",
    insert_event!("$15", "'disconnected'"),
    " FROM i JOIN t ON t.integration_id = i.id)
    SELECT t.generation FROM t"
);

const SHARING: &str = concat!(
    "SELECT ",
    integration_columns!(),
    " FROM oauth_integrations i JOIN oauth_tokens t ON t.integration_id = i.id
     WHERE coalesce(i.metadata->>'sub', i.provider_user_id) = $1 AND i.provider_issuer IS NOT DISTINCT FROM $2
         AND i.provider = ANY($3) AND i.status <> 'revoked'
     ORDER BY i.created_at, i.id"
);

const POSTPONE: &str = "\
UPDATE oauth_tokens SET failures = $3, next_refresh_at = $4, updated_at = now()
WHERE integration_id = $1 AND generation = $2 AND revoked_at IS NOT NULL AND data_key IS NOT NULL";

impl Storage {
    pub(super) async fn mark_revoked(
        &self,
        owner: Option<&Subject>,
        id: &IntegrationId,
        reason: &ReasonCode,
        retry_at: Timestamp,
        audit: &AuditEntry,
    ) -> StoreResult<Option<StoredIntegration>> {
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        let row = client
            .query_opt(
                REVOKE,
                &audit.params_and(&[
                    &Uuid::now_v7(),
                    &id.uuid,
                    &id.provider.as_str(),
                    &owner.map(Subject::as_str),
                    &reason.as_str(),
                    &retry_at,
                ]),
            )
            .await?;
        drop(client);
        let revoked = row.as_ref().map(row::integration).transpose()?;
        if revoked.is_some() {
            self.announce(id).await;
        }
        Ok(revoked)
    }

    pub(super) async fn on_grant(&self, grant: &UpstreamGrant) -> StoreResult<Vec<StoredIntegration>> {
        let providers: Vec<&str> = grant.providers.iter().map(ProviderKey::as_str).collect();
        let client = self.system().await?;
        let rows = client
            .query(SHARING, &[&grant.subject, &grant.issuer, &providers])
            .await?;
        rows.iter().map(row::integration).collect()
    }

    pub(super) async fn forget_revoked(
        &self,
        id: &IntegrationId,
        generation: i64,
        outcome: ProviderRevocation,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        let row = client
            .query_opt(
                FORGET,
                &audit.params_and(&[&Uuid::now_v7(), &id.uuid, &generation, &outcome.as_str()]),
            )
            .await?;
        Ok(done_if(row.is_some()))
    }

    pub(super) async fn retry_revocation(
        &self,
        id: &IntegrationId,
        generation: i64,
        failures: u32,
        retry_at: Timestamp,
    ) -> StoreResult<Commit> {
        let client = self.system().await?;
        let touched = client
            .execute(POSTPONE, &[&id.uuid, &generation, &count(failures), &retry_at])
            .await?;
        Ok(done_if(touched == 1))
    }
}
