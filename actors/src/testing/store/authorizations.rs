//! Connect flows.

use async_trait::async_trait;

use super::{MemoryStore, Op, constraints, tables::Flow};
use crate::{
    domain::consent::Shown,
    domain::{
        audit::AuditEntry,
        authorization::{AuthorizationStatus, StoredAuthorization},
        ids::{AuthorizationId, Subject, UserId},
        integration::Owner,
        reason::ReasonCode,
        sealed::{Digest, Sealed},
    },
    ports::store::{
        AuthorizationStore, Commit, ConfirmationOutcome, NewAuthorization, RedirectRecord, StateOutcome,
        StoreResult,
    },
    shared::after,
};

#[async_trait]
impl AuthorizationStore for MemoryStore {
    async fn create(&self, new: &NewAuthorization) -> StoreResult<Option<StoredAuthorization>> {
        self.run(Op::Create, |tables, now| {
            constraints::authorization(new)?;
            let pending = tables.flows.values().filter(|flow| {
                flow.stored.owner.subject == new.subject
                    && !flow.stored.status.is_final()
                    && !flow.expired(now)
            });
            if pending.count() >= new.pending_max as usize {
                return Ok(None);
            }
            let user_id = *tables
                .users
                .entry(new.subject.clone())
                .or_insert_with(|| UserId(uuid::Uuid::now_v7()));
            let stored = StoredAuthorization {
                id: new.id,
                owner: Owner {
                    user_id,
                    subject: new.subject.clone(),
                },
                provider: new.provider.clone(),
                status: AuthorizationStatus::Created,
                error: None,
                features: new.features.clone(),
                requested_scopes: new.requested_scopes.clone(),
                shown: new.wordings.iter().map(Shown::from).collect(),
                redirect_uri: new.redirect_uri.clone(),
                return_to: new.return_to.clone(),
                integration_id: new.integration_id.clone(),
                login_hint: new.login_hint.clone(),
                nonce: None,
                browser: None,
                data_key: None,
                pkce_verifier: None,
                code: None,
                staged: None,
                created_at: now,
                expires_at: after(now, new.lifetime),
            };
            let flow = Flow {
                stored: stored.clone(),
                handle: new.handle,
                state: None,
                confirmation: None,
            };
            tables.flows.insert(new.id, flow);
            tables.record(&new.audit, now);
            Ok(Some(stored))
        })
        .await
    }

    async fn find_by_handle(&self, handle: &Digest) -> StoreResult<Option<StoredAuthorization>> {
        self.run(Op::FindFlow, |tables, now| {
            Ok(tables
                .flows
                .values()
                .find(|flow| flow.handle == *handle)
                .map(|flow| flow.view(now)))
        })
        .await
    }

    async fn find(&self, owner: &Subject, id: AuthorizationId) -> StoreResult<Option<StoredAuthorization>> {
        self.run(Op::FindFlow, |tables, now| {
            let flow = tables
                .flows
                .get(&id)
                .filter(|flow| flow.stored.owner.subject == *owner);
            Ok(flow.map(|flow| flow.view(now)))
        })
        .await
    }

    async fn redirect(&self, id: AuthorizationId, record: &RedirectRecord) -> StoreResult<Commit> {
        self.run(Op::Redirect, |tables, now| {
            let flow = tables.flows.get_mut(&id).filter(|flow| {
                let status = flow.stored.status;
                matches!(
                    status,
                    AuthorizationStatus::Created | AuthorizationStatus::Redirected
                ) && !flow.expired(now)
            });
            let Some(flow) = flow else {
                return Ok(Commit::Fenced);
            };
            flow.state = Some(record.state);
            flow.stored.status = AuthorizationStatus::Redirected;
            flow.stored.browser = Some(record.browser);
            flow.stored.nonce = Some(record.nonce.clone());
            flow.stored.data_key = Some(record.data_key.clone());
            flow.stored.pkce_verifier = Some(record.pkce_verifier.clone());
            Ok(Commit::Done)
        })
        .await
    }

    async fn consume_state(&self, state: &Digest) -> StoreResult<StateOutcome> {
        self.run(Op::ConsumeState, |tables, now| {
            let Some(flow) = tables.flows.values_mut().find(|flow| flow.state == Some(*state)) else {
                return Ok(StateOutcome::Unknown);
            };
            let seen = Box::new(flow.view(now));
            Ok(match seen.status {
                AuthorizationStatus::Redirected => {
                    flow.stored.status = AuthorizationStatus::Returned;
                    StateOutcome::Consumed(Box::new(flow.stored.clone()))
                }
                AuthorizationStatus::Expired => StateOutcome::Expired(seen),
                _ => StateOutcome::Used(seen),
            })
        })
        .await
    }

    async fn hold_code(
        &self,
        id: AuthorizationId,
        code: &Sealed,
        confirmation: &Digest,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.run(Op::HoldCode, |tables, now| {
            let flow = tables
                .flows
                .get_mut(&id)
                .filter(|flow| flow.stored.status == AuthorizationStatus::Returned && !flow.expired(now));
            let Some(flow) = flow else {
                return Ok(Commit::Fenced);
            };
            flow.stored.status = AuthorizationStatus::AwaitingConfirmation;
            flow.stored.code = Some(code.clone());
            flow.confirmation = Some(*confirmation);
            tables.record(audit, now);
            Ok(Commit::Done)
        })
        .await
    }

    async fn begin_exchange(&self, id: AuthorizationId) -> StoreResult<Commit> {
        self.run(Op::BeginExchange, |tables, now| {
            let flow = tables
                .flows
                .get_mut(&id)
                .filter(|flow| flow.stored.status == AuthorizationStatus::Returned && !flow.expired(now));
            let Some(flow) = flow else {
                return Ok(Commit::Fenced);
            };
            flow.stored.status = AuthorizationStatus::Exchanged;
            Ok(Commit::Done)
        })
        .await
    }

    async fn stage(
        &self,
        id: AuthorizationId,
        grant: &Sealed,
        patience: std::time::Duration,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.run(Op::Stage, |tables, now| {
            let flow = tables
                .flows
                .get_mut(&id)
                .filter(|flow| flow.stored.status == AuthorizationStatus::Exchanged);
            let Some(flow) = flow else {
                return Ok(Commit::Fenced);
            };
            flow.stored.status = AuthorizationStatus::AccountMismatch;
            flow.stored.error = Some(ReasonCode::new("account_mismatch"));
            flow.stored.staged = Some(grant.clone());
            flow.stored.pkce_verifier = None;
            flow.stored.nonce = None;
            flow.stored.expires_at = flow.stored.expires_at.max(after(now, patience));
            tables.record(audit, now);
            Ok(Commit::Done)
        })
        .await
    }

    async fn confirm(
        &self,
        caller: &Subject,
        id: AuthorizationId,
        confirmation: &Digest,
        refusal: &AuditEntry,
    ) -> StoreResult<ConfirmationOutcome> {
        self.run(Op::Confirm, |tables, now| {
            let Some(flow) = tables.flows.get_mut(&id) else {
                return Ok(ConfirmationOutcome::Unknown);
            };
            let right = flow.confirmation == Some(*confirmation);
            if flow.stored.owner.subject != *caller {
                if !right {
                    return Ok(ConfirmationOutcome::Unknown);
                }
                flow.end(AuthorizationStatus::Failed);
                flow.stored.error = Some(ReasonCode::new("binding_mismatch"));
                tables.record(refusal, now);
                return Ok(ConfirmationOutcome::OtherUser);
            }
            if flow.expired(now) {
                flow.end(AuthorizationStatus::Expired);
                return Ok(ConfirmationOutcome::Expired);
            }
            Ok(match flow.stored.status {
                AuthorizationStatus::AwaitingConfirmation if right => {
                    let mut taken = flow.stored.clone();
                    taken.status = AuthorizationStatus::Exchanged;
                    flow.stored.status = AuthorizationStatus::Exchanged;
                    flow.stored.code = None;
                    ConfirmationOutcome::Taken(Box::new(taken))
                }
                AuthorizationStatus::AwaitingConfirmation => ConfirmationOutcome::Wrong,
                AuthorizationStatus::Expired => ConfirmationOutcome::Expired,
                _ => ConfirmationOutcome::NotWaiting(Box::new(flow.stored.clone())),
            })
        })
        .await
    }

    async fn finish(
        &self,
        id: AuthorizationId,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.run(Op::FinishFlow, |tables, now| {
            let Some(flow) = tables
                .flows
                .get_mut(&id)
                .filter(|flow| !flow.stored.status.is_final())
            else {
                return Ok(Commit::Fenced);
            };
            flow.end(status);
            flow.stored.error = Some(error.clone());
            tables.record(audit, now);
            Ok(Commit::Done)
        })
        .await
    }

    async fn purge(&self) -> StoreResult<u64> {
        self.run(Op::Purge, |tables, now| {
            let mut touched = 0;
            for flow in tables.flows.values_mut() {
                if flow.expired(now) && flow.stored.status != AuthorizationStatus::Exchanged {
                    flow.end(AuthorizationStatus::Expired);
                    touched += 1;
                }
            }
            Ok(touched)
        })
        .await
    }
}
