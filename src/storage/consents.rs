//! Consents: written with the change they allow, read by their user, with the words they were given to.

use tokio_postgres::Row;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        caller::USER_AGENT_MAX_CHARS,
        consent::{ConsentView, NewConsent, Wording},
        feature::FeatureKey,
        ids::{IntegrationId, ProviderKey, Subject},
        integration::Owner,
        page::{Page, PageRequest},
    },
    ports::store::StoreResult,
};

use super::{
    Storage,
    audit::clean,
    connect::feature_names,
    cursor::{self, Cursor},
    lease::Transaction,
    row::Record,
};

/// Columns of a consent `c` and the words `w` it was given to, as [`consent`] reads them.
macro_rules! consents {
    () => {
        "SELECT c.id, c.integration_id, c.provider, c.subject, c.features, c.requested_scopes, c.granted_scopes, \
         c.wording_version, c.wording_hash, w.wording, c.granted_at, c.expires_at, c.withdrawn_at, c.ip, c.user_agent \
         FROM oauth_consents c LEFT JOIN oauth_wordings w ON w.hash = c.wording_hash "
    };
}
const LIST: &str = concat!(
    consents!(),
    "WHERE c.integration_id = $1 AND c.provider = $2 AND c.subject = $3 AND (c.granted_at, c.id) < ($4, $5) \
     ORDER BY c.granted_at DESC, c.id DESC LIMIT $6"
);
const FIND: &str = concat!(
    consents!(),
    "WHERE c.integration_id = $1 AND c.provider = $2 AND c.subject = $3 AND c.id = $4"
);
const INSERT_CONSENT: &str = "\
INSERT INTO oauth_consents (id, integration_id, user_id, subject, provider, features, requested_scopes,
    granted_scopes, wording_version, wording_hash, expires_at, ip, user_agent)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";

/// In the order of the key, so that two that write the same words do not wait for each other in a circle.
const KEEP_WORDINGS: &str = "\
INSERT INTO oauth_wordings (hash, version, feature, wording)
SELECT DISTINCT ON (hash) * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
    AS row (hash, version, feature, wording)
ORDER BY hash
ON CONFLICT (hash) DO NOTHING";

impl Storage {
    pub(super) async fn list_consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: &PageRequest,
    ) -> StoreResult<Page<ConsentView>> {
        let after = Cursor::of(page)?;
        let transaction = self.owned_by(owner).await?;
        let rows = transaction
            .query(
                LIST,
                &[
                    &id.uuid,
                    &id.provider.as_str(),
                    &owner.as_str(),
                    &after.at,
                    &after.id,
                    &cursor::rows_wanted(page),
                ],
            )
            .await?;
        transaction.commit().await?;
        let items = rows.iter().map(consent).collect::<StoreResult<Vec<_>>>()?;
        Ok(cursor::page(page, items, |item| Cursor {
            at: item.granted_at,
            id: item.id,
        }))
    }

    pub(super) async fn find_consent(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        wanted: Uuid,
    ) -> StoreResult<Option<ConsentView>> {
        let transaction = self.owned_by(owner).await?;
        let row = transaction
            .query_opt(FIND, &[&id.uuid, &id.provider.as_str(), &owner.as_str(), &wanted])
            .await?;
        transaction.commit().await?;
        row.as_ref().map(consent).transpose()
    }
}

pub(super) async fn insert_consent(
    transaction: &Transaction,
    id: &IntegrationId,
    owner: &Owner,
    consent: &NewConsent,
) -> StoreResult<()> {
    let agent = consent.user_agent.as_deref();
    transaction
        .execute(
            INSERT_CONSENT,
            &[
                &Uuid::now_v7(),
                &id.uuid,
                &owner.user_id.0,
                &owner.subject.as_str(),
                &id.provider.as_str(),
                &feature_names(&consent.features),
                &consent.requested_scopes.to_strings(),
                &consent.granted_scopes.to_strings(),
                &consent.wording_version.to_string(),
                &consent.wording_hash,
                &consent.expires_at,
                &consent.ip,
                &agent.map(|agent| clean(agent, USER_AGENT_MAX_CHARS)),
            ],
        )
        .await?;
    Ok(())
}

/// Keeps words that are shown, for whoever asks later what a consent was given to.
pub(super) async fn keep_wordings<'a>(
    transaction: &Transaction,
    wordings: impl IntoIterator<Item = &'a Wording>,
) -> StoreResult<()> {
    let (mut hashes, mut versions, mut features, mut words) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for wording in wordings {
        hashes.push(wording.wording_hash.as_str());
        versions.push(wording.wording_version.to_string());
        features.push(wording.feature.as_ref().map(FeatureKey::as_str));
        words.push(wording.wording.as_str());
    }
    transaction
        .execute(KEEP_WORDINGS, &[&hashes, &versions, &features, &words])
        .await
        .map(drop)
}

fn consent(row: &Row) -> StoreResult<ConsentView> {
    let record = Record::of("oauth_consents", row)?;
    let provider: ProviderKey = record.parse("provider")?;
    Ok(ConsentView {
        id: record.id(),
        integration_id: IntegrationId::new(provider.clone(), record.get("integration_id")?),
        provider,
        user: record.parse("subject")?,
        features: record.features("features")?,
        requested_scopes: record.scopes("requested_scopes")?,
        granted_scopes: record.scopes("granted_scopes")?,
        wording_version: record.parse("wording_version")?,
        wording_hash: record.get("wording_hash")?,
        wording: record.get("wording")?,
        granted_at: record.get("granted_at")?,
        expires_at: record.get("expires_at")?,
        withdrawn_at: record.get("withdrawn_at")?,
        ip: record.get("ip")?,
        user_agent: record.get("user_agent")?,
    })
}
