//! Switching one feature on or off: stored first, and nobody is answered before this account's shelf shows it.

use std::sync::Arc;

use ractor::ActorRef;

use super::{
    Integration, IntegrationState,
    message::{IntegrationMsg, SwitchAsk},
    opened::{Opened, owned},
};
use crate::{
    consent,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        error::{ServiceError, ServiceResult},
        feature::{FeatureSpec, Switch},
        integration::{IntegrationView, StoredIntegration},
        provider::Provider,
    },
    ports::store::FeatureSwitch,
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
        result: ServiceResult<bool>,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        let answer = match result {
            Ok(true) => {
                // Only this of the row: the rest of it may have moved on since the statement, and is read again.
                let mut opened = Opened::clone(&state.opened);
                match ask.switch {
                    Switch::On => opened.stored.features.insert(ask.feature.clone()),
                    Switch::Off => opened.stored.features.remove(&ask.feature),
                };
                Self::learn(state, opened);
                self.show_token(state);
                self.reload(myself, state);
                Ok(IntegrationView::of(&state.opened.stored, Some(&self.provider)))
            }
            Ok(false) => {
                self.reload(myself, state);
                Err(ServiceError::NotConnected)
            }
            Err(error) => Err(error),
        };
        self.show_busy(state);
        let _ = ask.reply.send(answer);
    }
}

/// `Ok(false)`: the account is gone or revoked.
async fn store(
    shared: &Shared,
    provider: &Provider,
    stored: &StoredIntegration,
    ask: &SwitchAsk,
) -> ServiceResult<bool> {
    let scopes = provider
        .feature(&ask.feature)
        .map(FeatureSpec::required_scopes)
        .unwrap_or_default();
    let (action, consent) = match ask.switch {
        Switch::On => {
            let granted = scopes.difference(&provider.uncovered(&scopes, &stored.scopes));
            let features = std::iter::once(ask.feature.clone()).collect();
            let consent = consent::to(shared, provider, features, (&scopes, &granted), &ask.context);
            (AuditAction::FeatureEnabled, Some(consent))
        }
        Switch::Off => (AuditAction::FeatureDisabled, None),
    };
    let switch = FeatureSwitch {
        id: stored.id.clone(),
        owner: ask.owner.clone(),
        feature: ask.feature.clone(),
        consent,
        audit: AuditEntry::new(action, AuditOutcome::Success, ask.context.clone())
            .with_integration(&stored.id, &stored.owner.subject)
            .with_scopes(scopes),
    };
    let row = shared.ports.integrations.switch_feature(&switch).await;
    row.map(|row| row.is_some()).map_err(|error| store_error(&error))
}
