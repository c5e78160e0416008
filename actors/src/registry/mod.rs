//! The registry: routes a message to the provider it is for. Forwards reply ports, so answers go straight to whoever asked.

use std::collections::HashMap;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};

use crate::{
    domain::{error::ServiceError, ids::ProviderKey},
    integration::schedule::RETRY_AFTER_MIN,
    provider::message::ProviderMsg,
};

/// Messages of the registry.
#[derive(Debug)]
pub(crate) enum RegistryMsg {
    /// From the façade, the Scheduler and connect flows: for this provider's supervisor.
    Route(ProviderKey, ProviderMsg),
    /// From Root: where this provider's supervisor is from now on.
    Serves(ProviderKey, ActorRef<ProviderMsg>),
}

/// The actor. Its routes come with its arguments and from Root.
pub(crate) struct Registry;

pub(crate) type Routes = HashMap<ProviderKey, ActorRef<ProviderMsg>>;

impl Actor for Registry {
    type Msg = RegistryMsg;
    type State = Routes;
    type Arguments = Routes;

    async fn pre_start(
        &self,
        _: ActorRef<RegistryMsg>,
        routes: Routes,
    ) -> Result<Routes, ActorProcessingErr> {
        Ok(routes)
    }

    async fn handle(
        &self,
        _: ActorRef<RegistryMsg>,
        message: RegistryMsg,
        routes: &mut Routes,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            RegistryMsg::Route(provider, message) => route(routes, &provider, message),
            RegistryMsg::Serves(provider, supervisor) => drop(routes.insert(provider, supervisor)),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<RegistryMsg>,
        _: SupervisionEvent,
        _: &mut Routes,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // It has no children.
    }
}

fn route(routes: &Routes, provider: &ProviderKey, message: ProviderMsg) {
    let refused = match routes.get(provider) {
        None => Some(message),
        Some(supervisor) => match supervisor.cast(message) {
            Ok(()) => None,
            Err(ractor::MessagingErr::SendErr(message)) => Some(message),
            Err(ractor::MessagingErr::ChannelClosed | ractor::MessagingErr::InvalidActorType) => None,
        },
    };
    if let Some(message) = refused {
        // Being restarted: a matter of milliseconds.
        message.refuse(ServiceError::Overloaded {
            detail: "this provider's supervisor is being restarted",
            retry_after: RETRY_AFTER_MIN,
        });
    }
}
