//! Documents the engine reads beside tokens: discovery, key sets, who an account is. All of them may be asked again.

use std::sync::Arc;

use http::{HeaderValue, header};
use oauth_manager_actors::{
    domain::secret::AccessToken,
    ports::oauth::{FailureKind, ProviderFailure},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{
    classify::{self, Step, Verdict},
    declaration::Object,
    discovery::Discovered,
    engine::Engine,
    json, metadata,
    problems::{Part, Trouble},
    registration::{Endpoints, Registration},
    transport::{Answer, Call},
};
use crate::jose::KeySet;

impl Engine {
    /// The endpoints for a tenant, discovered first where that is needed.
    pub(super) async fn endpoints(
        &self,
        registration: &Registration,
        metadata: &Value,
        deadline: Instant,
    ) -> Result<Endpoints, ProviderFailure> {
        let discovered = match &registration.discovery {
            Some(url) => Some(self.discovered(registration, url, deadline).await?),
            None => None,
        };
        let tenant = registration.dialect.tenant(metadata);
        let endpoints = registration
            .endpoints(tenant, discovered.as_deref())
            .map_err(|reason| Trouble::operators(reason.to_owned()));
        self.found(registration, Part::Endpoints, endpoints)
            .map_err(|verdict| registration.failure(verdict))
    }

    pub(super) async fn discovered(
        &self,
        registration: &Registration,
        url: &Url,
        deadline: Instant,
    ) -> Result<Arc<Discovered>, ProviderFailure> {
        let fetch = async {
            let document = self.metadata(registration, "discovery", url, deadline).await;
            let issuer = registration.issuers.first().map_or("", String::as_str);
            let overrides = &registration.settings.endpoints;
            let allowed = registration.dialect.facts().algorithms;
            let read = document.and_then(|document| {
                Discovered::read(&document, issuer, overrides, allowed, registration.policy)
                    .map_err(|reason| metadata::unfit(&document, issuer, reason))
            });
            self.found(registration, Part::Discovery, read)
        };
        let found = timeout_at(deadline, self.documents.at(url).get(self.clock.now(), fetch)).await;
        settle(found).map_err(|verdict| registration.failure(verdict))
    }

    /// The provider's key set, from memory where it is young enough.
    pub(super) async fn keys(
        &self,
        registration: &Registration,
        url: &Url,
        deadline: Instant,
    ) -> Result<Arc<KeySet>, Verdict> {
        let fetch = self.fetch_keys(registration, url, deadline);
        settle(timeout_at(deadline, self.key_sets.at(url).get(self.clock.now(), fetch)).await)
    }

    /// The key set fetched out of turn because the one `seen` did not suffice, unless that was done a moment ago.
    pub(super) async fn fresh_keys(
        &self,
        registration: &Registration,
        url: &Url,
        seen: &Arc<KeySet>,
        deadline: Instant,
    ) -> Option<Result<Arc<KeySet>, Verdict>> {
        let fetch = self.fetch_keys(registration, url, deadline);
        match timeout_at(
            deadline,
            self.key_sets.at(url).again(seen, self.clock.now(), fetch),
        )
        .await
        {
            Ok(found) => found,
            Err(_) => Some(Err(Verdict::new(FailureKind::Passing, "timeout"))),
        }
    }

    async fn fetch_keys(
        &self,
        registration: &Registration,
        url: &Url,
        deadline: Instant,
    ) -> Result<KeySet, Verdict> {
        let document = self.document(registration, "jwks", url, deadline).await;
        let trouble = |reason: &str, found: &str| {
            Trouble::operators(reason.to_owned())
                .found(found)
                .expected(format!("a key set (RFC 7517) at {url}"))
        };
        let keys = document.and_then(|document| {
            let set = KeySet::read(&document.body).ok_or_else(|| trouble("jwks_unreadable", "no key set"))?;
            // A set that is empty may be filled; keys that are all of no use stay so.
            if set.holds_only_unusable_keys() {
                return Err(trouble("jwks_unusable", "keys that verify nothing"));
            }
            Ok(set)
        });
        self.found(registration, Part::Keys, keys)
    }

    /// A JSON object by GET, with a token if it is about an account.
    pub(super) async fn read_object(
        &self,
        registration: &Registration,
        url: Url,
        token: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<Object, Verdict> {
        let answer = self.read(registration, url, token, deadline).await?;
        json::object(&answer.body).ok_or_else(|| Verdict::new(FailureKind::Passing, "document_unreadable"))
    }

    /// A whole document that came with a success status.
    async fn read(
        &self,
        registration: &Registration,
        url: Url,
        token: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<Answer, Verdict> {
        let answer = self.get(registration, url, token, deadline).await?;
        if !answer.status.is_success() {
            let dialect = registration.dialect.as_ref();
            let verdict = classify::answer(dialect, Step::Repeatable, &answer, self.clock.now());
            // A document that is about nobody is refused to nobody in particular.
            let kind = match (token, verdict.kind) {
                (None, FailureKind::Refused) => FailureKind::BadRequest,
                (_, kind) => kind,
            };
            return Err(Verdict { kind, ..verdict });
        }
        match answer.cut {
            Some(cut) => Err(Verdict::new(FailureKind::Passing, cut.reason())),
            None => Ok(answer),
        }
    }

    pub(super) async fn get(
        &self,
        registration: &Registration,
        url: Url,
        token: Option<&AccessToken>,
        deadline: Instant,
    ) -> Result<Answer, Verdict> {
        let mut call = Call::get(url, registration.policy);
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
                .map_err(|_| Verdict::new(FailureKind::Unreadable, "access_token_unfit"))?;
            bearer.set_sensitive(true);
            call.headers.insert(header::AUTHORIZATION, bearer);
        }
        let sent = self.transport.send(call, deadline).await;
        sent.map_err(|failure| classify::no_answer(Step::Repeatable, failure))
    }
}

/// Waiting for another caller's fetch counts against the deadline as well.
fn settle<T>(found: Result<Result<T, Verdict>, tokio::time::error::Elapsed>) -> Result<T, Verdict> {
    found.unwrap_or_else(|_| Err(Verdict::new(FailureKind::Passing, "timeout")))
}
