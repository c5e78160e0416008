//! Hand-outs: asked of the accounts' actors, within the caller's policy, recorded either way.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{OAuthManager, ServiceResult, to};
use crate::{
    audit::IN_PROCESS,
    catalogue::{self, Wanted},
    consent,
    domain::{
        Timestamp, audit::AuditAction, audit::AuditEntry, audit::AuditOutcome, caller::Actor,
        caller::RequestContext, client::ServiceClient, error::ServiceError, feature::FeatureKey,
        ids::IntegrationId, ids::ProviderKey, ids::Subject, reason::ReasonCode, secret::ServiceCredential,
        token::AccessGrant, token::TokenRejection, token::TokenRequest, token::TokenTarget, token::Want,
    },
    integration::{
        answer,
        message::{IntegrationMsg, Need, Recipient, RejectedAsk, TokenAsk, WishPermit},
        row::usual_min_ttl,
    },
    provider::message::ProviderMsg,
    registry::RegistryMsg,
};

impl OAuthManager {
    /// The client with this credential (`oms_…`).
    ///
    /// # Errors
    /// Unauthenticated; or the database being away, for a credential not seen lately.
    pub async fn authenticate_service(
        &self,
        credential: &ServiceCredential,
    ) -> ServiceResult<Arc<ServiceClient>> {
        self.clients.authenticate(&self.shared, credential).await
    }

    /// Whether this credential was good when this node last read it: without asking anybody.
    pub fn knows_service(&self, credential: &ServiceCredential) -> bool {
        self.clients.knows(&self.shared, credential)
    }

    /// What `answer` makes of the token that was asked for, where its account has laid it out and the client with this
    /// credential may have it. `now` is when the request came. `None` says nothing but that
    /// [`issue_token`](Self::issue_token) is to be asked, which knows why.
    pub fn token_at_hand<R>(
        &self,
        request: &TokenRequest,
        credential: &ServiceCredential,
        now: Timestamp,
        answer: impl FnOnce(&AccessGrant) -> Option<R>,
    ) -> Option<R> {
        let asked_at = Instant::now();
        self.clients
            .if_known(&self.shared, credential, asked_at, |recipient| {
                let wanted = catalogue::wanted(&self.shared.providers, &request.target).ok()?;
                if !wanted.scopes.is_empty() {
                    // What is on the shelf knows what it carries, not what else of it may be asked for by name.
                    catalogue::within_policy(&wanted, recipient).ok()?;
                }
                let answer = self.take_from_shelf(request, &wanted, recipient, (now, asked_at), answer)?;
                let provider = &wanted.provider.key;
                if let Some(measures) = self.shared.measures(provider) {
                    measures.answered(provider, None);
                }
                Some(answer)
            })
    }

    /// For in-process services: a token that carries the feature and is good for at least `min_ttl`.
    ///
    /// # Errors
    /// As [`issue_token`](Self::issue_token), without a policy.
    pub async fn access_token(
        &self,
        user: &Subject,
        feature: &FeatureKey,
        min_ttl: Duration,
    ) -> ServiceResult<AccessGrant> {
        let want = Want {
            feature: Some(feature.clone()),
            ..Want::default()
        };
        let target = TokenTarget::User {
            subject: user.clone(),
            want,
            account: None,
        };
        let request = TokenRequest {
            target,
            min_ttl: Some(min_ttl),
        };
        self.ask_token(&request, &Recipient::InProcess, RequestContext::system())
            .await
    }

    /// A token for a service client (`context.actor`), within its policy; recorded either way.
    ///
    /// # Errors
    /// A reason with who must act: not connected, reconnect, missing scope, beyond the policy, provider or database away,
    /// too much to do. Never a token that is about to end, never silence.
    pub async fn issue_token(
        &self,
        request: TokenRequest,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        let Actor::Service(client) = &context.actor else {
            return Err(ServiceError::Forbidden {
                detail: "only services receive tokens".into(),
            });
        };
        let recipient = Recipient::Client(Arc::clone(client));
        self.ask_token(&request, &recipient, context).await
    }

    /// A service (`context.actor`) says that the provider's interface did not accept the token of this account: it is
    /// refreshed, once for its generation however many say so. `true`: the token is the one that is handed out now.
    ///
    /// # Errors
    /// Not a service that may receive this account's tokens; no such account; the database being away.
    pub async fn token_rejected(
        &self,
        id: &IntegrationId,
        rejection: TokenRejection,
        context: RequestContext,
    ) -> ServiceResult<bool> {
        let Actor::Service(client) = &context.actor else {
            return Err(ServiceError::Forbidden {
                detail: "only services receive tokens".into(),
            });
        };
        let recipient = Recipient::Client(Arc::clone(client));
        let target = TokenTarget::Integration(id.clone());
        let wanted = catalogue::wanted(&self.shared.providers, &target)?;
        catalogue::within_policy(&wanted, &recipient)?;
        self.ask_twice(|reply| {
            let ask = Box::new(RejectedAsk {
                recipient: recipient.clone(),
                rejection: rejection.clone(),
                context: context.clone(),
                permit: WishPermit::take(&self.shared.wishes)?,
                reply,
            });
            Ok(to(id, IntegrationMsg::Rejected(ask)))
        })
        .await
    }

    pub(super) async fn ask_token(
        &self,
        request: &TokenRequest,
        recipient: &Recipient,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        let wanted = catalogue::wanted(&self.shared.providers, &request.target)?;
        let answer = self.ask_wanted(&wanted, request, recipient, context).await;
        let provider = &wanted.provider.key;
        if let Some(measures) = self.shared.measures(provider) {
            measures.answered(provider, answer.as_ref().err().map(ServiceError::code));
        }
        answer
    }

    async fn ask_wanted(
        &self,
        wanted: &catalogue::Wanted<'_>,
        request: &TokenRequest,
        recipient: &Recipient,
        context: RequestContext,
    ) -> ServiceResult<AccessGrant> {
        if let Err(error) = catalogue::within_policy(wanted, recipient) {
            self.record_refusal(&request.target, &wanted.provider.key, &error, context);
            return Err(error);
        }
        let laid_out = |grant: &AccessGrant| Some(grant.clone());
        let now = (self.shared.now(), Instant::now());
        if let Some(grant) = self.take_from_shelf(request, wanted, recipient, now, laid_out) {
            return Ok(grant);
        }
        let key = wanted.provider.key.clone();
        let question = |reply| -> ServiceResult<RegistryMsg> {
            let ask = Box::new(TokenAsk {
                recipient: recipient.clone(),
                feature: wanted.feature.clone(),
                scopes: wanted.scopes.clone(),
                min_ttl: request.min_ttl,
                context: context.clone(),
                permit: self.shared.audit.permit()?,
                others: Vec::new(),
                refused: None,
                reply,
            });
            Ok(RegistryMsg::Route(
                key.clone(),
                match &request.target {
                    TokenTarget::Integration(id) => ProviderMsg::To {
                        integration: id.uuid,
                        message: IntegrationMsg::Ask(ask),
                    },
                    TokenTarget::User { subject, account, .. } => ProviderMsg::ToUser {
                        subject: subject.clone(),
                        account: account.clone(),
                        ask,
                    },
                },
            ))
        };
        self.ask_twice(question).await
    }

    /// The token, if its account has laid one out that is all that is asked for, and it can be recorded at once. Whatever
    /// else there is to say, the account's actor says it.
    fn take_from_shelf<R>(
        &self,
        request: &TokenRequest,
        wanted: &Wanted<'_>,
        recipient: &Recipient,
        (now, asked_at): (Timestamp, Instant),
        answer: impl FnOnce(&AccessGrant) -> Option<R>,
    ) -> Option<R> {
        let client = match recipient {
            Recipient::Client(client) => client.id,
            Recipient::InProcess => IN_PROCESS,
        };
        let shelf = self.shared.shelf(&wanted.provider.key)?;
        let integration = match &request.target {
            TokenTarget::Integration(id) => id.uuid,
            TokenTarget::User {
                subject,
                account: None,
                ..
            } => shelf.first_of(subject, asked_at)?,
            TokenTarget::User { .. } => return None,
        };
        let need = Need {
            recipient,
            feature: wanted.feature.as_ref(),
            scopes: &wanted.scopes,
        };
        shelf.of_integration(&integration, |ready| {
            let stored = &ready.opened.stored;
            let min_ttl = request
                .min_ttl
                .unwrap_or_else(|| usual_min_ttl(Some(ready.token)));
            let is_good = ready.token.usable_for(now, min_ttl)
                && ready.carried.gives(wanted.provider, &need)
                && consent::holds(wanted.provider, stored, &need, now).is_ok();
            let audit = &self.shared.audit;
            if !is_good || !audit.count(client, stored.id.uuid, now, &stored.scopes) {
                return None;
            }
            ready.activity.take(now);
            answer::watch(&self.shared, &ready.grant, request.min_ttl, now);
            answer(&ready.grant)
        })
    }

    pub(super) fn record_refusal(
        &self,
        target: &TokenTarget,
        provider: &ProviderKey,
        error: &ServiceError,
        context: RequestContext,
    ) {
        let mut entry = AuditEntry::new(AuditAction::Denied, AuditOutcome::Denied, context)
            .with_error(ReasonCode::new(error.code()));
        entry.provider = Some(provider.clone());
        match target {
            TokenTarget::Integration(id) => entry.integration_id = Some(id.clone()),
            TokenTarget::User { subject, .. } => entry.subject = Some(subject.clone()),
        }
        if let Ok(permit) = self.shared.audit.permit() {
            self.shared.audit.record(entry, permit);
        }
    }
}
