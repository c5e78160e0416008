//! The refresh (RFC 6749 6): one presentation of one refresh token, and a faithful account of what came of it.

use oauth_manager_actors::{
    domain::{provider::RefreshClass, token::TokenAnswer},
    ports::oauth::{FailureKind, ProviderFailure, RefreshRequest},
};
use serde_json::Value;

use super::{
    classify::{Step, Verdict},
    engine::Engine,
    id_token,
    problems::Part,
    registration::Registration,
    token_answer::{self, Understood},
};

impl Engine {
    pub(super) async fn refresh_once(
        &self,
        registration: &Registration,
        request: RefreshRequest,
    ) -> Result<TokenAnswer, ProviderFailure> {
        let class = registration.provider.refresh_class;
        let deadline = self.refresh_deadline(class);
        let endpoints = self.endpoints(registration, &request.metadata, deadline).await?;
        let extra = registration.dialect.refresh_parameters(&request.scopes);
        let mut parameters = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", request.refresh_token.expose()),
        ];
        parameters.extend(extra.iter().map(|(name, value)| (*name, value.as_str())));
        let auth = Some(endpoints.client_auth);

        let step = Step::Refresh(class);
        let sent_at = self.clock.now();
        let sent = self
            .post_authenticated(registration, endpoints.token, auth, parameters, deadline)
            .await;
        let answer =
            sent.map_err(|failure| registration.failure(self.unanswered(registration, step, failure)))?;
        self.problems
            .fine(&registration.provider.key, Part::TokenEndpoint);
        let presented = Some(&request.refresh_token);
        let mut understood = self.read_tokens(registration, step, &answer, sent_at, presented)?;

        if is_about_another(registration, &request, &understood) {
            // Answered is done: a refresh token that rotates is spent by now, and what replaces it is not this account's.
            let kind = match registration.provider.refresh_class {
                RefreshClass::Safe => FailureKind::Refused,
                RefreshClass::Grace { .. } | RefreshClass::SingleUse => FailureKind::Unreadable,
            };
            return Err(registration.failure(Verdict::new(kind, "account_mismatch")));
        }
        understood.answer.scopes =
            registration
                .dialect
                .granted(understood.answer.scopes.take(), &request.scopes, true);
        token_answer::bound_scopes(&mut understood.answer, &request.scopes);
        Ok(understood.answer)
    }
}

/// Whether the answer names another account than the one whose refresh token was presented. The tokens of somebody else
/// must neither be stored nor handed out.
fn is_about_another(registration: &Registration, request: &RefreshRequest, understood: &Understood) -> bool {
    if registration
        .dialect
        .is_about_another(&understood.rest, &request.metadata)
    {
        return true;
    }
    let has_subject = registration.dialect.facts().identity.has_id_token();
    let named = understood
        .id_token
        .as_ref()
        .filter(|_| has_subject)
        .and_then(|token| id_token::unverified_subject(token));
    let kept = request.metadata.get("sub").and_then(Value::as_str);
    named.is_some_and(|named| named != kept.unwrap_or(&request.account.id))
}
