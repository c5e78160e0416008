//! Users, and services that act for them: what they do through a node, and what they see.

use std::{sync::Arc, time::Duration};

use super::{
    history::{Account, Event},
    node::Node,
    pulse::Life,
};
use crate::{
    domain::{
        authorization::{CallbackBrowser, CallbackParams, CallbackResult},
        error::ServiceError,
        secret::{ConnectHandle, State},
    },
    handle::ServiceResult,
    testing::universe::{by_browser, by_user, token_of, user, wanting},
};

/// One person at one node, about one account.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) node: Arc<Node>,
    pub(super) account: Account,
}

impl Person {
    fn says(&self, what: String) {
        self.node
            .post
            .land
            .tell(Event::Person(self.node.post.index, self.account, what));
    }

    /// Whether the node still is who it was: from a dead one no answer comes.
    async fn hears(&self) {
        if self.node.post.pulse.get() != Life::Running {
            self.node.post.pulse.beat().await;
        }
    }

    fn report<T>(&self, what: &str, result: &ServiceResult<T>) {
        let came_of_it = match result {
            Ok(_) => "done",
            Err(error) => error.code(),
        };
        self.says(format!("{what}: {came_of_it}"));
    }

    /// A service asks for a token that lives this long.
    pub(super) async fn ask(self, min_ttl: Duration) -> bool {
        let post = &self.node.post;
        let began_at = post.land.now();
        let Account { provider, .. } = self.account;
        let result = token_of(&self.node.manager, &self.account.owner(), provider, min_ttl).await;
        let stood_still = !post.pulse.runs();
        self.hears().await;
        self.report("asks for a token", &result);
        let Ok(grant) = result else { return false };
        let land = &post.land;
        if stood_still || land.checker().broken_since(post.index, began_at) {
            // What was in the pipe when the process stood still is read when it goes on.
            land.checker()
                .handed_out_late(self.account, post.index, land.now());
            return true;
        }
        let known = land.provider.known(provider, &grant.access_token);
        let deaf = !post.hears();
        let trouble = land.database_trouble_at();
        land.checker().handed_out(
            post.index,
            self.account,
            grant.access_token.expose(),
            known,
            min_ttl,
            (land.now(), trouble),
            deaf,
        );
        true
    }

    /// The user wants it refreshed now.
    pub(super) async fn refresh(self) {
        let Some(id) = self.id().await else { return };
        let owner = self.account.owner();
        let result = self
            .node
            .manager
            .refresh(&user(&owner), &id, by_user(&owner))
            .await;
        self.hears().await;
        self.report("refreshes", &result);
    }

    /// The user takes it back.
    pub(super) async fn revoke(self) {
        let Some(id) = self.id().await else { return };
        let owner = self.account.owner();
        let result = self
            .node
            .manager
            .revoke(&user(&owner), &id, by_user(&owner))
            .await;
        self.hears().await;
        if result.is_ok() {
            self.node
                .post
                .land
                .checker()
                .acknowledged(self.node.post.index, self.account);
        }
        self.report("revokes", &result);
    }

    /// The user takes it back on the provider's own page.
    pub(super) fn withdraw(self) {
        let land = &self.node.post.land;
        land.provider
            .withdraw(self.account.provider, &self.account.owner());
        self.says("withdraws at the provider".into());
    }

    /// The user goes through a whole connect flow.
    pub(super) async fn connect(self) -> bool {
        let result = self.flow().await;
        self.hears().await;
        self.report("connects", &result);
        result.is_ok()
    }

    async fn flow(&self) -> ServiceResult<()> {
        let (owner, provider) = (self.account.owner(), self.account.provider);
        let manager = &self.node.manager;
        let begun = manager
            .begin_authorization(user(&owner), wanting(provider), by_user(&owner))
            .await?;
        let handle = begun
            .authorization_url
            .path_segments()
            .and_then(|mut path| path.next_back());
        let redirect = manager
            .open_connect_link(ConnectHandle::new(handle.unwrap()), Vec::new(), by_browser())
            .await?;
        let land = &self.node.post.land;
        let code = land.provider.consent(provider, &redirect.location, &owner);
        let state = redirect.location.query_pairs().find(|(name, _)| name == "state");
        let params = CallbackParams {
            code: Some(code),
            state: Some(State::new(state.unwrap().1)),
            ..CallbackParams::default()
        };
        let browser = CallbackBrowser {
            bindings: vec![redirect.browser],
            session: None,
        };
        let key = provider.parse().unwrap();
        let outcome = manager.callback(key, params, browser, by_browser()).await?;
        let CallbackResult::ConfirmationRequired(confirmation) = outcome.result else {
            return Err(ServiceError::NotConnected);
        };
        manager
            .confirm_authorization(
                user(&owner),
                begun.authorization_id,
                confirmation,
                by_user(&owner),
            )
            .await?;
        Ok(())
    }

    async fn id(&self) -> Option<crate::domain::ids::IntegrationId> {
        self.node.post.land.id_of(self.account)
    }
}
