//! Features switched on and off, with their consent, in one transaction. Only the integration's own row is locked: the
//! tokens are not touched.

use uuid::Uuid;

use oauth_manager_actors::{
    domain::integration::{Status, StoredIntegration},
    ports::store::{FeatureSwitch, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    connect::insert_consent,
    events::insert_event,
    row::{self, integration_columns},
};

/// `$features`: what they become; `$unless`: when they are so already; `$kind`: the event.
macro_rules! switch {
    ($features:literal, $unless:literal, $withdraw:literal, $kind:literal) => {
        concat!(
            "WITH i AS (
                UPDATE oauth_integrations
                SET features = ",
            $features,
            ", updated_at = now()
                WHERE id = $16 AND provider = $17 AND subject = $18 AND status <> 'revoked' AND ",
            $unless,
            "
                RETURNING *
            ), ",
            $withdraw,
            "audit AS (",
            insert_audit!(),
            " FROM i), event AS (",
            insert_event!("$15", $kind),
            " FROM i JOIN oauth_tokens t ON t.integration_id = i.id)
            SELECT ",
            integration_columns!(),
            " FROM i JOIN oauth_tokens t ON t.integration_id = i.id"
        )
    };
}

const ON: &str = switch!(
    "ARRAY(SELECT DISTINCT feature FROM unnest(features || $19::text) AS feature ORDER BY feature)",
    "NOT features @> ARRAY[$19::text]",
    "",
    "'feature_enabled'"
);
/// A consent to this feature and others stands: the others are not taken back. A flow under way that would have brought the
/// feature along brings it no more.
const OFF: &str = switch!(
    "array_remove(features, $19::text)",
    "features @> ARRAY[$19::text]",
    "consents AS (
        UPDATE oauth_consents SET withdrawn_at = now()
        FROM i WHERE integration_id = i.id AND withdrawn_at IS NULL AND oauth_consents.features = ARRAY[$19::text]
    ), flows AS (
        UPDATE oauth_authorizations SET features = array_remove(oauth_authorizations.features, $19::text)
        FROM i WHERE integration_id = i.id AND oauth_authorizations.subject = i.subject
            AND oauth_authorizations.status IN
                ('created', 'redirected', 'returned', 'awaiting_confirmation', 'account_mismatch')
    ), ",
    "'feature_disabled'"
);

impl Storage {
    pub(super) async fn store_switch(
        &self,
        switch: &FeatureSwitch,
    ) -> StoreResult<Option<StoredIntegration>> {
        let audit = AuditRow::of(&switch.audit);
        let transaction = self.system().await?.begin().await?;
        let row = transaction
            .query_opt(
                if switch.consent.is_some() { ON } else { OFF },
                &audit.params_and(&[
                    &Uuid::now_v7(),
                    &switch.id.uuid,
                    &switch.id.provider.as_str(),
                    &switch.owner.as_str(),
                    &switch.feature.as_str(),
                ]),
            )
            .await?;
        let Some(row) = row else {
            // So already, or not there.
            transaction.rollback().await?;
            let found = self.find_integration(&switch.owner, &switch.id).await?;
            return Ok(found.filter(|stored| stored.standing.status != Status::Revoked));
        };
        let stored = row::integration(&row)?;
        if let Some(consent) = &switch.consent {
            insert_consent(&transaction, &switch.id, &stored.owner, consent).await?;
        }
        transaction.commit().await?;
        self.announce(&switch.id).await;
        Ok(Some(stored))
    }
}
