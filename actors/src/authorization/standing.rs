//! A callback whose flow has come back already: browsers show the answer to the last of several requests, people reload and
//! go back. The browser that the flow came back by is led on to where it stands; any other is told nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    authorization::{callback::Visit, refusal::why, stray},
    domain::{
        authorization::{AuthorizationStatus, CallbackOutcome, CallbackResult, StoredAuthorization},
        error::{ServiceError, ServiceResult},
        ids::AuthorizationId,
        reason::ReasonCode,
        sealed::{Digest, DigestPurpose},
        secret::{BrowserBinding, Confirmation},
    },
    ports::store::StoredRedirect,
    records::store_error,
    shared::Shared,
};

/// Pause between looks at a flow whose code is being exchanged.
const LOOK_PAUSE: Duration = Duration::from_millis(150);

/// The flow's one-time confirmation, for this browser: made of its cookie, so that only this browser can be told it, and as
/// often as it asks. Only its digest is stored.
pub(super) fn confirmation(shared: &Shared, id: AuthorizationId, binding: &BrowserBinding) -> Confirmation {
    let source = zeroize::Zeroizing::new(format!("{id}.{}", binding.expose()));
    let Digest(bytes) = shared
        .ports
        .vault
        .digest(DigestPurpose::ConfirmationSource, &source);
    Confirmation::new(crate::chance::hexadecimal(&bytes))
}

/// Where the flow of this state stands, for the browser that it came back by.
pub(super) async fn led_on(shared: &Shared, visit: &Visit, state: &Digest) -> ServiceResult<CallbackOutcome> {
    // Told before the caller has given up.
    let until = Instant::now() + shared.settings.call_deadline.mul_f64(0.8);
    loop {
        let found = shared.ports.authorizations.find_by_state(state).await;
        let Some(found) = found.map_err(|error| store_error(&error))? else {
            return stray::stray(shared, visit, None, why::UNKNOWN_STATE).await;
        };
        let flow = &found.flow;
        let Some(binding) = own(shared, visit, &found) else {
            return stray::stray(shared, visit, Some(flow), why::USED_STATE).await;
        };
        if visit.is_anothers(flow) {
            return stray::stray(shared, visit, Some(flow), why::OTHER_USER).await;
        }
        if let Some(result) = result(shared, flow, binding) {
            tracing::info!(authorization.id = %flow.id, authorization.status = flow.status.as_str(), "a callback came again");
            return Ok(CallbackOutcome {
                authorization_id: Some(flow.id),
                return_to: flow.return_to.clone(),
                result,
            });
        }
        if Instant::now() >= until {
            return Err(ServiceError::DeadlineExceeded);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// The cookie of the browser that the flow came back by; where none did, of the one that left with this state.
fn own<'a>(shared: &Shared, visit: &'a Visit, found: &StoredRedirect) -> Option<&'a BrowserBinding> {
    let browser = found.flow.browser.unwrap_or(found.browser);
    let is_here = found.flow.provider == visit.provider;
    visit.binding(shared, browser).filter(|_| is_here)
}

/// `None`: that is being found out.
fn result(shared: &Shared, flow: &StoredAuthorization, binding: &BrowserBinding) -> Option<CallbackResult> {
    let error = |otherwise: &str| {
        let error = flow.error.clone();
        error.unwrap_or_else(|| ReasonCode::new(otherwise))
    };
    Some(match flow.status {
        AuthorizationStatus::Returned | AuthorizationStatus::Exchanged => return None,
        AuthorizationStatus::AwaitingConfirmation => {
            CallbackResult::ConfirmationRequired(confirmation(shared, flow.id, binding))
        }
        AuthorizationStatus::Connected => match &flow.integration_id {
            Some(id) => CallbackResult::Connected(id.clone()),
            None => CallbackResult::Failed(error(why::USED_STATE)),
        },
        AuthorizationStatus::AccountMismatch => CallbackResult::Failed(error("account_mismatch")),
        AuthorizationStatus::Denied => CallbackResult::Denied(error(why::USED_STATE)),
        AuthorizationStatus::Expired => CallbackResult::Failed(error(why::EXPIRED)),
        // Redirected: what this browser came back with was refused, and others may still come.
        AuthorizationStatus::Failed | AuthorizationStatus::Created | AuthorizationStatus::Redirected => {
            CallbackResult::Failed(error(why::USED_STATE))
        }
    })
}
