//! The callback: everything is checked before the provider is called. The state is used up first, in one statement, so
//! that whatever follows happens at most once.

use crate::{
    address::Address,
    authorization::connect,
    chance,
    domain::error::ServiceResult,
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        authorization::{
            AuthorizationStatus, CallbackBrowser, CallbackOutcome, CallbackParams, CallbackResult,
            StoredAuthorization,
        },
        caller::RequestContext,
        error::ServiceError,
        ids::ProviderKey,
        reason::ReasonCode,
        sealed::{DigestPurpose, SealContext, SealedColumn},
        secret::{AuthorizationCode, Confirmation},
    },
    ports::store::{Commit, StateOutcome},
    records::store_error,
    registry::RegistryMsg,
    shared::Shared,
};

/// Why a callback connects nothing. The words appear in audit rows, redirects and pages.
mod why {
    pub(super) const NO_STATE: &str = "state_missing";
    pub(super) const UNKNOWN_STATE: &str = "state_unknown";
    pub(super) const USED_STATE: &str = "state_used";
    pub(super) const EXPIRED: &str = "expired";
    pub(super) const OTHER_PROVIDER: &str = "provider_mismatch";
    pub(super) const OTHER_BROWSER: &str = "browser_mismatch";
    pub(super) const OTHER_USER: &str = "binding_mismatch";
    pub(super) const CONFLICTING: &str = "conflicting_parameters";
    pub(super) const OTHER_ISSUER: &str = "issuer_mismatch";
    pub(super) const NO_CODE: &str = "code_missing";
    pub(super) const NOWHERE_TO_CONFIRM: &str = "confirmation_impossible";
}

pub(crate) async fn callback(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    provider: ProviderKey,
    params: CallbackParams,
    browser: CallbackBrowser,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let Some(state) = &params.state else {
        return stray(shared, &provider, None, why::NO_STATE, context).await;
    };
    // Asked before the state is used up: should the provider's discovery be away, the browser can come again.
    let issuer_holds = issuer_holds(shared, &provider, params.issuer.as_deref()).await?;
    let digest = shared.ports.vault.digest(DigestPurpose::State, state.expose());
    let consumed = shared
        .ports
        .authorizations
        .consume_state(&digest)
        .await
        .map_err(|error| store_error(&error))?;
    let flow = match consumed {
        StateOutcome::Consumed(flow) => *flow,
        StateOutcome::Unknown => return stray(shared, &provider, None, why::UNKNOWN_STATE, context).await,
        StateOutcome::Used(flow) => {
            return stray(shared, &provider, Some(&flow), why::USED_STATE, context).await;
        }
        StateOutcome::Expired(flow) => {
            let ours = is_own_browser(shared, &flow, &browser);
            return end(
                shared,
                &flow,
                AuthorizationStatus::Expired,
                why::EXPIRED,
                ours,
                context,
            )
            .await;
        }
    };

    // A browser that did not leave from here is sent nowhere: it learns neither the flow's id nor its application.
    if flow.provider != provider {
        return end(
            shared,
            &flow,
            AuthorizationStatus::Failed,
            why::OTHER_PROVIDER,
            false,
            context,
        )
        .await;
    }
    if !is_own_browser(shared, &flow, &browser) {
        return end(
            shared,
            &flow,
            AuthorizationStatus::Failed,
            why::OTHER_BROWSER,
            false,
            context,
        )
        .await;
    }
    if params.conflicting {
        return end(
            shared,
            &flow,
            AuthorizationStatus::Failed,
            why::CONFLICTING,
            true,
            context,
        )
        .await;
    }
    if !issuer_holds {
        return end(
            shared,
            &flow,
            AuthorizationStatus::Failed,
            why::OTHER_ISSUER,
            true,
            context,
        )
        .await;
    }
    if let Some(error) = &params.error {
        let status = match error.as_str() {
            "access_denied" | "consent_required" | "user_cancelled_login" | "user_cancelled_authorize" => {
                AuthorizationStatus::Denied
            }
            _ => AuthorizationStatus::Failed,
        };
        return end(shared, &flow, status, error.as_str(), true, context).await;
    }
    let Some(code) = params.code else {
        return end(
            shared,
            &flow,
            AuthorizationStatus::Failed,
            why::NO_CODE,
            true,
            context,
        )
        .await;
    };
    match &browser.session {
        Some(user) if *user == flow.owner.subject => {
            exchange_now(shared, registry, flow, code, context).await
        }
        Some(_other) => {
            end(
                shared,
                &flow,
                AuthorizationStatus::Failed,
                why::OTHER_USER,
                false,
                context,
            )
            .await
        }
        None if flow.return_to.is_none() => {
            // Nobody could ever confirm: there is no application to bring the confirmation to.
            end(
                shared,
                &flow,
                AuthorizationStatus::Failed,
                why::NOWHERE_TO_CONFIRM,
                true,
                context,
            )
            .await
        }
        None => hold(shared, flow, &code, context).await,
    }
}

fn is_own_browser(shared: &Shared, flow: &StoredAuthorization, browser: &CallbackBrowser) -> bool {
    let Some(bound) = flow.browser else { return false };
    let vault = &*shared.ports.vault;
    browser
        .bindings
        .iter()
        .any(|value| vault.digest(DigestPurpose::BrowserBinding, value.expose()) == bound)
}

/// RFC 9207: compared exactly, before any call to a token endpoint.
async fn issuer_holds(shared: &Shared, provider: &ProviderKey, issuer: Option<&str>) -> ServiceResult<bool> {
    if shared.provider(provider).is_none() {
        // No flow is of a provider that does not exist: that is told below, with the state used up.
        return Ok(true);
    }
    let expected = shared.ports.oauth.callback_issuer(provider).await;
    let expected = expected.map_err(|failure| super::unusable_or(shared, &failure))?;
    Ok(match (expected, issuer) {
        (Some(expected), Some(issuer)) => expected.issuer == issuer,
        (Some(expected), None) => !expected.required,
        (None, _) => true,
    })
}

async fn exchange_now(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    flow: StoredAuthorization,
    code: AuthorizationCode,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let begun = shared
        .ports
        .authorizations
        .begin_exchange(flow.id)
        .await
        .map_err(|error| store_error(&error))?;
    if begun == Commit::Fenced {
        return Err(ServiceError::Expired {
            what: "this connect flow",
        });
    }
    let (id, return_to) = (flow.id, flow.return_to.clone());
    let result = match connect::connect(shared, registry, flow, code, context).await {
        Ok(integration) => CallbackResult::Connected(integration.id),
        Err(failed) if failed.status == AuthorizationStatus::Denied => CallbackResult::Denied(failed.shown),
        Err(failed) => CallbackResult::Failed(failed.shown),
    };
    Ok(CallbackOutcome {
        authorization_id: Some(id),
        return_to,
        result,
    })
}

async fn hold(
    shared: &Shared,
    flow: StoredAuthorization,
    code: &AuthorizationCode,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let vault = &*shared.ports.vault;
    let Some(data_key) = &flow.data_key else {
        return Err(ServiceError::Internal);
    };
    let place = SealContext {
        key: flow.key_context(),
        column: SealedColumn::AuthorizationCode,
        generation: 0,
    };
    let sealed = vault
        .seal(data_key, &place, code.expose().as_bytes())
        .map_err(|error| {
            tracing::error!(error = %error, "a code cannot be sealed");
            ServiceError::Internal
        })?;
    let confirmation = Confirmation::new(chance::secret(&*shared.ports.rng));
    let digest = vault.digest(DigestPurpose::Confirmation, confirmation.expose());
    let audit = AuditEntry::new(AuditAction::Callback, AuditOutcome::Success, context).with_authorization(
        flow.id,
        &flow.provider,
        &flow.owner.subject,
    );
    let held = shared
        .ports
        .authorizations
        .hold_code(flow.id, &sealed, &digest, &audit)
        .await;
    match held.map_err(|error| store_error(&error))? {
        Commit::Done => Ok(CallbackOutcome {
            authorization_id: Some(flow.id),
            return_to: flow.return_to,
            result: CallbackResult::ConfirmationRequired(confirmation),
        }),
        Commit::Fenced => Err(ServiceError::Expired {
            what: "this connect flow",
        }),
    }
}

/// Ends a flow without connecting anything. `redirect`: whether the browser may be sent to the application.
async fn end(
    shared: &Shared,
    flow: &StoredAuthorization,
    status: AuthorizationStatus,
    reason: &str,
    redirect: bool,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let reason = ReasonCode::new(reason);
    let outcome = match status {
        AuthorizationStatus::Denied => AuditOutcome::Denied,
        _ => AuditOutcome::Failure,
    };
    let audit = AuditEntry::new(AuditAction::Callback, outcome, context)
        .with_authorization(flow.id, &flow.provider, &flow.owner.subject)
        .with_error(reason.clone());
    let finished = shared
        .ports
        .authorizations
        .finish(flow.id, status, &reason, &audit)
        .await;
    if finished.map_err(|error| store_error(&error))? == Commit::Fenced {
        // It had ended before (expired and cleared away): nothing changes, the attempt is recorded all the same.
        let recorded = shared.ports.records.append(&[audit]).await;
        recorded.map_err(|error| store_error(&error))?;
    }
    tracing::info!(authorization.id = %flow.id, provider.id = %flow.provider, oauth.error = %reason, "a connect flow came to nothing");
    Ok(CallbackOutcome {
        authorization_id: redirect.then_some(flow.id),
        return_to: flow.return_to.clone().filter(|_| redirect),
        result: match status {
            AuthorizationStatus::Denied => CallbackResult::Denied(reason),
            _ => CallbackResult::Failed(reason),
        },
    })
}

/// A callback that belongs to no flow that waits for one. Recorded, and answered without a redirect.
async fn stray(
    shared: &Shared,
    provider: &ProviderKey,
    flow: Option<&StoredAuthorization>,
    reason: &str,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let reason = ReasonCode::new(reason);
    let mut audit =
        AuditEntry::new(AuditAction::Callback, AuditOutcome::Denied, context).with_error(reason.clone());
    audit.provider = shared.provider(provider).map(|provider| provider.key.clone());
    if let Some(flow) = flow {
        audit = audit.with_authorization(flow.id, &flow.provider, &flow.owner.subject);
    }
    shared
        .ports
        .records
        .append(&[audit])
        .await
        .map_err(|error| store_error(&error))?;
    tracing::info!(provider.id = %provider, oauth.error = %reason, "a callback belongs to no waiting flow");
    Ok(CallbackOutcome {
        authorization_id: None,
        return_to: None,
        result: CallbackResult::Failed(reason),
    })
}
