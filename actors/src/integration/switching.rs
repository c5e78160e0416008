//! Switching features on or off, and taking consents back: stored first, and nobody is answered before this account's shelf
//! shows it.

use std::{collections::BTreeSet, sync::Arc};

use ractor::ActorRef;

use super::{
    Integration, IntegrationState,
    message::{Change, IntegrationMsg, SwitchAsk},
    opened::{Opened, owned},
};
use crate::{
    consent,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        caller::RequestContext,
        consent::Shown,
        error::{ServiceError, ServiceResult},
        feature::FeatureSpec,
        integration::{IntegrationView, StoredIntegration},
        provider::Provider,
    },
    ports::store::{FeatureChange, FeatureSwitch},
    records::store_error,
    shared::Shared,
};

impl Integration {
    pub(super) fn switch(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Box<SwitchAsk>,
    ) {
        if !owned(&state.opened.stored, Some(&ask.owner)) {
            let _ = ask.reply.send(Err(ServiceError::not_found("integration")));
            return;
        }
        let (shared, provider) = (Arc::clone(&self.shared), Arc::clone(&self.provider));
        let (myself, stored) = (myself.clone(), state.opened.stored.clone());
        state.changes_under_way += 1;
        self.show_busy(state);
        self.shared
            .effects
            .spawn_or(Self::fails_with(&myself.clone()), async move {
                let result = store(&shared, &provider, &stored, &ask).await;
                if let Err(ractor::MessagingErr::SendErr(unheard)) =
                    myself.cast(IntegrationMsg::Switched(ask, result))
                {
                    // Durable; its next incarnation reads it.
                    unheard.refuse(ServiceError::DeadlineExceeded);
                }
            });
    }

    pub(super) fn switched(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: SwitchAsk,
        result: ServiceResult<Option<Box<StoredIntegration>>>,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        let answer = match result {
            Ok(Some(row)) => {
                let mut opened = Opened::clone(&state.opened);
                apply(&mut opened.stored, &ask.change, &row);
                Self::learn(state, opened);
                self.show_token(state);
                self.reload(myself, state);
                let now = self.shared.now();
                Ok(IntegrationView::of(
                    &state.opened.stored,
                    Some(&self.provider),
                    now,
                ))
            }
            Ok(None) => {
                self.reload(myself, state);
                Err(ServiceError::NotConnected)
            }
            Err(error) => Err(error),
        };
        self.show_busy(state);
        let _ = ask.reply.send(answer);
    }
}

/// Of the row as it was after this change, only what the change was about: the rest may have moved on since, and is read
/// again.
fn apply(stored: &mut StoredIntegration, change: &Change, row: &StoredIntegration) {
    match change {
        Change::On(feature) => {
            stored.features.insert(feature.clone());
            if let Some(agreement) = row.agreements.features.get(feature) {
                stored.agreements.features.insert(feature.clone(), *agreement);
            }
        }
        Change::Off(feature) => {
            stored.features.remove(feature);
        }
        Change::Withdraw(consent) => {
            stored
                .features
                .retain(|feature| !consent.features.contains(feature));
            if consent.features.is_empty() {
                stored.agreements.scopes = row.agreements.scopes;
            }
        }
    }
}

/// `Ok(None)`: the account is gone or revoked.
async fn store(
    shared: &Shared,
    provider: &Provider,
    stored: &StoredIntegration,
    ask: &SwitchAsk,
) -> ServiceResult<Option<Box<StoredIntegration>>> {
    let (action, scopes, change) = match &ask.change {
        Change::On(key) => {
            let spec = provider.feature(key).ok_or(ServiceError::Internal)?;
            (
                AuditAction::FeatureEnabled,
                spec.required_scopes(),
                switch_on(shared, provider, stored, spec, &ask.context),
            )
        }
        Change::Off(key) => (
            AuditAction::FeatureDisabled,
            provider
                .feature(key)
                .map(FeatureSpec::required_scopes)
                .unwrap_or_default(),
            FeatureChange::Off {
                features: BTreeSet::from([key.clone()]),
                scopes: false,
            },
        ),
        Change::Withdraw(consent) => (
            AuditAction::ConsentWithdrawn,
            consent.granted_scopes.clone(),
            FeatureChange::Off {
                features: consent.features.clone(),
                scopes: consent.features.is_empty(),
            },
        ),
    };
    let switch = FeatureSwitch {
        id: stored.id.clone(),
        owner: ask.owner.clone(),
        change,
        audit: AuditEntry::new(action, AuditOutcome::Success, ask.context.clone())
            .with_integration(&stored.id, &stored.owner.subject)
            .with_scopes(scopes),
    };
    let row = shared.ports.integrations.switch_feature(&switch).await;
    row.map(|row| row.map(Box::new))
        .map_err(|error| store_error(&error))
}

fn switch_on(
    shared: &Shared,
    provider: &Provider,
    stored: &StoredIntegration,
    spec: &FeatureSpec,
    context: &RequestContext,
) -> FeatureChange {
    let requested = spec.required_scopes();
    let granted = requested.difference(&provider.uncovered(&requested, &stored.scopes));
    let wording = consent::wording(shared, spec);
    FeatureChange::On {
        feature: spec.key.clone(),
        consent: Box::new(consent::consent(
            shared,
            Shown::from(&wording),
            (requested, granted),
            context,
        )),
        wording: Box::new(wording),
        renews: stored.lapse(spec, shared.now()).is_some(),
    }
}
