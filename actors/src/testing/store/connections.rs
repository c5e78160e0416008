//! Connecting and taking back.

use uuid::Uuid;

use super::tables::{Row, Tables};
use crate::{
    domain::{
        Timestamp,
        account::Account,
        audit::AuditEntry,
        authorization::AuthorizationStatus,
        consent::{Agreements, ConsentView, NewConsent},
        ids::{IntegrationId, ProviderKey, Subject, UserId},
        integration::{Owner, Standing, Status, StoredGrant, StoredIntegration},
        reason::ReasonCode,
    },
    ports::store::{Commit, ConnectCommit, FeatureChange, FeatureSwitch, Reservation},
};

impl Tables {
    pub(super) fn reserve(
        &self,
        user: UserId,
        provider: &ProviderKey,
        account: &Account,
        now: Timestamp,
    ) -> Reservation {
        let present = self.integrations.values().find(|row| {
            row.stored.owner.user_id == user
                && row.stored.id.provider == *provider
                && row.stored.account.is_same(account)
        });
        match present {
            Some(row) => Reservation {
                id: row.stored.id.clone(),
                generation: row.generation,
                present: Some(Box::new(row.view(now))),
            },
            None => Reservation {
                id: IntegrationId::new(provider.clone(), Uuid::now_v7()),
                generation: 0,
                present: None,
            },
        }
    }

    pub(super) fn commit_connect(&mut self, commit: &ConnectCommit, now: Timestamp) -> Commit {
        let id = &commit.reservation.id;
        let Some(flow) = self.flows.get_mut(&commit.authorization) else {
            return Commit::Fenced;
        };
        let present = self.integrations.get(&id.uuid);
        let moved = present.map_or(0, |row| row.generation) != commit.reservation.generation;
        let was_revoked = |row: &StoredIntegration| -> bool { row.standing.status == Status::Revoked };
        let turned = present.map(|row| was_revoked(&row.stored))
            != commit.reservation.present.as_deref().map(was_revoked);
        let waits = match flow.stored.status {
            AuthorizationStatus::Exchanged => true,
            AuthorizationStatus::AccountMismatch => !flow.expired(now),
            _ => false,
        };
        // The index on accounts: somebody else has connected this one meanwhile, under another id.
        let is_taken = self.integrations.values().any(|row| {
            let (stored, account) = (&row.stored, &commit.account);
            stored.id != *id
                && stored.id.provider == id.provider
                && stored.owner.user_id == commit.user_id
                && stored.account.id == account.id
                && stored.account.issuer == account.issuer
        });
        if moved || turned || !waits || is_taken {
            return Commit::Fenced;
        }
        flow.end(AuthorizationStatus::Connected);
        flow.stored.integration_id = Some(id.clone());

        let generation = commit.reservation.generation + 1;
        let stored = StoredIntegration {
            id: id.clone(),
            owner: Owner {
                user_id: commit.user_id,
                subject: commit.subject.clone(),
            },
            account: commit.account.clone(),
            standing: Standing::active(),
            scopes: commit.scopes.clone(),
            features: commit.features.clone(),
            agreements: {
                let held = present.filter(|row| !was_revoked(&row.stored));
                let mut agreements =
                    held.map_or_else(Agreements::default, |row| row.stored.agreements.clone());
                agreements.extend(Agreements::of(&commit.consents));
                agreements
            },
            metadata: commit.metadata.clone(),
            created_at: present.map_or(now, |row| row.stored.created_at),
            updated_at: now,
            last_refreshed_at: present.and_then(|row| row.stored.last_refreshed_at),
            grant: Some(StoredGrant {
                generation,
                data_key: commit.data_key.clone(),
                access_token: commit.access_token.clone(),
                refresh_token: commit.refresh_token.clone(),
                token_type: commit.token_type.clone(),
                issued_at: commit.issued_at,
                expires_at: commit.expires_at,
                refresh_token_expires_at: commit.refresh_token_expires_at,
                refresh_token_since: Some(commit.issued_at),
                last_used_at: now,
                next_refresh_at: commit.next_refresh_at,
                failures: 0,
                claim: None,
            }),
        };
        self.integrations.insert(id.uuid, Row::new(stored));
        for new in &commit.consents {
            self.consents
                .push(consent(&commit.reservation.id, &commit.subject, new, now));
        }
        self.record(&commit.audit, now);
        Commit::Done
    }

    pub(super) fn switch_feature(
        &mut self,
        switch: &FeatureSwitch,
        now: Timestamp,
    ) -> Option<StoredIntegration> {
        let row = self.integrations.get_mut(&switch.id.uuid).filter(|row| {
            row.stored.id == switch.id
                && row.stored.standing.status != Status::Revoked
                && row.stored.owner.subject == switch.owner
        })?;
        let stored = &mut row.stored;
        let changed = match &switch.change {
            FeatureChange::On {
                feature,
                consent,
                renews,
                ..
            } => {
                let changed = stored.features.insert(feature.clone()) || *renews;
                if changed {
                    stored.agreements.extend(Agreements::of([&**consent]));
                }
                changed
            }
            FeatureChange::Off { features, scopes } => {
                let before = stored.features.len();
                stored.features.retain(|feature| !features.contains(feature));
                let agreement = stored.agreements.scopes.as_mut();
                let ends = agreement.filter(|agreement| *scopes && !agreement.withdrawn);
                let ended = ends.map(|agreement| agreement.withdrawn = true).is_some();
                before != stored.features.len() || ended
            }
        };
        if changed {
            stored.updated_at = now;
        }
        let seen = row.view(now);
        if !changed {
            return Some(seen);
        }
        match &switch.change {
            FeatureChange::On { consent: new, .. } => {
                self.consents.push(consent(&switch.id, &switch.owner, new, now));
            }
            FeatureChange::Off { features, scopes } => {
                let under_way = self.flows.values_mut().filter(|flow| {
                    flow.stored.integration_id.as_ref() == Some(&switch.id) && !flow.stored.status.is_final()
                });
                for flow in under_way {
                    flow.stored.features.retain(|feature| !features.contains(feature));
                }
                let ends = |consent: &&mut ConsentView| {
                    let is_about = !consent.features.is_disjoint(features)
                        && consent.features.is_disjoint(&seen.features);
                    consent.integration_id == switch.id
                        && (is_about || *scopes && consent.features.is_empty())
                };
                for consent in self.consents.iter_mut().filter(ends) {
                    consent.withdrawn_at = consent.withdrawn_at.or(Some(now));
                }
            }
        }
        self.record(&switch.audit, now);
        Some(seen)
    }

    pub(super) fn revoke(
        &mut self,
        owner: Option<&Subject>,
        id: &IntegrationId,
        reason: &ReasonCode,
        retry_at: Timestamp,
        audit: &AuditEntry,
        now: Timestamp,
    ) -> Option<StoredIntegration> {
        let row = self.integrations.get_mut(&id.uuid).filter(|row| {
            row.stored.standing.status != Status::Revoked
                && owner.is_none_or(|owner| row.stored.owner.subject == *owner)
        })?;
        row.stored.standing = Standing {
            status: Status::Revoked,
            reason: Some(reason.clone()),
            who_must_act: None,
        };
        row.stored.updated_at = now;
        if let Some(grant) = &mut row.stored.grant {
            grant.failures = 0;
            grant.next_refresh_at = Some(retry_at);
            grant.claim = None;
        }
        let seen = row.view(now);
        for consent in self
            .consents
            .iter_mut()
            .filter(|consent| consent.integration_id == *id)
        {
            consent.withdrawn_at = consent.withdrawn_at.or(Some(now));
        }
        self.record(audit, now);
        Some(seen)
    }

    /// The row if it is revoked and still holds tokens of this generation.
    pub(super) fn revoked(&mut self, id: &IntegrationId, generation: i64) -> Option<&mut Row> {
        self.integrations.get_mut(&id.uuid).filter(|row| {
            row.stored.standing.status == Status::Revoked
                && row
                    .stored
                    .grant
                    .as_ref()
                    .is_some_and(|grant| grant.generation == generation)
        })
    }
}

fn consent(id: &IntegrationId, user: &Subject, new: &NewConsent, now: Timestamp) -> ConsentView {
    let new = new.clone();
    ConsentView {
        id: Uuid::now_v7(),
        integration_id: id.clone(),
        provider: id.provider.clone(),
        user: user.clone(),
        features: new.features,
        requested_scopes: new.requested_scopes,
        granted_scopes: new.granted_scopes,
        wording_version: new.wording_version,
        wording_hash: new.wording_hash,
        wording: None,
        granted_at: now,
        expires_at: new.expires_at,
        withdrawn_at: None,
        ip: new.ip,
        user_agent: new.user_agent,
    }
}
