//! The redirects of a connect flow: one for each time its link was opened. Any of them may come back, and the first good
//! one uses up all of them.

use tokio_postgres::Row;

use oauth_manager_actors::{
    domain::{
        audit::AuditEntry,
        authorization::{AuthorizationStatus, StoredAuthorization},
        ids::{AuthorizationId, ProviderKey},
        reason::ReasonCode,
        sealed::Digest,
    },
    ports::store::{Commit, RedirectRecord, Refused, StateOutcome, StoreResult, StoredRedirect},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    flow::{self, authorization_columns},
    refresh::done_if,
    row::Record,
};

/// `forgotten AS (…)`: drops what the redirects of flows `a` held. Their digests stay, so that a late callback hears that
/// it is late and not that it is forged.
macro_rules! forget_redirects {
    () => {
        "forgotten AS (
            UPDATE oauth_authorization_redirects SET nonce = NULL, data_key = NULL, pkce_verifier = NULL
            WHERE authorization_id IN (SELECT id FROM a)
        )"
    };
}
pub(super) use forget_redirects;

/// The flow's row counts, because it is locked: of any number of openings at once no more than may be are let through.
const REDIRECT: &str = "\
WITH a AS (
    UPDATE oauth_authorizations SET status = 'redirected', redirects = redirects + 1, updated_at = now()
    WHERE id = $1 AND status IN ('created', 'redirected') AND expires_at > now() AND redirects < $7
    RETURNING id, subject
)
INSERT INTO oauth_authorization_redirects (state, authorization_id, subject, browser, nonce, data_key, pkce_verifier)
SELECT $2, a.id, a.subject, $3, $4, $5, $6 FROM a";
const BROWSERS: &str =
    "SELECT DISTINCT browser FROM oauth_authorization_redirects WHERE authorization_id = $1";
const FIND_BY_STATE: &str = concat!(
    "SELECT ",
    authorization_columns!(),
    ", o.browser AS redirect_browser, o.refused_at IS NOT NULL AS refused, a.state IS NOT DISTINCT FROM o.state AS came_back
     FROM oauth_authorization_redirects o JOIN oauth_authorizations a ON a.id = o.authorization_id
     WHERE o.state = $1"
);
const AWAITED: &str = concat!(
    "SELECT ",
    authorization_columns!(),
    " FROM oauth_authorizations a
     WHERE a.provider = $1 AND a.status = 'redirected' AND a.expires_at > now() AND EXISTS (
         SELECT FROM oauth_authorization_redirects o
         WHERE o.authorization_id = a.id AND o.browser = ANY($2) AND o.refused_at IS NULL)
     LIMIT 2"
);
const CONSUME_STATE: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations AS f
        SET status = 'returned', state = o.state, browser = o.browser, nonce = o.nonce, data_key = o.data_key,
            pkce_verifier = o.pkce_verifier, updated_at = now()
        FROM oauth_authorization_redirects o
        WHERE o.state = $1 AND o.refused_at IS NULL
            AND f.id = o.authorization_id AND f.status = 'redirected' AND f.expires_at > now()
        RETURNING f.*
    ), ",
    forget_redirects!(),
    " SELECT ",
    authorization_columns!(),
    " FROM a"
);
/// Without the others a flow goes no further: it ends with its last redirect.
const REFUSE_REDIRECT: &str = concat!(
    "WITH r AS (
        UPDATE oauth_authorization_redirects SET refused_at = now(), nonce = NULL, data_key = NULL, pkce_verifier = NULL
        WHERE state = $18 AND authorization_id = $15 AND refused_at IS NULL
            AND EXISTS (SELECT FROM oauth_authorizations w
                WHERE w.id = $15 AND w.status = 'redirected' AND w.expires_at > now())
        RETURNING authorization_id
    ), ended AS (
        UPDATE oauth_authorizations SET status = $16, error = $17, updated_at = now()
        WHERE id IN (SELECT authorization_id FROM r) AND status = 'redirected'
            AND NOT EXISTS (SELECT FROM oauth_authorization_redirects o
                WHERE o.authorization_id = $15 AND o.refused_at IS NULL AND o.state <> $18)
    ), audit AS (",
    insert_audit!(),
    " FROM r) SELECT authorization_id FROM r"
);
const REFUSE_FLOW: &str = concat!(
    "WITH a AS (
        UPDATE oauth_authorizations SET status = $16, error = $17, updated_at = now()
        WHERE id = $15 AND status = 'redirected' AND expires_at > now()
        RETURNING id
    ), ",
    forget_redirects!(),
    ", audit AS (",
    insert_audit!(),
    " FROM a) SELECT id FROM a"
);

fn redirect(row: &Row) -> StoreResult<StoredRedirect> {
    let record = Record::of("oauth_authorizations", row)?;
    let browser = record.digest("redirect_browser")?;
    Ok(StoredRedirect {
        flow: flow::authorization(row)?,
        browser: browser.ok_or_else(|| record.wrong("a redirect has no browser"))?,
        refused: record.get("refused")?,
        came_back: record.get("came_back")?,
    })
}

impl Storage {
    pub(super) async fn store_redirect(
        &self,
        id: AuthorizationId,
        record: &RedirectRecord,
        most: u32,
    ) -> StoreResult<Commit> {
        let client = self.system().await?;
        let touched = client
            .execute(
                REDIRECT,
                &[
                    &id.0,
                    &record.state.0.as_slice(),
                    &record.browser.0.as_slice(),
                    &record.nonce,
                    &record.data_key.0,
                    &record.pkce_verifier.0,
                    &i32::try_from(most).unwrap_or(i32::MAX),
                ],
            )
            .await?;
        Ok(done_if(touched == 1))
    }

    pub(super) async fn browsers_of(&self, id: AuthorizationId) -> StoreResult<Vec<Digest>> {
        let client = self.system().await?;
        let rows = client.query(BROWSERS, &[&id.0]).await?;
        let browsers = rows.iter().map(|row| {
            let bytes: &[u8] = row.try_get("browser").ok()?;
            bytes.try_into().ok().map(Digest)
        });
        Ok(browsers.flatten().collect())
    }

    pub(super) async fn redirect_of_state(&self, state: &Digest) -> StoreResult<Option<StoredRedirect>> {
        let client = self.system().await?;
        let row = client.query_opt(FIND_BY_STATE, &[&state.0.as_slice()]).await?;
        row.as_ref().map(redirect).transpose()
    }

    pub(super) async fn awaited_in(
        &self,
        provider: &ProviderKey,
        browsers: &[Digest],
    ) -> StoreResult<Vec<StoredAuthorization>> {
        let browsers: Vec<&[u8]> = browsers.iter().map(|browser| browser.0.as_slice()).collect();
        let client = self.system().await?;
        let rows = client.query(AWAITED, &[&provider.as_str(), &browsers]).await?;
        rows.iter().map(flow::authorization).collect()
    }

    pub(super) async fn use_state(&self, state: &Digest) -> StoreResult<StateOutcome> {
        let client = self.system().await?;
        if let Some(row) = client.query_opt(CONSUME_STATE, &[&state.0.as_slice()]).await? {
            return Ok(StateOutcome::Consumed(Box::new(flow::authorization(&row)?)));
        }
        let row = client.query_opt(FIND_BY_STATE, &[&state.0.as_slice()]).await?;
        let Some(row) = row else {
            return Ok(StateOutcome::Unknown);
        };
        let flow = Box::new(flow::authorization(&row)?);
        Ok(match flow.status {
            AuthorizationStatus::Expired => StateOutcome::Expired(flow),
            _ => StateOutcome::Used(flow),
        })
    }

    pub(super) async fn turn_away(
        &self,
        id: AuthorizationId,
        refused: Refused<'_>,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        let (audit, status, error) = (AuditRow::of(audit), status.as_str(), error.as_str());
        let client = self.system().await?;
        let row = match refused {
            Refused::Redirect(state) => {
                let state = state.0.as_slice();
                let params = audit.params_and(&[&id.0, &status, &error, &state]);
                client.query_opt(REFUSE_REDIRECT, &params).await?
            }
            Refused::Flow => {
                let params = audit.params_and(&[&id.0, &status, &error]);
                client.query_opt(REFUSE_FLOW, &params).await?
            }
        };
        Ok(done_if(row.is_some()))
    }
}
