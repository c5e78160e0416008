//! The code exchange (RFC 6749 4.1.3): once, never repeated, and not before everything it will need is at hand.

use jiff::Timestamp;
use oauth_manager_actors::{
    domain::secret::RefreshToken,
    ports::oauth::{ExchangeRequest, Exchanged, FailureKind, ProviderFailure},
};
use serde_json::Value;

use super::{
    classify::{self, ErrorAnswer, Step, Verdict},
    engine::Engine,
    problems::Part,
    registration::Registration,
    salvage,
    settings::Pkce,
    token_answer::{self, Understood, Unusable},
    transport::{Answer, Cut},
};

impl Engine {
    pub(super) async fn exchange_code(
        &self,
        registration: &Registration,
        request: ExchangeRequest,
    ) -> Result<Exchanged, ProviderFailure> {
        let deadline = self.deadline();
        let endpoints = self.endpoints(registration, &Value::Null, deadline).await?;
        // The code works once: keys that cannot be had are better found missing before it is spent.
        let has_id_token = registration.dialect.facts().identity.has_id_token();
        if let Some(jwks) = endpoints.jwks.as_ref().filter(|_| has_id_token) {
            let keys = self.keys(registration, jwks, deadline).await;
            keys.map_err(|verdict| registration.failure(verdict))?;
        }

        let mut parameters = vec![
            ("grant_type", "authorization_code"),
            ("code", request.code.expose()),
            ("redirect_uri", request.redirect_uri.as_str()),
        ];
        if registration.settings.pkce == Pkce::S256 {
            parameters.push(("code_verifier", request.verifier.expose()));
        }
        let auth = Some(endpoints.client_auth);
        let sent_at = self.clock.now();
        let sent = self
            .post_authenticated(registration, endpoints.token.clone(), auth, parameters, deadline)
            .await;
        let answer = sent.map_err(|failure| {
            registration.failure(self.unanswered(registration, Step::Exchange, failure))
        })?;
        self.problems
            .fine(&registration.provider.key, Part::TokenEndpoint);
        let mut understood = self.read_tokens(registration, Step::Exchange, &answer, sent_at, None)?;

        let (account, metadata) = self
            .identify(registration, &endpoints, &request, &understood, deadline)
            .await
            .map_err(|verdict| registration.failure(spent(verdict)))?;
        let has_refresh_token = understood.answer.refresh_token.is_some();
        understood.answer.scopes = registration.dialect.granted(
            understood.answer.scopes.take(),
            &request.requested_scopes,
            has_refresh_token,
        );
        token_answer::bound_scopes(&mut understood.answer, &request.requested_scopes);
        Ok(Exchanged {
            answer: understood.answer,
            account,
            metadata,
        })
    }

    /// Tokens, or what their absence means. An answer that cannot be used gives up its refresh token first.
    pub(super) fn read_tokens(
        &self,
        registration: &Registration,
        step: Step,
        answer: &Answer,
        sent_at: Timestamp,
        presented: Option<&RefreshToken>,
    ) -> Result<Understood, ProviderFailure> {
        let dialect = registration.dialect.as_ref();
        let declared = &registration.settings.token_response;
        let errors = &registration.settings.errors;
        let classified = || classify::token_endpoint(errors, dialect, step, answer, self.clock.now());
        if !answer.status.is_success() {
            return Err(registration.failure(classified()));
        }
        // An object that closes is whole, however the connection ended.
        let is_whole = answer.cut.is_none()
            || (answer.cut != Some(Cut::TooLarge) && answer.body.trim_ascii_end().ends_with(b"}"));
        let unusable = if is_whole {
            match token_answer::understand(&answer.body, sent_at, dialect, declared) {
                Ok(understood) => return Ok(understood),
                Err(unusable) => Some(unusable),
            }
        } else {
            None
        };
        let salvaged = salvage::refresh_token(&answer.body, answer.cut.is_none(), presented, declared);
        let verdict = match (answer.cut, unusable) {
            (Some(cut), _) if matches!(cut, Cut::TooLarge | Cut::Garbled) || salvaged.is_some() => {
                Verdict::new(FailureKind::Unreadable, cut.reason())
            }
            (Some(cut), _) => classify::lost_answer(step, cut.reason()),
            // An operator may know an error by something that no other provider's answer has.
            (None, Some(Unusable::Unreadable(reason))) => errors
                .verdict(&ErrorAnswer::read(answer))
                .filter(|_| salvaged.is_none())
                .unwrap_or_else(|| Verdict::new(FailureKind::Unreadable, reason)),
            (None, Some(Unusable::SaysError) | None) => classified(),
        };
        let mut failure = registration.failure(verdict);
        failure.salvaged = salvaged;
        Err(failure)
    }
}

/// A failure after the exchange: the code is gone, so nothing here is harmless to do again; and our registration was just
/// accepted, so a refusal is about this account and must not stop the others.
fn spent(verdict: Verdict) -> Verdict {
    match verdict.kind {
        FailureKind::Passing => Verdict {
            kind: FailureKind::OutcomeUnknown,
            ..verdict
        },
        FailureKind::Operator => Verdict {
            kind: FailureKind::Refused,
            ..verdict
        },
        _ => verdict,
    }
}
