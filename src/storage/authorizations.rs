//! Connect flows: the port, and the statements that begin, move on, end and clear them. Every step is conditional on the
//! step before, by the database's clock, so that of any number of callers one makes it.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        audit::AuditEntry,
        authorization::{AuthorizationStatus, StoredAuthorization},
        consent::Shown,
        ids::{AuthorizationId, ProviderKey, Subject},
        reason::ReasonCode,
        sealed::{Digest, Sealed},
    },
    ports::store::{
        AuthorizationStore, Commit, ConfirmationOutcome, NewAuthorization, RedirectRecord, Refused,
        StateOutcome, StoreResult, StoredRedirect,
    },
};

use super::{
    Storage,
    audit::{AuditRow, clean, insert_audit},
    connect::feature_names,
    consents::keep_wordings,
    flow::{self, authorization_columns},
    redirects::forget_redirects,
    refresh::done_if,
};

/// How long past its end a flow may still be exchanging its code: the provider's answer is not thrown away for a second.
pub const CODE_EXCHANGE_GRACE: Duration = Duration::from_mins(5);
/// Longest login hint kept: an e-mail address.
const LOGIN_HINT_MAX_CHARS: usize = 320;

/// Makes the user's row, or locks it: flows of one user begin one after the other, so that they are counted rightly.
const LOCK_USER: &str = "\
INSERT INTO users (id, subject) VALUES ($1, $2)
ON CONFLICT (subject) DO UPDATE SET subject = excluded.subject
RETURNING id";
const CREATE: &str = concat!(
    "WITH pending AS (
        SELECT count(*) AS flows FROM oauth_authorizations
        WHERE subject = $17 AND expires_at > now()
            AND status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'exchanged',
                'account_mismatch')
    ), a AS (
        INSERT INTO oauth_authorizations (id, user_id, subject, provider, status, handle, features, requested_scopes,
            redirect_uri, return_to, integration_id, login_hint, expires_at, shown)
        SELECT $15::uuid, $16::uuid, $17, $18::text, 'created', $19::bytea, $20::text[], $21::text[], $22::text,
            $23::text, $24::uuid, $25::text, now() + $26::double precision * interval '1 second', $28::jsonb
        FROM pending WHERE pending.flows < $27::bigint
        RETURNING *
    ), audit AS (",
    insert_audit!(),
    " FROM a) SELECT ",
    authorization_columns!(),
    " FROM a"
);
const FIND_BY_HANDLE: &str = concat!(
    "SELECT ",
    authorization_columns!(),
    " FROM oauth_authorizations a WHERE a.handle = $1"
);
const FIND: &str = concat!(
    "SELECT ",
    authorization_columns!(),
    " FROM oauth_authorizations a WHERE a.id = $1 AND a.subject = $2"
);
const HOLD_CODE: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations
        SET status = 'awaiting_confirmation', code = $16, confirmation = $17, updated_at = now()
        WHERE id = $15 AND status = 'returned' AND expires_at > now()
        RETURNING id
    ), audit AS (",
    insert_audit!(),
    " FROM a) SELECT id FROM a"
);
/// The verifier and the nonce have done their work; the data key stays for the grant.
const STAGE: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations
        SET status = 'account_mismatch', error = 'account_mismatch', staged = $16, pkce_verifier = NULL, nonce = NULL,
            expires_at = greatest(expires_at, now() + $17::double precision * interval '1 second'),
            updated_at = now()
        WHERE id = $15 AND status = 'exchanged'
        RETURNING id
    ), audit AS (",
    insert_audit!(),
    " FROM a) SELECT id FROM a"
);
const BEGIN_EXCHANGE: &str = "\
UPDATE oauth_authorizations SET status = 'exchanged', updated_at = now()
WHERE id = $1 AND status = 'returned' AND expires_at > now()";
const FINISH: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations
        SET status = $16, error = $17, data_key = NULL, pkce_verifier = NULL, code = NULL, confirmation = NULL,
            nonce = NULL, staged = NULL, updated_at = now()
        WHERE id = $15 AND status NOT IN ('connected', 'denied', 'failed', 'expired')
        RETURNING id
    ), ",
    forget_redirects!(),
    ", audit AS (",
    insert_audit!(),
    " FROM a) SELECT id FROM a"
);
const PURGE_SECRETS: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations
        SET status = 'expired', data_key = NULL, pkce_verifier = NULL, code = NULL, confirmation = NULL, nonce = NULL,
            staged = NULL, updated_at = now()
        WHERE status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'account_mismatch')
                AND expires_at <= now()
            OR status = 'exchanged' AND expires_at <= now() - $1::double precision * interval '1 second'
        RETURNING id
    ), ",
    forget_redirects!(),
    " SELECT id FROM a"
);
const PURGE_ROWS: &str = "DELETE FROM oauth_authorizations WHERE expires_at < now() - interval '7 days'";

impl Storage {
    async fn begin_flow(&self, new: &NewAuthorization) -> StoreResult<Option<StoredAuthorization>> {
        let audit = AuditRow::of(&new.audit);
        let subject = new.subject.as_str();
        let transaction = self.system().await?.begin().await?;
        let user = transaction
            .query_opt(LOCK_USER, &[&Uuid::now_v7(), &subject])
            .await?;
        let Some(user) = user.and_then(|row| row.try_get::<_, Uuid>("id").ok()) else {
            return Ok(None);
        };
        let row = transaction
            .query_opt(
                CREATE,
                &audit.params_and(&[
                    &new.id.0,
                    &user,
                    &subject,
                    &new.provider.as_str(),
                    &new.handle.0.as_slice(),
                    &feature_names(&new.features),
                    &new.requested_scopes.to_strings(),
                    &new.redirect_uri.as_str(),
                    &new.return_to.as_ref().map(url::Url::as_str),
                    &new.integration_id.as_ref().map(|id| id.uuid),
                    &new.login_hint
                        .as_deref()
                        .map(|hint| clean(hint, LOGIN_HINT_MAX_CHARS)),
                    &new.lifetime.as_secs_f64(),
                    &i64::from(new.pending_max),
                    &serde_json::json!(new.wordings.iter().map(Shown::from).collect::<Vec<_>>()),
                ]),
            )
            .await?;
        let Some(row) = row else {
            transaction.rollback().await?;
            return Ok(None);
        };
        keep_wordings(&transaction, &new.wordings).await?;
        transaction.commit().await?;
        flow::authorization(&row).map(Some)
    }

    async fn flow_of_link(&self, handle: &Digest) -> StoreResult<Option<StoredAuthorization>> {
        let client = self.system().await?;
        let row = client.query_opt(FIND_BY_HANDLE, &[&handle.0.as_slice()]).await?;
        row.as_ref().map(flow::authorization).transpose()
    }

    async fn flow_of_owner(
        &self,
        owner: &Subject,
        id: AuthorizationId,
    ) -> StoreResult<Option<StoredAuthorization>> {
        let transaction = self.owned_by(owner).await?;
        let row = transaction.query_opt(FIND, &[&id.0, &owner.as_str()]).await?;
        transaction.commit().await?;
        row.as_ref().map(flow::authorization).transpose()
    }

    async fn keep_code(
        &self,
        id: AuthorizationId,
        code: &Sealed,
        confirmation: &Digest,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        let row = client
            .query_opt(
                HOLD_CODE,
                &audit.params_and(&[&id.0, &code.0, &confirmation.0.as_slice()]),
            )
            .await?;
        Ok(done_if(row.is_some()))
    }

    async fn keep_grant(
        &self,
        id: AuthorizationId,
        grant: &Sealed,
        patience: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        let patience = patience.as_secs_f64();
        let params = audit.params_and(&[&id.0, &grant.0, &patience]);
        let row = client.query_opt(STAGE, &params).await?;
        Ok(done_if(row.is_some()))
    }

    async fn go_exchange(&self, id: AuthorizationId) -> StoreResult<Commit> {
        let client = self.system().await?;
        let touched = client.execute(BEGIN_EXCHANGE, &[&id.0]).await?;
        Ok(done_if(touched == 1))
    }

    async fn end_flow(
        &self,
        id: AuthorizationId,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        let audit = AuditRow::of(audit);
        let client = self.system().await?;
        let row = client
            .query_opt(
                FINISH,
                &audit.params_and(&[&id.0, &status.as_str(), &error.as_str()]),
            )
            .await?;
        Ok(done_if(row.is_some()))
    }

    async fn purge_flows(&self) -> StoreResult<u64> {
        let client = self.system().await?;
        let expired = client
            .execute(PURGE_SECRETS, &[&CODE_EXCHANGE_GRACE.as_secs_f64()])
            .await?;
        let deleted = client.execute(PURGE_ROWS, &[]).await?;
        drop(client);
        Ok(expired + deleted + self.purge_sessions().await? + self.purge_events().await?)
    }
}

// === impl AuthorizationStore ===

#[async_trait]
impl AuthorizationStore for Storage {
    async fn create(&self, new: &NewAuthorization) -> StoreResult<Option<StoredAuthorization>> {
        self.within("authorizations.create", self.begin_flow(new)).await
    }

    async fn find_by_handle(&self, handle: &Digest) -> StoreResult<Option<StoredAuthorization>> {
        self.within("authorizations.find_by_handle", self.flow_of_link(handle))
            .await
    }

    async fn find(&self, owner: &Subject, id: AuthorizationId) -> StoreResult<Option<StoredAuthorization>> {
        self.within("authorizations.find", self.flow_of_owner(owner, id))
            .await
    }

    async fn redirect(&self, id: AuthorizationId, record: &RedirectRecord, most: u32) -> StoreResult<Commit> {
        self.within("authorizations.redirect", self.store_redirect(id, record, most))
            .await
    }

    async fn browsers(&self, id: AuthorizationId) -> StoreResult<Vec<Digest>> {
        self.within("authorizations.browsers", self.browsers_of(id)).await
    }

    async fn find_by_state(&self, state: &Digest) -> StoreResult<Option<StoredRedirect>> {
        self.within("authorizations.find_by_state", self.redirect_of_state(state))
            .await
    }

    async fn awaited(
        &self,
        provider: &ProviderKey,
        browsers: &[Digest],
    ) -> StoreResult<Vec<StoredAuthorization>> {
        self.within("authorizations.awaited", self.awaited_in(provider, browsers))
            .await
    }

    async fn refuse(
        &self,
        id: AuthorizationId,
        refused: Refused<'_>,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.within(
            "authorizations.refuse",
            self.turn_away(id, refused, status, error, audit),
        )
        .await
    }

    async fn consume_state(&self, state: &Digest) -> StoreResult<StateOutcome> {
        self.within("authorizations.consume_state", self.use_state(state))
            .await
    }

    async fn hold_code(
        &self,
        id: AuthorizationId,
        code: &Sealed,
        confirmation: &Digest,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.within(
            "authorizations.hold_code",
            self.keep_code(id, code, confirmation, audit),
        )
        .await
    }

    async fn begin_exchange(&self, id: AuthorizationId) -> StoreResult<Commit> {
        self.within("authorizations.begin_exchange", self.go_exchange(id))
            .await
    }

    async fn stage(
        &self,
        id: AuthorizationId,
        grant: &Sealed,
        patience: Duration,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.within(
            "authorizations.stage",
            self.keep_grant(id, grant, patience, audit),
        )
        .await
    }

    async fn confirm(
        &self,
        caller: &Subject,
        id: AuthorizationId,
        confirmation: &Digest,
        refusal: &AuditEntry,
    ) -> StoreResult<ConfirmationOutcome> {
        self.within(
            "authorizations.confirm",
            self.take_code(caller, id, confirmation, refusal),
        )
        .await
    }

    async fn finish(
        &self,
        id: AuthorizationId,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.within("authorizations.finish", self.end_flow(id, status, error, audit))
            .await
    }

    async fn purge(&self) -> StoreResult<u64> {
        self.within("authorizations.purge", self.purge_flows()).await
    }
}
