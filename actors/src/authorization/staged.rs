//! A reconnect that came back as another account: its grant waits beside the present one, sealed with the flow's own key,
//! until the owner has chosen. The present grant is not touched by it.
//!
//! Whoever does not choose loses the new grant with the flow; the provider is not told then.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    address::Address,
    authorization::{
        NotConnected, confirm,
        connect::{self, COMMIT_PATIENCE, COMMIT_PAUSE},
    },
    domain::{
        Timestamp,
        account::Account,
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{
            AccountMismatch, AuthorizationStatus, AuthorizationView, Choice, StoredAuthorization,
        },
        caller::RequestContext,
        error::{ServiceError, ServiceResult},
        ids::{AuthorizationId, Subject},
        integration::{IntegrationView, StoredIntegration},
        provider::Provider,
        reason::ReasonCode,
        scope::ScopeSet,
        sealed::{SealContext, SealedColumn},
        secret::{AccessToken, RefreshToken},
        token::TokenAnswer,
    },
    ports::{
        oauth::{Exchanged, RevocationRequest},
        store::{Commit, StoreError},
    },
    provider::backlog::Wish,
    records::store_error,
    registry::RegistryMsg,
    shared::Shared,
    upstream,
};

const MISMATCH: &str = "account_mismatch";

/// Keeps the grant for its owner to choose.
pub(super) async fn stage(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    exchanged: Exchanged,
    context: &RequestContext,
) -> NotConnected {
    let stored = store(shared, flow, &exchanged, context).await;
    if let Err(why) = stored {
        tracing::error!(authorization.id = %flow.id, %why, "a grant for another account is dropped, because it cannot be kept");
        give_back(shared, provider, exchanged).await;
        return ServiceError::AccountMismatch.into();
    }
    tracing::info!(authorization.id = %flow.id, "a reconnect came back as another account; its owner is asked");
    NotConnected::because(
        ServiceError::AccountMismatch,
        AuthorizationStatus::AccountMismatch,
        MISMATCH,
    )
}

async fn store(
    shared: &Shared,
    flow: &StoredAuthorization,
    exchanged: &Exchanged,
    context: &RequestContext,
) -> Result<(), String> {
    let plain = Zeroizing::new(serde_json::to_vec(&Form::of(exchanged)).map_err(|error| error.to_string())?);
    let key = flow.data_key.as_ref().ok_or("the flow has no key")?;
    let sealed = shared
        .ports
        .vault
        .seal(key, &place(flow), &plain)
        .map_err(|error| error.to_string())?;
    let audit = AuditEntry::new(AuditAction::Connect, AuditOutcome::Denied, context.clone())
        .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
        .with_error(ReasonCode::new(MISMATCH));
    let patience = shared.settings.authorization_lifetime;
    let started = Instant::now();
    loop {
        let staged = shared
            .ports
            .authorizations
            .stage(flow.id, &sealed, patience, &audit)
            .await;
        match staged {
            Ok(Commit::Done) => return Ok(()),
            Ok(Commit::Fenced) if is_staged(shared, flow).await => return Ok(()),
            Ok(Commit::Fenced) => return Err("the flow has ended".to_owned()),
            Err(StoreError::Unavailable(_)) if started.elapsed() < COMMIT_PATIENCE => {
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Whether an earlier try was stored after all, whose answer was lost.
async fn is_staged(shared: &Shared, flow: &StoredAuthorization) -> bool {
    let found = find(shared, &flow.owner.subject, flow.id).await;
    found.is_ok_and(|flow| flow.status == AuthorizationStatus::AccountMismatch)
}

/// What the owner is shown of a flow: both accounts, while it waits for a choice between them.
pub(crate) async fn view(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<AuthorizationView> {
    let mut view = flow.view();
    if flow.status == AuthorizationStatus::AccountMismatch
        && let Some(present) = present(shared, flow).await?
    {
        view.account_mismatch = Some(AccountMismatch {
            connected: present.account,
            returned: open(shared, flow)?.account,
            choices: Choice::ALL,
        });
    }
    Ok(view)
}

/// The owner's choice, made once; made again it answers what came of it.
pub(crate) async fn choose(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    (owner, id): (Subject, AuthorizationId),
    choice: Choice,
    context: RequestContext,
) -> ServiceResult<IntegrationView> {
    let flow = find(shared, &owner, id).await?;
    match (flow.status, choice) {
        (AuthorizationStatus::AccountMismatch, _) => {}
        (AuthorizationStatus::Connected, Choice::Connect) => {
            return confirm::settled(shared, &owner, &flow).await;
        }
        (AuthorizationStatus::Failed, Choice::Keep)
            if flow
                .error
                .as_ref()
                .is_some_and(|error| error.as_str() == MISMATCH) =>
        {
            return kept(shared, &flow).await;
        }
        (AuthorizationStatus::Expired, _) => {
            return Err(ServiceError::Expired {
                what: "this authorization",
            });
        }
        _ => {
            return Err(ServiceError::invalid(
                "this authorization does not wait for a choice",
            ));
        }
    }
    let provider = shared.provider(&flow.provider).ok_or(ServiceError::Internal)?;
    let exchanged = open(shared, &flow)?;
    match choice {
        Choice::Keep => keep(shared, provider, &flow, exchanged, context).await,
        Choice::Connect => second(shared, registry, (provider, &flow), &exchanged, context).await,
    }
}

async fn keep(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    exchanged: Exchanged,
    context: RequestContext,
) -> ServiceResult<IntegrationView> {
    if end(shared, flow, AuthorizationStatus::Failed, MISMATCH, context).await? == Commit::Fenced {
        return Err(ServiceError::invalid(
            "this authorization was chosen about already",
        ));
    }
    // Erased here first: what the provider makes of it does not bring it back.
    give_back(shared, provider, exchanged).await;
    kept(shared, flow).await
}

async fn second(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    (provider, flow): (&Provider, &StoredAuthorization),
    exchanged: &Exchanged,
    context: RequestContext,
) -> ServiceResult<IntegrationView> {
    match connect::take_over(shared, provider, flow, exchanged, &context).await {
        Ok(stored) => {
            connect::announce(registry, flow, &stored);
            Ok(confirm::view(shared, &stored))
        }
        Err(failed) => {
            let now = find(shared, &flow.owner.subject, flow.id).await?;
            match now.status {
                // That account is connected already, and better: no choice is left. Else it can be chosen again.
                AuthorizationStatus::AccountMismatch => {
                    if matches!(failed.error, ServiceError::InsufficientScope { .. }) {
                        end(shared, flow, failed.status, failed.reason.as_str(), context).await?;
                    }
                    Err(failed.error)
                }
                // By an earlier try whose answer was lost, or by the same choice made twice.
                AuthorizationStatus::Connected => confirm::settled(shared, &flow.owner.subject, &now).await,
                _ => Err(ServiceError::invalid(
                    "this authorization was chosen about already",
                )),
            }
        }
    }
}

async fn end(
    shared: &Shared,
    flow: &StoredAuthorization,
    status: AuthorizationStatus,
    reason: &str,
    context: RequestContext,
) -> ServiceResult<Commit> {
    let reason = ReasonCode::new(reason);
    let audit = AuditEntry::new(AuditAction::Connect, AuditOutcome::Denied, context)
        .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
        .with_error(reason.clone());
    let ended = shared
        .ports
        .authorizations
        .finish(flow.id, status, &reason, &audit)
        .await;
    ended.map_err(|error| store_error(&error))
}

async fn find(shared: &Shared, owner: &Subject, id: AuthorizationId) -> ServiceResult<StoredAuthorization> {
    let found = shared.ports.authorizations.find(owner, id).await;
    found
        .map_err(|error| store_error(&error))?
        .ok_or(ServiceError::not_found("authorization"))
}

async fn present(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<Option<StoredIntegration>> {
    let Some(id) = &flow.integration_id else {
        return Ok(None);
    };
    let found = shared.ports.integrations.find(&flow.owner.subject, id).await;
    found.map_err(|error| store_error(&error))
}

async fn kept(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<IntegrationView> {
    let present = present(shared, flow).await?;
    present
        .map(|stored| confirm::view(shared, &stored))
        .ok_or(ServiceError::not_found("integration"))
}

/// Tells the provider that a grant is not wanted, unless a connection lives on it. Tried once: whoever holds nothing of it
/// any more can only leave it to end unused.
async fn give_back(shared: &Shared, provider: &Provider, exchanged: Exchanged) {
    let used = upstream::connections(shared, provider, &exchanged.account, &exchanged.metadata).await;
    if !used.is_ok_and(|used| used.is_empty()) {
        return;
    }
    let Some(egress) = shared.egress(&provider.key) else {
        return;
    };
    let wish = Wish::waited_for(None, Instant::now() + shared.settings.call_deadline / 2);
    let Ok(permit) = egress.admit(wish).await else {
        return;
    };
    let request = RevocationRequest {
        refresh_token: exchanged.answer.refresh_token,
        access_token: exchanged.answer.access_token,
        metadata: exchanged.metadata,
    };
    let result = shared.ports.oauth.revoke(&provider.key, request).await;
    if let Err(failure) = permit.report(None, result) {
        tracing::warn!(provider.id = %provider.key, error = %failure, "a grant that is not wanted stays at its provider");
    }
}

fn place(flow: &StoredAuthorization) -> SealContext {
    SealContext {
        key: flow.key_context(),
        column: SealedColumn::StagedGrant,
        generation: 0,
    }
}

fn open(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<Exchanged> {
    let (Some(key), Some(sealed)) = (&flow.data_key, &flow.staged) else {
        return Err(ServiceError::Internal);
    };
    let plain = shared.ports.vault.open(key, &place(flow), sealed);
    let plain = plain.map_err(|error| {
        tracing::error!(error = %error, "a flow's grant does not open: check the configured encryption keys");
        ServiceError::Internal
    })?;
    let form: Form<'_> = serde_json::from_slice(&plain).map_err(|_| ServiceError::Internal)?;
    Ok(form.exchanged())
}

/// A grant as it is sealed.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    access_token: Cow<'a, str>,
    token_type: String,
    expires_at: Option<Timestamp>,
    refresh_token: Option<Cow<'a, str>>,
    refresh_token_expires_at: Option<Timestamp>,
    scopes: Option<ScopeSet>,
    account: AccountForm,
    metadata: serde_json::Value,
}

#[derive(Serialize, Deserialize)]
struct AccountForm {
    id: String,
    issuer: Option<String>,
    name: Option<String>,
    email: Option<String>,
}

impl<'a> Form<'a> {
    fn of(exchanged: &'a Exchanged) -> Self {
        let (answer, account) = (&exchanged.answer, exchanged.account.clone());
        Self {
            access_token: answer.access_token.expose().into(),
            token_type: answer.token_type.clone(),
            expires_at: answer.expires_at,
            refresh_token: answer.refresh_token.as_ref().map(|token| token.expose().into()),
            refresh_token_expires_at: answer.refresh_token_expires_at,
            scopes: answer.scopes.clone(),
            account: AccountForm {
                id: account.id,
                issuer: account.issuer,
                name: account.name,
                email: account.email,
            },
            metadata: exchanged.metadata.clone(),
        }
    }

    fn exchanged(self) -> Exchanged {
        Exchanged {
            answer: TokenAnswer {
                access_token: AccessToken::new(self.access_token.into_owned()),
                token_type: self.token_type,
                expires_at: self.expires_at,
                refresh_token: self
                    .refresh_token
                    .map(|token| RefreshToken::new(token.into_owned())),
                refresh_token_expires_at: self.refresh_token_expires_at,
                scopes: self.scopes,
                remark: None,
            },
            account: Account {
                id: self.account.id,
                issuer: self.account.issuer,
                name: self.account.name,
                email: self.account.email,
            },
            metadata: self.metadata,
        }
    }
}
