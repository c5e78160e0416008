//! A service that asks for tokens, and what a test does to a grant behind everybody's back.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Universe, user};
use crate::{
    domain::{
        caller::{Actor, RequestContext},
        client::{Policy, ServiceClient},
        ids::IntegrationId,
        integration::StoredGrant,
        token::{AccessGrant, TokenRequest, TokenTarget, Want},
    },
    handle::{OAuthManager, ServiceResult},
    ports::clock::Clock as _,
    shared::before,
};

// === a service ===

impl Universe {
    /// A request of a service whose policy has these entries.
    ///
    /// # Panics
    /// If they are none.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub fn service(&self, name: &str, allow: &[&str]) -> RequestContext {
        let allow = allow
            .iter()
            .map(|entry| entry.parse().expect("a policy entry"))
            .collect();
        let client = ServiceClient {
            id: Uuid::now_v7(),
            name: name.into(),
            policy: Policy {
                allow,
                ..Policy::default()
            },
            created_at: self.clock.now(),
            revoked_at: None,
        };
        RequestContext {
            actor: Actor::Service(Arc::new(client)),
            ..RequestContext::system()
        }
    }

    /// An in-process service asks for a token that carries the provider's default feature.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token(&self, owner: &str, provider: &str) -> ServiceResult<AccessGrant> {
        self.token_for(owner, provider, Duration::from_secs(60)).await
    }

    /// The same, good for at least this long.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token_for(
        &self,
        owner: &str,
        provider: &str,
        min_ttl: Duration,
    ) -> ServiceResult<AccessGrant> {
        token_of(&self.manager, owner, provider, min_ttl).await
    }

    /// The token of this very integration, asked for by a service.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn token_by_id(
        &self,
        id: &IntegrationId,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        let target = TokenTarget::Integration(id.clone());
        self.manager
            .issue_token(
                TokenRequest {
                    target,
                    min_ttl: Some(Duration::from_secs(60)),
                },
                context,
            )
            .await
    }
}

/// An in-process service of this system asks.
///
/// # Errors
/// Why there is none.
///
/// # Panics
/// If the provider has no feature `read`.
#[expect(clippy::expect_used, reason = "a test's own mistake")]
pub async fn token_of(
    manager: &OAuthManager,
    owner: &str,
    provider: &str,
    min_ttl: Duration,
) -> ServiceResult<AccessGrant> {
    let feature = format!("{provider}.read").parse().expect("a feature key");
    manager.access_token(&user(owner), &feature, min_ttl).await
}

/// What a service asks for of a user's account at this provider.
///
/// # Panics
/// If there can be no provider of this key.
#[expect(clippy::expect_used, reason = "a test's own mistake")]
pub fn wanted(owner: &str, provider: &str, account: Option<&str>) -> TokenRequest {
    let feature = Some(format!("{provider}.read").parse().expect("a feature key"));
    let want = Want {
        feature,
        ..Want::default()
    };
    let target = TokenTarget::User {
        subject: user(owner),
        want,
        account: account.map(Into::into),
    };
    TokenRequest {
        target,
        min_ttl: Some(Duration::from_secs(60)),
    }
}

// === time, behind everybody's back ===

impl Universe {
    /// Makes the access token end this long from now, with no refresh planned: only a request begins one.
    ///
    /// # Panics
    /// If there is none.
    pub fn ends_in(&self, id: &IntegrationId, left: Duration) {
        let now = self.clock.now();
        self.edit_grant(id, |grant| {
            grant.issued_at = before(now, Duration::from_secs(7200));
            grant.expires_at = Some(crate::shared::after(now, left));
            grant.next_refresh_at = None;
        });
    }

    /// Makes the access token spent, with no refresh planned: only a request begins one.
    ///
    /// # Panics
    /// If there is none.
    pub fn spend(&self, id: &IntegrationId) {
        self.ends_in(id, Duration::ZERO);
    }

    /// Changes the grant in its row.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub fn edit_grant(&self, id: &IntegrationId, edit: impl FnOnce(&mut StoredGrant)) {
        self.store
            .edit(id, |row| edit(row.grant.as_mut().expect("a grant")));
    }

    /// The grant in its row.
    ///
    /// # Panics
    /// If there is none.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub fn grant(&self, id: &IntegrationId) -> StoredGrant {
        self.store.row(id).grant.expect("a grant")
    }
}
