//! Features switched on and off, with their consent, in one transaction. Only the integration's own row is locked: the
//! tokens are not touched.

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{
        consent::Agreements,
        integration::{Status, StoredIntegration},
    },
    ports::store::{FeatureChange, FeatureSwitch, StoreResult},
};

use super::{
    Storage,
    audit::{AuditRow, insert_audit},
    connect::feature_names,
    consents::{insert_consent, keep_wordings},
    events::insert_event,
    row::{self, integration_columns},
};

/// `$set`: what becomes of the integration; `$unless`: when it is so already; `$withdraw`: what else; `$kind`: the event.
macro_rules! switch {
    ($set:literal, $unless:literal, $withdraw:literal, $kind:literal) => {
        concat!(
            "WITH i AS (
                UPDATE oauth_integrations
                SET ",
            $set,
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
    "features = ARRAY(SELECT DISTINCT feature FROM unnest(features || $19::text) AS feature ORDER BY feature),
        agreements = agreements || $20::jsonb",
    "($21::boolean OR NOT features @> ARRAY[$19::text])",
    "",
    "'feature_enabled'"
);
/// A consent to one of these and to others that stay on stands: the others are not taken back.
const OFF: &str = switch!(
    "features = ARRAY(SELECT feature FROM unnest(features) AS feature WHERE feature <> ALL($19::text[])),
        agreements = CASE WHEN $20::boolean THEN agreements || jsonb_build_object('scopes',
            coalesce(agreements -> 'scopes', '{\"wording\": \"1.0\"}') || '{\"withdrawn\": true}') ELSE agreements END",
    "(features && $19::text[]
        OR $20::boolean AND NOT coalesce((agreements -> 'scopes' ->> 'withdrawn')::boolean, false))",
    "consents AS (
        UPDATE oauth_consents AS c SET withdrawn_at = now()
        FROM i WHERE c.integration_id = i.id AND c.withdrawn_at IS NULL
            AND (c.features && $19::text[] AND NOT c.features && i.features OR $20::boolean AND c.features = '{}')
    ), ",
    "'feature_disabled'"
);

type Param<'a> = &'a (dyn ToSql + Sync);

impl Storage {
    pub(super) async fn store_switch(
        &self,
        switch: &FeatureSwitch,
    ) -> StoreResult<Option<StoredIntegration>> {
        let audit = AuditRow::of(&switch.audit);
        let transaction = self.system().await?.begin().await?;
        let (id, about) = (
            Uuid::now_v7(),
            (
                &switch.id.uuid,
                switch.id.provider.as_str(),
                switch.owner.as_str(),
            ),
        );
        let row = match &switch.change {
            FeatureChange::On {
                feature,
                consent,
                renews,
                ..
            } => {
                let agreements = Agreements::of([&**consent]).to_json();
                let feature = feature.as_str();
                let params = [
                    &id as Param<'_>,
                    about.0,
                    &about.1,
                    &about.2,
                    &feature,
                    &agreements,
                    renews,
                ];
                transaction.query_opt(ON, &audit.params_and(&params)).await?
            }
            FeatureChange::Off { features, scopes } => {
                let features = feature_names(features);
                let params = [&id as Param<'_>, about.0, &about.1, &about.2, &features, scopes];
                transaction.query_opt(OFF, &audit.params_and(&params)).await?
            }
        };
        let Some(row) = row else {
            // So already, or not there.
            transaction.rollback().await?;
            let found = self.find_integration(&switch.owner, &switch.id).await?;
            return Ok(found.filter(|stored| stored.standing.status != Status::Revoked));
        };
        let stored = row::integration(&row)?;
        if let FeatureChange::On { consent, wording, .. } = &switch.change {
            keep_wordings(&transaction, [&**wording]).await?;
            insert_consent(&transaction, &switch.id, &stored.owner, consent).await?;
        }
        transaction.commit().await?;
        self.announce(&switch.id).await;
        Ok(Some(stored))
    }
}
