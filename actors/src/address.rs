//! An address that survives its actor: Root points it at the replacement after a restart.

use std::sync::{Arc, PoisonError, RwLock};

use ractor::{ActorRef, Message, MessagingErr};

/// Where a permanent actor can be reached. Empty before its start and while it is being restarted.
pub struct Address<M>(Arc<RwLock<Option<ActorRef<M>>>>);

impl<M: Message> Address<M> {
    /// Nobody there yet.
    pub fn new() -> Self {
        Self(Arc::new(RwLock::new(None)))
    }

    /// Points it at this actor.
    pub fn set(&self, actor: Option<ActorRef<M>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = actor;
    }

    /// The actor, if there is one.
    pub fn get(&self) -> Option<ActorRef<M>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends; gives the message back if nobody is there to take it.
    pub fn cast(&self, message: M) -> Result<(), M> {
        let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match &*guard {
            None => Err(message),
            Some(actor) => actor.cast(message).map_err(|refused| match refused {
                MessagingErr::SendErr(message) => message,
                // Neither can happen to a cast of the actor's own message type.
                MessagingErr::ChannelClosed | MessagingErr::InvalidActorType => {
                    unreachable!("a cast fails only by returning its message")
                }
            }),
        }
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M> std::fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address")
    }
}
