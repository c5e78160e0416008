//! A provider's interface did not accept the token: one forced refresh for that generation, however many report it and on
//! however many nodes, and until something came of it nobody is handed what was rejected.
//!
//! Whoever reports is a service that may receive the token, and still a caller: what it says costs one refresh of one
//! generation and no more, and moves nothing but its own account.

use std::{sync::Arc, time::Duration};

use ractor::ActorRef;
use sha2::{Digest as _, Sha256};

use super::{
    Integration, IntegrationState,
    lifecycle::Input,
    message::{IntegrationMsg, RejectedAsk},
};
use crate::{
    domain::{
        audit::{AuditAction, AuditEntry, AuditOutcome},
        error::{ServiceError, ServiceResult},
        reason::ReasonCode,
        secret::AccessToken,
    },
    ports::store::{RejectionReport, Reported},
    records::store_error,
    shared::until,
};

/// A token younger than this is not refreshed for a report that does not prove to have it: what was rejected is most likely
/// the one before.
const YOUNG: Duration = Duration::from_secs(30);

impl Integration {
    /// A service says that the token was rejected.
    pub(super) fn rejected(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Box<RejectedAsk>,
    ) {
        if ask.reply.is_closed() {
            return;
        }
        if state.reloads > 0 && state.deferred.len() < super::WAITERS_MAX {
            // The row is being read: by now the token may be another.
            state.deferred.push(IntegrationMsg::Rejected(ask));
            return;
        }
        if let Err(error) = self.reaches(state, &ask.recipient) {
            let _ = ask.reply.send(Err(error));
            return;
        }
        let Some(token) = state.lifecycle.row.token.filter(|_| is_current(state, &ask)) else {
            let _ = ask.reply.send(Ok(false));
            return;
        };
        let is_told = state.reported == Some(token.generation) && ask.rejection.claims.is_none();
        let proves_nothing = ask.rejection.token_sha256.is_none();
        let is_young = until(token.issued_at, self.shared.now()) < YOUNG;
        if is_told || (proves_nothing && is_young) {
            let _ = ask.reply.send(Ok(true));
            return;
        }
        let stored = &state.opened.stored;
        let audit = AuditEntry::new(
            AuditAction::TokenRejected,
            AuditOutcome::Success,
            ask.context.clone(),
        )
        .with_integration(&stored.id, &stored.owner.subject)
        .with_error(ReasonCode::new(format!("http_{}", ask.rejection.status)));
        let report = RejectionReport {
            id: stored.id.clone(),
            generation: token.generation,
            claims: ask.rejection.claims.clone(),
            audit,
        };
        state.changes_under_way += 1;
        self.show_busy(state);
        let (shared, myself) = (Arc::clone(&self.shared), myself.clone());
        self.shared
            .effects
            .spawn_or(Self::fails_with(&myself), async move {
                let result = shared.ports.integrations.report_rejection(&report).await;
                let result = shared.database.told(result).map_err(|error| store_error(&error));
                let message = IntegrationMsg::RejectionStored(ask, report.generation, result);
                if let Err(ractor::MessagingErr::SendErr(unheard)) = myself.cast(message) {
                    unheard.refuse(ServiceError::DeadlineExceeded);
                }
            });
    }

    /// The report is durable, or there was nothing to report any more.
    pub(super) fn rejection_stored(
        &self,
        myself: &ActorRef<IntegrationMsg>,
        state: &mut IntegrationState,
        ask: Box<RejectedAsk>,
        generation: i64,
        result: ServiceResult<Reported>,
    ) {
        state.changes_under_way = state.changes_under_way.saturating_sub(1);
        match &result {
            Ok(Reported::First | Reported::Again) => {
                state.reported = Some(generation);
                state.cause = Some(ask.context.clone());
                let is_first = result == Ok(Reported::First);
                self.feed(myself, state, Input::Rejected { generation, is_first });
                state.cause = None;
                if !is_first {
                    // Somebody else refreshes it, or has: the row says what came of that.
                    self.reload(myself, state);
                }
            }
            Ok(Reported::Moved) => self.reload(myself, state),
            Err(_) => {}
        }
        self.show_busy(state);
        let _ = ask.reply.send(result.map(|reported| reported != Reported::Moved));
    }
}

/// Whether the rejected token is one that is handed out now. A report that does not say which counts as such.
fn is_current(state: &IntegrationState, ask: &RejectedAsk) -> bool {
    let Some(wanted) = ask.rejection.token_sha256 else {
        return true;
    };
    let is_it = |token: &AccessToken| <[u8; 32]>::from(Sha256::digest(token.expose().as_bytes())) == wanted;
    state.opened.access_token.as_ref().is_some_and(is_it) || state.narrowed.any(is_it)
}
