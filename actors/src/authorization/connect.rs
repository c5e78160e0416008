//! The exchange and what it makes: the integration, its sealed tokens, the consent and the audit, in one transaction.

use std::borrow::Cow;

use tokio::time::Instant;

use crate::{
    address::Address,
    authorization::{
        NotConnected, is_unprepared, provider_error,
        sealing::{SealFailed, Sealing},
        staged, unusable_or,
        widening::{self, Worse},
    },
    consent,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{AuthorizationStatus, StoredAuthorization},
        caller::RequestContext,
        error::ServiceError,
        integration::{Status, StoredIntegration},
        provider::Provider,
        scope::ScopeSet,
        sealed::{SealContext, Sealed, SealedColumn, WrappedKey},
        secret::{AuthorizationCode, PkceVerifier},
        storable,
    },
    integration::{schedule, transition, unstorable},
    ports::{
        oauth::{ExchangeRequest, Exchanged},
        store::{Commit, ConnectCommit, Reservation, StoreError},
    },
    provider::{backlog::Wish, breaker::OpenCause, message::ProviderMsg},
    records::store_error,
    registry::RegistryMsg,
    shared::Shared,
};

/// Tries to store a connection when its row changes under it: a refresh or a second flow of the same account.
const FENCED_MAX: u32 = 8;
/// How long tokens in hand are kept trying to reach the database. They are worth a user's consent, not a hung browser.
pub(super) const COMMIT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);
/// Pause between tries.
pub(super) const COMMIT_PAUSE: std::time::Duration = std::time::Duration::from_millis(200);

/// Exchanges the code of a flow that is `exchanged`, and stores what comes of it.
pub(crate) async fn connect(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    flow: StoredAuthorization,
    code: AuthorizationCode,
    context: RequestContext,
) -> Result<StoredIntegration, NotConnected> {
    let provider = shared.provider(&flow.provider).ok_or(ServiceError::Internal)?;
    match exchange_and_store(shared, provider, &flow, code, &context).await {
        Ok(stored) => {
            announce(registry, &flow, &stored);
            Ok(stored)
        }
        // It waits for its owner's choice.
        Err(waits) if waits.status == AuthorizationStatus::AccountMismatch => Err(waits),
        Err(failed) => {
            let NotConnected { status, reason, .. } = &failed;
            let outcome = match status {
                AuthorizationStatus::Denied => AuditOutcome::Denied,
                _ => AuditOutcome::Failure,
            };
            let audit = AuditEntry::new(AuditAction::Connect, outcome, context)
                .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
                .with_error(reason.clone());
            let ended = shared
                .ports
                .authorizations
                .finish(flow.id, *status, reason, &audit)
                .await;
            if let Err(error) = ended {
                tracing::warn!(authorization.id = %flow.id, error = %error, "the end of a connect flow is not stored");
            }
            tracing::warn!(authorization.id = %flow.id, provider.id = %flow.provider, oauth.error = %reason, "a connect flow failed");
            Err(failed)
        }
    }
}

/// Tells whoever holds the account that its row has changed.
pub(super) fn announce(
    registry: &Address<RegistryMsg>,
    flow: &StoredAuthorization,
    stored: &StoredIntegration,
) {
    let changed = ProviderMsg::Changed {
        integration: stored.id.uuid,
        subject: Some(stored.owner.subject.clone()),
    };
    // If the registry is being restarted, whoever wakes next reads the row.
    let _ = registry.cast(RegistryMsg::Route(flow.provider.clone(), changed));
    tracing::info!(integration.id = %stored.id, authorization.id = %flow.id, "an account is connected");
}

async fn exchange_and_store(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    code: AuthorizationCode,
    context: &RequestContext,
) -> Result<StoredIntegration, NotConnected> {
    let verifier = open_verifier(shared, flow)?;
    let exchanged = exchange(shared, provider, flow, code, verifier).await?;
    if is_another_account(shared, flow, &exchanged).await? {
        return Err(staged::stage(shared, provider, flow, exchanged, context).await);
    }
    take_over(shared, provider, flow, &exchanged, context).await
}

/// Stores a grant in hand, however often its place changes meanwhile.
pub(super) async fn take_over(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    exchanged: &Exchanged,
    context: &RequestContext,
) -> Result<StoredIntegration, NotConnected> {
    let started = Instant::now();
    let mut fenced = 0;
    let mut exchanged = Cow::Borrowed(exchanged);
    loop {
        let is_reduced = matches!(exchanged, Cow::Owned(_));
        match store(shared, provider, flow, &exchanged, is_reduced, context).await {
            Ok(Some(stored)) => return Ok(stored),
            Ok(None) if fenced < FENCED_MAX => fenced += 1,
            Ok(None) => return Err(ServiceError::Internal.into()),
            Err(Unstored::Store(StoreError::Unavailable(_))) if started.elapsed() < COMMIT_PATIENCE => {
                tokio::time::sleep(COMMIT_PAUSE).await;
            }
            Err(Unstored::Store(error @ StoreError::Refused { .. })) if !is_reduced => {
                tracing::error!(
                    authorization.id = %flow.id, error = %error,
                    "the database refuses a grant as it is; its tokens are stored without what came with them"
                );
                exchanged = Cow::Owned(reduced(&exchanged, flow));
            }
            Err(Unstored::Store(error)) => return Err(store_error(&error).into()),
            Err(Unstored::Seal) => return Err(ServiceError::Internal.into()),
            // What came with it is dropped: told to the provider, it could end the present grant as well.
            Err(Unstored::Worse(worse)) => return Err(worse.into()),
        }
    }
}

/// A grant without what may not be storable of it: of its scopes those that were asked for, of the account what names it.
fn reduced(exchanged: &Exchanged, flow: &StoredAuthorization) -> Exchanged {
    let mut reduced = exchanged.clone();
    reduced.account.name = None;
    reduced.account.email = None;
    reduced.metadata = storable::metadata(reduced.metadata);
    reduced.answer.scopes = reduced.answer.scopes.map(|granted| {
        let asked = flow.requested_scopes.iter();
        asked.filter(|scope| granted.contains(scope)).collect()
    });
    reduced
}

async fn exchange(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    code: AuthorizationCode,
    verifier: PkceVerifier,
) -> ServiceResult<Exchanged> {
    let egress = shared.egress(&provider.key).ok_or(ServiceError::Internal)?;
    // A person waits, with a code that lives for minutes: before whatever nobody waits for.
    let wish = Wish::waited_for(None, Instant::now() + shared.settings.call_deadline);
    let permit = egress.admit(wish).await.map_err(|held| match held.cause {
        OpenCause::Operator(reason) => ServiceError::ProviderPaused {
            reason,
            retry_after: held.retry_after,
        },
        OpenCause::Outage(reason) => ServiceError::ProviderUnavailable {
            reason,
            retry_after: held.retry_after,
        },
    })?;
    let request = ExchangeRequest {
        code,
        verifier,
        redirect_uri: flow.redirect_uri.clone(),
        nonce: flow.nonce.clone().unwrap_or_default(),
        requested_scopes: flow.requested_scopes.clone(),
    };
    // Never repeated: a code that was sent may be spent, and a provider may end the grant of one sent twice.
    let result = shared.ports.oauth.exchange(&provider.key, request).await;
    if let Err(failure) = &result
        && is_unprepared(shared, failure)
    {
        // It was never asked: one flow that could not go on says nothing of the others' calls.
        return Err(unusable_or(shared, failure));
    }
    permit
        .report_flow(result)
        .map_err(|failure| provider_error(&failure))
}

/// A reconnect must come back as the same account: it is never swapped silently.
async fn is_another_account(
    shared: &Shared,
    flow: &StoredAuthorization,
    exchanged: &Exchanged,
) -> ServiceResult<bool> {
    let Some(id) = &flow.integration_id else {
        return Ok(false);
    };
    let found = shared.ports.integrations.load(id).await;
    let found = found.map_err(|error| store_error(&error))?;
    Ok(found.is_some_and(|present| !present.account.is_same(&exchanged.account)))
}

enum Unstored {
    Store(StoreError),
    Seal,
    Worse(Worse),
}

impl From<SealFailed> for Unstored {
    fn from(_: SealFailed) -> Self {
        Self::Seal
    }
}

impl From<StoreError> for Unstored {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Worse> for Unstored {
    fn from(worse: Worse) -> Self {
        Self::Worse(worse)
    }
}

/// Seals for the place reserved and stores. `is_reduced`: the grant was brought down to what the database takes.
/// `None`: the place changed meanwhile; again.
async fn store(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    exchanged: &Exchanged,
    is_reduced: bool,
    context: &RequestContext,
) -> Result<Option<StoredIntegration>, Unstored> {
    let integrations = &shared.ports.integrations;
    let reservation = integrations
        .reserve(flow.owner.user_id, &provider.key, &exchanged.account)
        .await?;
    let id = reservation.id.clone();
    let present = reservation.present.as_deref();
    let granted = widening::granted(provider, flow, present, exchanged.answer.scopes.as_ref());
    if let Some(present) = present {
        widening::compare(provider, flow, present, &granted)?;
    }
    let before = present.map(|row| row.standing.clone());
    let mut commit = commit_of(shared, provider, flow, exchanged, (reservation, granted), context)?;
    if is_reduced {
        commit.audit = unstorable::minimal(&commit.audit);
    }
    if integrations.commit_connect(&commit).await? == Commit::Fenced {
        return Ok(None);
    }
    let stored = integrations.load(&id).await?;
    if let Some((before, row)) = before.zip(stored.as_ref()) {
        transition::tell(&before, row);
    }
    Ok(stored)
}

fn commit_of(
    shared: &Shared,
    provider: &Provider,
    flow: &StoredAuthorization,
    exchanged: &Exchanged,
    (reservation, granted): (Reservation, ScopeSet),
    context: &RequestContext,
) -> Result<ConnectCommit, Unstored> {
    let answer = &exchanged.answer;
    let now = shared.now();
    let sealing = Sealing {
        shared,
        flow,
        reservation: &reservation,
    };
    let data_key = sealing.data_key()?;
    let access_token = sealing.seal(&data_key, SealedColumn::AccessToken, answer.access_token.expose())?;
    // A provider that was not asked for consent again sends no refresh token: the present one goes on.
    let kept = match &answer.refresh_token {
        Some(token) => Some(token.clone()),
        None => sealing.present_refresh_token()?,
    };
    let refresh_token = kept
        .map(|token| sealing.seal(&data_key, SealedColumn::RefreshToken, token.expose()))
        .transpose()?;

    let mut features = flow.features.clone();
    let mut action = AuditAction::Connect;
    if let Some(present) = &reservation.present {
        let is_more = present.is_alive() && !flow.features.is_subset(&present.features);
        action = if is_more {
            AuditAction::Upgrade
        } else {
            AuditAction::Reconnect
        };
        if present.standing.status != Status::Revoked {
            features.extend(present.features.iter().cloned());
        }
    }
    // Without a refresh token the account lives as long as its access token: then somebody must be told.
    let lives = schedule::Lives::of_consent(provider, answer, now);
    let next_refresh_at = match refresh_token {
        Some(_) => schedule::next_work(provider, &lives, now, now, shared.ports.rng.unit()),
        None => answer.expires_at,
    };
    Ok(ConnectCommit {
        authorization: flow.id,
        user_id: flow.owner.user_id,
        subject: flow.owner.subject.clone(),
        account: exchanged.account.clone(),
        // A dialect that keeps nothing keeps an empty object: what is added later has a place.
        metadata: match &exchanged.metadata {
            serde_json::Value::Null => serde_json::json!({}),
            kept => kept.clone(),
        },
        scopes: granted.clone(),
        features,
        data_key,
        access_token,
        refresh_token,
        token_type: answer.token_type.clone(),
        issued_at: now,
        expires_at: answer.expires_at,
        refresh_token_expires_at: lives.refresh_token.map(|life| life.until),
        next_refresh_at,
        consents: consent::given(shared, provider, flow, &granted, context),
        audit: AuditEntry::new(action, AuditOutcome::Success, context.clone())
            .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
            .with_integration(&reservation.id, &flow.owner.subject)
            .with_scopes(granted),
        reservation,
    })
}

fn open_verifier(shared: &Shared, flow: &StoredAuthorization) -> ServiceResult<PkceVerifier> {
    let (Some(data_key), Some(sealed)) = (&flow.data_key, &flow.pkce_verifier) else {
        return Err(ServiceError::Internal);
    };
    let place = SealContext {
        key: flow.key_context(),
        column: SealedColumn::PkceVerifier,
        generation: 0,
    };
    open_text(shared, data_key, &place, sealed).map(PkceVerifier::new)
}

pub(super) fn open_text(
    shared: &Shared,
    key: &WrappedKey,
    place: &SealContext,
    sealed: &Sealed,
) -> ServiceResult<String> {
    let plain = shared.ports.vault.open(key, place, sealed).map_err(|error| {
        tracing::error!(error = %error, "a flow's secret does not open: check the configured encryption keys");
        ServiceError::Internal
    })?;
    String::from_utf8(plain.to_vec()).map_err(|_| ServiceError::Internal)
}
