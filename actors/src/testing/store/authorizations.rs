//! Connect flows.

use async_trait::async_trait;

use super::{
    MemoryStore, Op, constraints,
    tables::{Flow, Redirect},
};
use crate::{
    domain::consent::Shown,
    domain::{
        audit::AuditEntry,
        authorization::{AuthorizationStatus, StoredAuthorization},
        ids::{AuthorizationId, ProviderKey, Subject, UserId},
        integration::Owner,
        reason::ReasonCode,
        sealed::{Digest, Sealed},
    },
    ports::store::{
        AuthorizationStore, Commit, ConfirmationOutcome, NewAuthorization, RedirectRecord, Refused,
        StateOutcome, StoreResult, StoredRedirect,
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
                redirects: 0,
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
                redirects: Vec::new(),
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

    async fn redirect(&self, id: AuthorizationId, record: &RedirectRecord, most: u32) -> StoreResult<Commit> {
        self.run(Op::Redirect, |tables, now| {
            let flow = tables.flows.get_mut(&id).filter(|flow| {
                let status = flow.stored.status;
                matches!(
                    status,
                    AuthorizationStatus::Created | AuthorizationStatus::Redirected
                ) && !flow.expired(now)
                    && flow.stored.redirects < most
            });
            let Some(flow) = flow else {
                return Ok(Commit::Fenced);
            };
            flow.stored.status = AuthorizationStatus::Redirected;
            flow.stored.redirects += 1;
            flow.redirects.push(Redirect {
                record: record.clone(),
                refused: false,
            });
            Ok(Commit::Done)
        })
        .await
    }

    async fn browsers(&self, id: AuthorizationId) -> StoreResult<Vec<Digest>> {
        self.run(Op::FindFlow, |tables, _| {
            let redirects = tables.flows.get(&id).map(|flow| flow.redirects.iter());
            Ok(redirects
                .into_iter()
                .flatten()
                .map(|redirect| redirect.record.browser)
                .collect())
        })
        .await
    }

    async fn find_by_state(&self, state: &Digest) -> StoreResult<Option<StoredRedirect>> {
        self.run(Op::FindFlow, |tables, now| {
            let mut flows = tables.flows.values();
            Ok(flows.find_map(|flow| {
                let redirect = flow.redirect(state)?;
                Some(StoredRedirect {
                    flow: flow.view(now),
                    browser: redirect.record.browser,
                    refused: redirect.refused,
                    came_back: flow.state == Some(*state),
                })
            }))
        })
        .await
    }

    async fn awaited(
        &self,
        provider: &ProviderKey,
        browsers: &[Digest],
    ) -> StoreResult<Vec<StoredAuthorization>> {
        self.run(Op::FindFlow, |tables, now| {
            let waits = |flow: &&Flow| {
                flow.stored.provider == *provider
                    && flow.view(now).status == AuthorizationStatus::Redirected
                    && flow
                        .redirects
                        .iter()
                        .any(|redirect| !redirect.refused && browsers.contains(&redirect.record.browser))
            };
            let awaited = tables.flows.values().filter(waits).take(2);
            Ok(awaited.map(|flow| flow.stored.clone()).collect())
        })
        .await
    }

    async fn refuse(
        &self,
        id: AuthorizationId,
        refused: Refused<'_>,
        status: AuthorizationStatus,
        error: &ReasonCode,
        audit: &AuditEntry,
    ) -> StoreResult<Commit> {
        self.run(Op::RefuseFlow, |tables, now| {
            let waits = |flow: &&mut Flow| flow.view(now).status == AuthorizationStatus::Redirected;
            let Some(flow) = tables.flows.get_mut(&id).filter(waits) else {
                return Ok(Commit::Fenced);
            };
            let ends = match refused {
                Refused::Flow => true,
                Refused::Redirect(state) => {
                    let mut redirects = flow.redirects.iter_mut();
                    let redirect = redirects.find(|redirect| redirect.record.state == *state);
                    let Some(redirect) = redirect.filter(|redirect| !redirect.refused) else {
                        return Ok(Commit::Fenced);
                    };
                    redirect.refused = true;
                    flow.redirects.iter().all(|redirect| redirect.refused)
                }
            };
            if ends {
                flow.end(status);
                flow.stored.error = Some(error.clone());
            }
            tables.record(audit, now);
            Ok(Commit::Done)
        })
        .await
    }

    async fn consume_state(&self, state: &Digest) -> StoreResult<StateOutcome> {
        self.run(Op::ConsumeState, |tables, now| {
            let mut flows = tables.flows.values_mut();
            let Some(flow) = flows.find(|flow| flow.redirect(state).is_some()) else {
                return Ok(StateOutcome::Unknown);
            };
            let seen = Box::new(flow.view(now));
            let good = flow
                .redirect(state)
                .filter(|redirect| !redirect.refused && seen.status == AuthorizationStatus::Redirected)
                .map(|redirect| redirect.record.clone());
            Ok(match good {
                Some(record) => {
                    flow.state = Some(record.state);
                    flow.stored.status = AuthorizationStatus::Returned;
                    flow.stored.browser = Some(record.browser);
                    flow.stored.nonce = Some(record.nonce);
                    flow.stored.data_key = Some(record.data_key);
                    flow.stored.pkce_verifier = Some(record.pkce_verifier);
                    StateOutcome::Consumed(Box::new(flow.stored.clone()))
                }
                None if seen.status == AuthorizationStatus::Expired => StateOutcome::Expired(seen),
                None => StateOutcome::Used(seen),
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
