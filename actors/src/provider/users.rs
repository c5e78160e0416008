//! Questions by user: which accounts the user has here, and which of them is asked.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use super::{
    ProviderState, ProviderSupervisor,
    directory::{self, Lookup, Question},
    message::ProviderMsg,
};
use crate::{
    domain::error::ServiceResult,
    domain::{error::ServiceError, ids::Subject},
    integration::message::{IntegrationMsg, TokenAsk},
    ports::store::DirectoryEntry,
};

impl ProviderSupervisor {
    pub(super) fn to_user(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        subject: &Subject,
        account: Option<String>,
        ask: Box<TokenAsk>,
    ) {
        match state
            .directory
            .look_up(subject, Question { account, ask }, Instant::now())
        {
            Lookup::Found {
                entries,
                question,
                read,
            } => {
                if read {
                    self.read_directory(myself, subject);
                }
                self.route(myself, state, &entries, question);
            }
            Lookup::Waits { read: true } => self.read_directory(myself, subject),
            Lookup::Waits { read: false } => {}
        }
    }

    pub(super) fn read_directory(&self, myself: &ActorRef<ProviderMsg>, subject: &Subject) {
        let (shared, myself, subject) = (Arc::clone(&self.shared), myself.clone(), subject.clone());
        let provider = self.provider.key.clone();
        let (supervisor, asked) = (myself.clone(), subject.clone());
        let failed = move || {
            drop(supervisor.cast(ProviderMsg::DirectoryRead(asked, Err(ServiceError::Internal))));
        };
        self.shared.effects.spawn_or(failed, async move {
            let result = shared.ports.integrations.directory(&subject, &provider).await;
            let result = result.map_err(|error| crate::records::store_error(&error));
            let _ = myself.cast(ProviderMsg::DirectoryRead(subject, result));
        });
    }

    pub(super) fn directory_read(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        subject: &Subject,
        result: ServiceResult<Vec<DirectoryEntry>>,
    ) {
        match result {
            Ok(entries) => match state.directory.filled(subject, entries.clone(), Instant::now()) {
                None => self.read_directory(myself, subject),
                Some(questions) => {
                    if let (Some(shelf), Some(first)) =
                        (self.shared.shelf(&self.provider.key), entries.first())
                    {
                        shelf.set_first(subject, first.id.uuid, Instant::now());
                    }
                    for question in questions {
                        self.route(myself, state, &entries, question);
                    }
                }
            },
            Err(error) => {
                for question in state.directory.failed(subject) {
                    IntegrationMsg::Ask(question.ask).refuse(error.clone());
                }
            }
        }
    }

    /// Asks the first account; it passes the question on to the next if it refuses.
    pub(super) fn route(
        &self,
        myself: &ActorRef<ProviderMsg>,
        state: &mut ProviderState,
        entries: &[DirectoryEntry],
        mut question: Question,
    ) {
        let candidates = match directory::select(entries, question.account.as_deref()) {
            Ok(candidates) => candidates,
            Err(error) => {
                IntegrationMsg::Ask(question.ask).refuse(error);
                return;
            }
        };
        // Oldest first: which account a service gets does not change because the user connects another one.
        let Some((first, others)) = candidates.split_first() else {
            IntegrationMsg::Ask(question.ask).refuse(ServiceError::NotConnected);
            return;
        };
        question.ask.others = others.iter().rev().map(|entry| entry.id.uuid).collect();
        self.deliver(myself, state, first.id.uuid, IntegrationMsg::Ask(question.ask));
    }
}
