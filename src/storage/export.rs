//! Everything kept about one user, as that user may read it: every table of theirs, column by column, and no secret among
//! them. A column that is not named here does not leave.

use serde_json::Value;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        Timestamp,
        ids::Subject,
        page::{PAGE_LIMIT_MAX, Page, PageRequest},
    },
    ports::store::{StoreError, StoreResult},
};

use super::{Storage, cursor::Cursor, lease::Transaction, row::Record};

/// A kind of item, and where its items are.
pub(super) struct Kind {
    name: &'static str,
    pub(super) table: &'static str,
    sql: &'static str,
}

/// `$at`, `$id`: the place in the list; `$columns`: what is shown; `$from`: of which rows `x`.
macro_rules! kind {
    ($name:literal, $table:literal, $at:literal, $id:literal, $columns:literal, $from:literal) => {
        Kind {
            name: $name,
            table: $table,
            sql: concat!(
                "SELECT x.",
                $at,
                " AS at, x.",
                $id,
                " AS id, (SELECT to_jsonb(item_) FROM (SELECT ",
                $columns,
                ") AS item_) AS item FROM ",
                $from,
                " WHERE x.subject = $1 AND (x.",
                $at,
                ", x.",
                $id,
                ") < ($2, $3) ORDER BY x.",
                $at,
                " DESC, x.",
                $id,
                " DESC LIMIT $4"
            ),
        }
    };
}

/// In the order in which they are read out.
pub(super) const KINDS: [Kind; 10] = [
    kind!(
        "user",
        "users",
        "created_at",
        "id",
        "x.id, x.subject, x.created_at",
        "users x"
    ),
    kind!(
        "integration",
        "oauth_integrations",
        "created_at",
        "id",
        "x.provider || '_' || replace(x.id::text, '-', '') AS id, x.user_id, x.subject, x.provider, x.provider_user_id, \
         x.provider_issuer, x.account_name, x.account_email, x.status, x.status_reason, x.who_must_act, x.scopes, \
         x.features, x.agreements, x.metadata, x.created_at, x.updated_at, x.last_refreshed_at, x.status_since, \
         x.revoked_at, x.provider_revocation, t.generation AS token_generation, t.token_type, \
         t.issued_at AS token_issued_at, t.expires_at AS token_expires_at, t.refresh_token_expires_at, \
         t.last_used_at AS token_last_used_at",
        "oauth_integrations x LEFT JOIN oauth_tokens t ON t.integration_id = x.id"
    ),
    kind!(
        "authorization",
        "oauth_authorizations",
        "created_at",
        "id",
        "x.id, x.user_id, x.subject, x.provider, x.status, x.error, x.features, x.requested_scopes, x.shown, \
         x.redirect_uri, x.return_to, x.integration_id, x.login_hint, x.created_at, x.updated_at, x.expires_at",
        "oauth_authorizations x"
    ),
    kind!(
        "session",
        "oauth_sessions",
        "created_at",
        "id",
        "x.id, x.link_id, x.subject, x.application, x.display_name, x.return_to, x.features, x.created_at, x.expires_at",
        "oauth_sessions x"
    ),
    kind!(
        "session_link",
        "oauth_session_links",
        "created_at",
        "id",
        "x.id, x.subject, x.client, x.application, x.display_name, x.return_to, x.features, x.openings, x.created_at, \
         x.expires_at, x.died_at",
        "oauth_session_links x"
    ),
    kind!(
        "session_opening",
        "oauth_session_openings",
        "opened_at",
        "id",
        "x.id, x.link_id, x.subject, x.place, x.opened_at, x.confirmed_at, x.expires_at",
        "oauth_session_openings x"
    ),
    kind!(
        "consent",
        "oauth_consents",
        "granted_at",
        "id",
        "x.id, x.integration_id, x.user_id, x.subject, x.provider, x.features, x.requested_scopes, x.granted_scopes, \
         x.wording_version, x.wording_hash, w.wording, x.granted_at, x.expires_at, x.withdrawn_at, x.ip, x.user_agent",
        "oauth_consents x LEFT JOIN oauth_wordings w ON w.hash = x.wording_hash"
    ),
    kind!(
        "audit",
        "oauth_audit_log",
        "at",
        "id",
        "x.id, x.at, x.actor, x.subject, x.action, x.outcome, x.provider, x.integration_id, x.authorization_id, \
         x.scopes, x.error, x.count, x.request_id, x.ip, x.user_agent",
        "oauth_audit_log x"
    ),
    kind!(
        "event",
        "oauth_events",
        "at",
        "id",
        "x.id, x.at, x.kind AS event, x.subject, x.provider, x.integration_id, x.generation, x.status, x.status_reason",
        "oauth_events x"
    ),
    kind!(
        "erasure",
        "oauth_erasures",
        "requested_at",
        "id",
        "x.id, x.subject, x.requested_at, x.swept_at, x.finished_at",
        "oauth_erasures x"
    ),
];

/// Columns that no export shows: secrets, digests of secrets, and how this service goes about its work.
#[cfg(test)]
pub(super) const WITHHELD: &[&str] = &[
    "oauth_authorizations.handle",
    "oauth_authorizations.state",
    "oauth_authorizations.browser",
    "oauth_authorizations.confirmation",
    "oauth_authorizations.nonce",
    "oauth_authorizations.data_key",
    "oauth_authorizations.pkce_verifier",
    "oauth_authorizations.code",
    "oauth_authorizations.staged",
    "oauth_authorizations.redirects",
    // Nothing but what a browser is known by until its flow ends; the flow itself is shown.
    "oauth_authorization_redirects.state",
    "oauth_authorization_redirects.authorization_id",
    "oauth_authorization_redirects.subject",
    "oauth_authorization_redirects.browser",
    "oauth_authorization_redirects.nonce",
    "oauth_authorization_redirects.data_key",
    "oauth_authorization_redirects.pkce_verifier",
    "oauth_authorization_redirects.created_at",
    "oauth_authorization_redirects.refused_at",
    "oauth_session_links.link",
    "oauth_session_openings.pending",
    "oauth_session_openings.confirmation",
    "oauth_sessions.cookie",
    // It would lead back from the pseudonym.
    "oauth_erasures.pseudonym",
];

impl Kind {
    /// Whether a column of its table is shown.
    #[cfg(test)]
    pub(super) fn shows(&self, column: &str) -> bool {
        let name = format!("x.{column}");
        self.sql
            .split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '.')))
            .any(|word| word == name)
    }

    async fn read(
        &self,
        transaction: &Transaction,
        owner: &Subject,
        after: Cursor,
        rows: i64,
    ) -> StoreResult<Vec<(Cursor, Value)>> {
        let rows = transaction
            .query(self.sql, &[&owner.as_str(), &after.at, &after.id, &rows])
            .await?;
        let one = |row: &tokio_postgres::Row| {
            let record = Record::of(self.table, row)?;
            let place = Cursor {
                at: record.get("at")?,
                id: record.id(),
            };
            let mut item: Value = record.get("item")?;
            let fields = item.as_object_mut();
            let fields = fields.ok_or_else(|| record.wrong("no object came of it"))?;
            fields.insert("kind".into(), self.name.into());
            Ok((place, item))
        };
        rows.iter().map(one).collect()
    }
}

/// Where an export goes on: a kind, and the place in its list.
fn place(request: &PageRequest) -> StoreResult<(usize, Cursor)> {
    let Some(after) = &request.after else {
        return Ok((0, BEGINNING));
    };
    let (kind, cursor) = after.split_once('.').ok_or(StoreError::InvalidCursor)?;
    let kind = KINDS.iter().position(|known| known.name == kind);
    let cursor = if cursor.is_empty() {
        BEGINNING
    } else {
        Cursor::decode(cursor)?
    };
    Ok((kind.ok_or(StoreError::InvalidCursor)?, cursor))
}

const BEGINNING: Cursor = Cursor {
    at: Timestamp::MAX,
    id: Uuid::max(),
};

impl Storage {
    pub(super) async fn export_page(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<Value>> {
        let (first, mut after) = place(page)?;
        let wanted = page.limit.clamp(1, PAGE_LIMIT_MAX) as usize;
        let transaction = self.owned_by(owner).await?;
        let mut items = Vec::new();
        let mut next = None;
        for kind in KINDS.iter().skip(first) {
            let room = wanted - items.len();
            if room == 0 {
                next = Some(format!("{}.", kind.name));
                break;
            }
            // One more than there is room for tells whether there are more.
            let mut found = kind.read(&transaction, owner, after, room as i64 + 1).await?;
            let more = found.len() > room;
            found.truncate(room);
            if more && let Some((place, _)) = found.last() {
                next = Some(format!("{}.{}", kind.name, place.encode()));
            }
            items.extend(found.into_iter().map(|(_, item)| item));
            if more {
                break;
            }
            after = BEGINNING;
        }
        transaction.commit().await?;
        Ok(Page { items, next })
    }
}
