//! Hearing of changes that other nodes announce, on a connection of its own beside the pools. What is announced while
//! nobody listens is lost: [`Storage::recent_changes`] finds it.

use futures_util::{StreamExt, stream};
use tokio_postgres::AsyncMessage;

use oauth_manager_actors::{
    domain::ids::IntegrationId,
    ports::store::{StoreError, StoreResult},
};

use super::{Storage, errors, events::LISTEN};

impl Storage {
    /// Calls `heard` for every integration that any node (this one included) announces a change of, until the
    /// connection ends; `listening` is called once, when nothing announced from now on is missed. Call it again, with
    /// a pause, when it ends; drop it to stop.
    ///
    /// # Errors
    /// Always, in the end: why the connection could not be made, or ended.
    pub async fn listen(
        &self,
        listening: impl FnOnce() + Send,
        heard: impl Fn(IntegrationId) + Send,
    ) -> StoreResult<()> {
        let pools = &self.0.pools;
        let connected = tokio::time::timeout(self.0.deadline, pools.config.connect(pools.connector.clone()));
        let (client, mut connection) = connected
            .await
            .map_err(|_| StoreError::Unavailable("connecting took too long".into()))?
            .map_err(|error| errors::of_statement(&error))?;
        let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
        let mut listening = Some(listening);
        let mut begin = std::pin::pin!(client.batch_execute(LISTEN));
        loop {
            tokio::select! {
                begun = &mut begin, if listening.is_some() => {
                    begun.map_err(|error| errors::of_statement(&error))?;
                    if let Some(listening) = listening.take() {
                        listening();
                    }
                }
                message = messages.next() => match message {
                    // What is not one of our ids was not announced by us.
                    Some(Ok(AsyncMessage::Notification(said))) => if let Ok(id) = said.payload().parse() {
                        heard(id);
                    },
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(errors::of_statement(&error)),
                    None => return Err(StoreError::Unavailable("the connection is closed".into())),
                },
            }
        }
    }
}
