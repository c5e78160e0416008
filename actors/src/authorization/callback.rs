//! The callback: everything is checked before the provider is called, and before the state is used up, so that what is
//! spoiled spoils nothing but itself. A good one uses the state up in one statement; whatever follows happens at most once.

use crate::{
    address::Address,
    authorization::{
        connect,
        refusal::{Refusal, why},
        standing, stray,
    },
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
        sealed::{Digest, DigestPurpose, SealContext, SealedColumn},
        secret::{AuthorizationCode, BrowserBinding},
    },
    ports::store::{Commit, StateOutcome, StoredRedirect},
    records::store_error,
    registry::RegistryMsg,
    shared::Shared,
};

/// Who came back, and where to.
pub(super) struct Visit {
    pub(super) provider: ProviderKey,
    pub(super) browser: CallbackBrowser,
    pub(super) context: RequestContext,
}

impl Visit {
    /// The flow cookie with this digest, if the browser sent it.
    pub(super) fn binding(&self, shared: &Shared, browser: Digest) -> Option<&BrowserBinding> {
        let vault = &*shared.ports.vault;
        let mut bindings = self.browser.bindings.iter();
        bindings.find(|value| vault.digest(DigestPurpose::BrowserBinding, value.expose()) == browser)
    }

    /// Whether somebody else than this flow's owner has a session in this browser.
    pub(super) fn is_anothers(&self, flow: &StoredAuthorization) -> bool {
        let session = self.browser.session.as_ref();
        session.is_some_and(|user| *user != flow.owner.subject)
    }
}

pub(crate) async fn callback(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    provider: ProviderKey,
    params: CallbackParams,
    browser: CallbackBrowser,
    context: RequestContext,
) -> ServiceResult<CallbackOutcome> {
    let visit = Visit {
        provider,
        browser,
        context,
    };
    // Asked before anything is used up: should the provider's discovery be away, the browser can come again.
    let issuer_holds = issuer_holds(shared, &visit.provider, params.issuer.as_deref()).await?;
    let Some(state) = &params.state else {
        return without_state(shared, &visit, &params, issuer_holds).await;
    };
    let state = shared.ports.vault.digest(DigestPurpose::State, state.expose());
    let found = shared.ports.authorizations.find_by_state(&state).await;
    let Some(found) = found.map_err(|error| store_error(&error))? else {
        return stray::stray(shared, &visit, None, why::UNKNOWN_STATE).await;
    };
    let own = visit.binding(shared, found.browser).is_some();
    match found.flow.status {
        AuthorizationStatus::Expired => return Refusal::expired(own).end(shared, &visit, &found.flow).await,
        AuthorizationStatus::Redirected if !found.refused => {}
        // It came back by this very state, and whoever took it in has not got further: this may be what is left of it.
        AuthorizationStatus::Returned if found.came_back && own => {}
        _ => return standing::led_on(shared, &visit, &state).await,
    }
    match judge(&visit, &found, &params, (own, issuer_holds)) {
        Ok(code) => go_on(shared, registry, &visit, &state, found.flow, code).await,
        Err(refusal) => refusal.refuse(shared, &visit, &found.flow, &state).await,
    }
}

/// The code, if everything about it is as it was when this browser left. A browser that did not leave from here is sent
/// nowhere: it learns neither the flow's id nor its application.
fn judge(
    visit: &Visit,
    found: &StoredRedirect,
    params: &CallbackParams,
    (own, issuer_holds): (bool, bool),
) -> Result<AuthorizationCode, Refusal> {
    let flow = &found.flow;
    if flow.provider != visit.provider {
        return Err(Refusal::sent_nowhere(why::OTHER_PROVIDER));
    }
    if !own {
        return Err(Refusal::sent_nowhere(why::OTHER_BROWSER));
    }
    if params.conflicting {
        return Err(Refusal::failed(why::CONFLICTING));
    }
    if !issuer_holds {
        return Err(Refusal::failed(why::OTHER_ISSUER));
    }
    if let Some(error) = &params.error {
        return Err(Refusal::by_provider(error));
    }
    let Some(code) = &params.code else {
        return Err(Refusal::failed(why::NO_CODE));
    };
    if visit.is_anothers(flow) {
        return Err(Refusal::sent_nowhere(why::OTHER_USER));
    }
    if visit.browser.session.is_none() && flow.return_to.is_none() {
        // Nobody could ever confirm: there is no application to bring the confirmation to.
        return Err(Refusal::failed(why::NOWHERE_TO_CONFIRM));
    }
    Ok(code.clone())
}

/// Of any number of good callbacks one goes on; the others are told where it got to.
async fn go_on(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    visit: &Visit,
    state: &Digest,
    flow: StoredAuthorization,
    code: AuthorizationCode,
) -> ServiceResult<CallbackOutcome> {
    let flow = if flow.status == AuthorizationStatus::Returned {
        flow
    } else {
        let consumed = shared.ports.authorizations.consume_state(state).await;
        match consumed.map_err(|error| store_error(&error))? {
            StateOutcome::Consumed(flow) => *flow,
            StateOutcome::Used(_) => return standing::led_on(shared, visit, state).await,
            StateOutcome::Expired(flow) => return Refusal::expired(true).end(shared, visit, &flow).await,
            StateOutcome::Unknown => return stray::stray(shared, visit, None, why::UNKNOWN_STATE).await,
        }
    };
    let outcome = match &visit.browser.session {
        Some(_owner) => exchange_now(shared, registry, flow, code, visit.context.clone()).await?,
        None => hold(shared, visit, flow, &code).await?,
    };
    match outcome {
        Some(outcome) => Ok(outcome),
        None => standing::led_on(shared, visit, state).await,
    }
}

/// RFC 6749 4.1.2.1 has an error carry the state; some providers leave it out. Where this browser waits for one flow of the
/// provider, that one is meant.
async fn without_state(
    shared: &Shared,
    visit: &Visit,
    params: &CallbackParams,
    issuer_holds: bool,
) -> ServiceResult<CallbackOutcome> {
    let vault = &*shared.ports.vault;
    let browsers: Vec<Digest> = visit
        .browser
        .bindings
        .iter()
        .map(|value| vault.digest(DigestPurpose::BrowserBinding, value.expose()))
        .collect();
    let error = params
        .error
        .as_ref()
        .filter(|_| !params.conflicting && issuer_holds);
    if let Some(error) = error
        && !browsers.is_empty()
    {
        let awaited = shared
            .ports
            .authorizations
            .awaited(&visit.provider, &browsers)
            .await
            .map_err(|error| store_error(&error))?;
        if let [flow] = awaited.as_slice()
            && !visit.is_anothers(flow)
            && let Some(outcome) = Refusal::by_provider(error).end_flow(shared, visit, flow).await?
        {
            return Ok(outcome);
        }
    }
    stray::stray(shared, visit, None, why::NO_STATE).await
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

/// `None`: another callback of this flow is at it.
async fn exchange_now(
    shared: &Shared,
    registry: &Address<RegistryMsg>,
    flow: StoredAuthorization,
    code: AuthorizationCode,
    context: RequestContext,
) -> ServiceResult<Option<CallbackOutcome>> {
    let begun = shared
        .ports
        .authorizations
        .begin_exchange(flow.id)
        .await
        .map_err(|error| store_error(&error))?;
    if begun == Commit::Fenced {
        return Ok(None);
    }
    let (id, return_to) = (flow.id, flow.return_to.clone());
    let result = match connect::connect(shared, registry, flow, code, context).await {
        Ok(integration) => CallbackResult::Connected(integration.id),
        Err(failed) if failed.status == AuthorizationStatus::Denied => CallbackResult::Denied(failed.shown),
        Err(failed) => CallbackResult::Failed(failed.shown),
    };
    Ok(Some(CallbackOutcome {
        authorization_id: Some(id),
        return_to,
        result,
    }))
}

/// `None`: another callback of this flow was faster.
async fn hold(
    shared: &Shared,
    visit: &Visit,
    flow: StoredAuthorization,
    code: &AuthorizationCode,
) -> ServiceResult<Option<CallbackOutcome>> {
    let vault = &*shared.ports.vault;
    let binding = flow.browser.and_then(|browser| visit.binding(shared, browser));
    let (Some(data_key), Some(binding)) = (&flow.data_key, binding) else {
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
    let confirmation = standing::confirmation(shared, flow.id, binding);
    let digest = vault.digest(DigestPurpose::Confirmation, confirmation.expose());
    let audit = AuditEntry::new(
        AuditAction::Callback,
        AuditOutcome::Success,
        visit.context.clone(),
    )
    .with_authorization(flow.id, &flow.provider, &flow.owner.subject);
    let held = shared
        .ports
        .authorizations
        .hold_code(flow.id, &sealed, &digest, &audit)
        .await;
    match held.map_err(|error| store_error(&error))? {
        Commit::Done => Ok(Some(CallbackOutcome {
            authorization_id: Some(flow.id),
            return_to: flow.return_to,
            result: CallbackResult::ConfirmationRequired(confirmation),
        })),
        Commit::Fenced => Ok(None),
    }
}
