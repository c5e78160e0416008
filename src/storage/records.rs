//! The audit as its user sees it, rows that stand alone, the catalogue, and readiness.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::Row;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        audit::{AuditEntry, AuditView},
        consent::ConsentView,
        ids::{AuthorizationId, IntegrationId, NodeId, Subject},
        page::{Page, PageRequest},
        provider::Provider,
        unwritable::Unwritable,
    },
    ports::store::{RecordStore, StoreError, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    cursor::{self, Cursor},
    row::Record,
};

const AUDIT: &str = "\
SELECT id, at, actor, action, outcome, provider, integration_id, authorization_id, scopes, error, count, request_id,
    ip, user_agent
FROM oauth_audit_log
WHERE subject = $1 AND (at, id) < ($2, $3)
ORDER BY at DESC, id DESC LIMIT $4";
const APPEND: &str = insert_audit!();
/// In the order of the key, so that two nodes that seed at once do not wait for each other in a circle.
const SEED: &str = "\
INSERT INTO oauth_scopes (provider, feature, scope, display_name, description, category, required, dangerous)
SELECT DISTINCT ON (provider, feature, scope) * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::bool[])
    AS row (provider, feature, scope, display_name, description, category, required, dangerous)
ORDER BY 1, 2, 3
ON CONFLICT (provider, feature, scope) DO UPDATE
SET display_name = excluded.display_name, description = excluded.description, category = excluded.category,
    required = excluded.required, dangerous = excluded.dangerous, updated_at = now()";
const UNSEED: &str = "\
DELETE FROM oauth_scopes WHERE (provider, feature, scope) NOT IN (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[]) AS row (provider, feature, scope))";

impl Storage {
    async fn list_audit(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<AuditView>> {
        let after = Cursor::of(page)?;
        let transaction = self.owned_by(owner).await?;
        let rows = transaction
            .query(
                AUDIT,
                &[&owner.as_str(), &after.at, &after.id, &cursor::rows_wanted(page)],
            )
            .await?;
        transaction.commit().await?;
        let items = rows.iter().map(audit_view).collect::<StoreResult<Vec<_>>>()?;
        Ok(cursor::page(page, items, |item| Cursor {
            at: item.at,
            id: item.id,
        }))
    }

    pub(super) async fn append_audit(&self, entries: &[AuditEntry]) -> StoreResult<()> {
        let client = self.system().await?;
        if let [entry] = entries {
            client
                .execute(APPEND, &AuditRow::of(entry).params_and(&[]))
                .await?;
            return Ok(());
        }
        let transaction = client.begin().await?;
        for entry in entries {
            transaction
                .execute(APPEND, &AuditRow::of(entry).params_and(&[]))
                .await?;
        }
        transaction.commit().await
    }

    async fn seed(&self, providers: &[Arc<Provider>]) -> StoreResult<()> {
        let mut columns = <[Vec<&str>; 6]>::default();
        let mut flags = <[Vec<bool>; 2]>::default();
        for provider in providers {
            for feature in &provider.features {
                for spec in &feature.scopes {
                    let texts = [
                        provider.key.as_str(),
                        feature.key.as_str(),
                        spec.scope.as_str(),
                        &spec.display_name,
                        &spec.description,
                        &spec.category,
                    ];
                    columns.iter_mut().zip(texts).for_each(|(c, text)| c.push(text));
                    flags[0].push(spec.required);
                    flags[1].push(spec.dangerous);
                }
            }
        }
        let [provider, feature, scope, display_name, description, category] = &columns;
        let transaction = self.system().await?.begin().await?;
        transaction
            .execute(
                SEED,
                &[
                    provider,
                    feature,
                    scope,
                    display_name,
                    description,
                    category,
                    &flags[0],
                    &flags[1],
                ],
            )
            .await?;
        transaction.execute(UNSEED, &[provider, feature, scope]).await?;
        transaction.commit().await
    }
}

pub(super) fn audit_view(row: &Row) -> StoreResult<AuditView> {
    let record = Record::of("oauth_audit_log", row)?;
    let provider: Option<oauth_manager_actors::domain::ids::ProviderKey> = record.parse_opt("provider")?;
    let integration = record.get::<Option<Uuid>>("integration_id")?;
    Ok(AuditView {
        id: record.id(),
        at: record.get("at")?,
        action: record.get("action")?,
        outcome: record.get("outcome")?,
        actor: record.get("actor")?,
        integration_id: provider
            .clone()
            .zip(integration)
            .map(|(provider, uuid)| IntegrationId::new(provider, uuid)),
        provider,
        authorization_id: record
            .get::<Option<Uuid>>("authorization_id")?
            .map(AuthorizationId),
        scopes: record.scopes("scopes")?,
        error: record.reason("error")?,
        count: record.count("count")?,
        request_id: record.get("request_id")?,
        ip: record.get("ip")?,
        user_agent: record.get("user_agent")?,
    })
}

// === impl RecordStore ===

#[async_trait]
impl RecordStore for Storage {
    async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: &PageRequest,
    ) -> StoreResult<Page<ConsentView>> {
        self.within("records.consents", self.list_consents(owner, id, page))
            .await
    }

    async fn consent(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        consent: Uuid,
    ) -> StoreResult<Option<ConsentView>> {
        self.within("records.consent", self.find_consent(owner, id, consent))
            .await
    }

    async fn audit(&self, owner: &Subject, page: &PageRequest) -> StoreResult<Page<AuditView>> {
        self.within("records.audit", self.list_audit(owner, page)).await
    }

    async fn append(&self, entries: &[AuditEntry]) -> StoreResult<()> {
        self.within("records.append", self.append_audit(entries)).await?;
        self.mark_used(entries).await;
        Ok(())
    }

    async fn seed_catalogue(&self, providers: &[Arc<Provider>]) -> StoreResult<()> {
        self.within("records.seed_catalogue", self.seed(providers)).await
    }

    async fn try_write(&self, node: NodeId, was_full: bool) -> StoreResult<Option<Unwritable>> {
        self.within("records.try_write", self.try_to_write(node, was_full))
            .await
    }

    async fn ready(&self) -> StoreResult<()> {
        if self.is_current().await? {
            // A database that answers and that nobody may use yet is not ready.
            self.admitted()
        } else {
            // It answers, and with a schema that is not this program's.
            Err(StoreError::Inconsistent {
                table: "schema_migrations",
                id: "-".into(),
                detail: "the schema is not migrated".into(),
            })
        }
    }
}
