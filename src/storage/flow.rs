//! A connect flow's row, and its confirmation: the one step that needs to look before it writes.

use subtle::ConstantTimeEq;
use tokio_postgres::Row;

use oauth_manager_actors::{
    domain::{
        audit::AuditEntry,
        authorization::{AuthorizationStatus, StoredAuthorization},
        ids::{AuthorizationId, IntegrationId, Subject},
        reason::ReasonCode,
        sealed::Digest,
    },
    ports::store::{ConfirmationOutcome, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    lease::Transaction,
    row::Record,
};

/// Columns of a flow `a`, as [`authorization`] reads them. A flow past its time is `expired` whether it has been cleared
/// yet or not; one that is exchanging its code is let finish.
macro_rules! authorization_columns {
    () => {
        "a.id, a.user_id, a.subject, a.provider, \
         CASE WHEN a.status IN ('created', 'redirected', 'returned', 'awaiting_confirmation', 'account_mismatch') \
         AND a.expires_at <= now() THEN 'expired' ELSE a.status END AS status, \
         a.error, a.browser, a.confirmation, a.nonce, a.features, a.requested_scopes, a.shown, a.redirect_uri, a.return_to, \
         a.integration_id, a.login_hint, a.redirects, a.data_key, a.pkce_verifier, a.code, a.staged, a.created_at, a.expires_at"
    };
}
pub(super) use authorization_columns;

const LOCK: &str = concat!(
    "SELECT ",
    authorization_columns!(),
    " FROM oauth_authorizations a WHERE a.id = $1 FOR UPDATE"
);
const TAKE: &str = "\
UPDATE oauth_authorizations SET status = 'exchanged', code = NULL, confirmation = NULL, updated_at = now()
WHERE id = $1 AND status = 'awaiting_confirmation'";
const DROP: &str = "\
UPDATE oauth_authorizations
SET status = $2, error = $3, data_key = NULL, pkce_verifier = NULL, code = NULL, confirmation = NULL, nonce = NULL,
    staged = NULL, updated_at = now()
WHERE id = $1";
const AUDIT: &str = insert_audit!();

/// Why a flow failed that another user tried to confirm.
const BINDING_MISMATCH: &str = "binding_mismatch";

/// A flow.
pub(super) fn authorization(row: &Row) -> StoreResult<StoredAuthorization> {
    let record = Record::of("oauth_authorizations", row)?;
    let provider: oauth_manager_actors::domain::ids::ProviderKey = record.parse("provider")?;
    let integration_id = record
        .get::<Option<uuid::Uuid>>("integration_id")?
        .map(|uuid| IntegrationId::new(provider.clone(), uuid));
    Ok(StoredAuthorization {
        id: AuthorizationId(record.id()),
        owner: record.owner()?,
        provider,
        status: record.parse("status")?,
        error: record.reason("error")?,
        features: record.features("features")?,
        requested_scopes: record.scopes("requested_scopes")?,
        shown: serde_json::from_value(record.get("shown")?)
            .map_err(|_| record.wrong("shown is not understood"))?,
        redirect_uri: record.parse("redirect_uri")?,
        return_to: record.parse_opt("return_to")?,
        integration_id,
        login_hint: record.get("login_hint")?,
        redirects: record
            .get::<i32>("redirects")?
            .try_into()
            .map_err(|_| record.wrong("redirects is not a count"))?,
        nonce: record.get("nonce")?,
        browser: record.digest("browser")?,
        data_key: record.wrapped_key("data_key")?,
        pkce_verifier: record.sealed("pkce_verifier")?,
        code: record.sealed("code")?,
        staged: record.sealed("staged")?,
        created_at: record.get("created_at")?,
        expires_at: record.get("expires_at")?,
    })
}

impl Storage {
    pub(super) async fn take_code(
        &self,
        caller: &Subject,
        id: AuthorizationId,
        confirmation: &Digest,
        refusal: &AuditEntry,
    ) -> StoreResult<ConfirmationOutcome> {
        let transaction = self.system().await?.begin().await?;
        let Some(row) = transaction.query_opt(LOCK, &[&id.0]).await? else {
            transaction.rollback().await?;
            return Ok(ConfirmationOutcome::Unknown);
        };
        let flow = authorization(&row)?;
        let right = Record::of("oauth_authorizations", &row)?
            .digest("confirmation")?
            .is_some_and(|expected| expected.0.ct_eq(&confirmation.0).into());
        let outcome = if flow.owner.subject == *caller {
            by_owner(&transaction, flow, right).await?
        } else if right {
            drop_code(
                &transaction,
                id,
                AuthorizationStatus::Failed,
                Some(BINDING_MISMATCH),
            )
            .await?;
            // Whose flow it was is known only here; the owner sees in their audit that somebody else tried.
            let refusal = refusal
                .clone()
                .with_authorization(id, &flow.provider, &flow.owner.subject);
            transaction
                .execute(AUDIT, &AuditRow::of(&refusal).params_and(&[]))
                .await?;
            ConfirmationOutcome::OtherUser
        } else {
            // As for a flow that does not exist: whose it is, is nobody else's business.
            ConfirmationOutcome::Unknown
        };
        transaction.commit().await?;
        Ok(outcome)
    }
}

/// The owner's own word, right or wrong.
async fn by_owner(
    transaction: &Transaction,
    flow: StoredAuthorization,
    right: bool,
) -> StoreResult<ConfirmationOutcome> {
    match flow.status {
        AuthorizationStatus::Expired => {
            let error: Option<ReasonCode> = flow.error;
            let error = error.as_ref().map(ReasonCode::as_str);
            drop_code(transaction, flow.id, AuthorizationStatus::Expired, error).await?;
            Ok(ConfirmationOutcome::Expired)
        }
        AuthorizationStatus::AwaitingConfirmation if right => {
            transaction.execute(TAKE, &[&flow.id.0]).await?;
            Ok(ConfirmationOutcome::Taken(Box::new(StoredAuthorization {
                status: AuthorizationStatus::Exchanged,
                ..flow
            })))
        }
        AuthorizationStatus::AwaitingConfirmation => Ok(ConfirmationOutcome::Wrong),
        AuthorizationStatus::Created
        | AuthorizationStatus::Redirected
        | AuthorizationStatus::Returned
        | AuthorizationStatus::Exchanged
        | AuthorizationStatus::AccountMismatch
        | AuthorizationStatus::Connected
        | AuthorizationStatus::Denied
        | AuthorizationStatus::Failed => Ok(ConfirmationOutcome::NotWaiting(Box::new(flow))),
    }
}

async fn drop_code(
    transaction: &Transaction,
    id: AuthorizationId,
    status: AuthorizationStatus,
    error: Option<&str>,
) -> StoreResult<()> {
    transaction
        .execute(DROP, &[&id.0, &status.as_str(), &error])
        .await?;
    Ok(())
}
