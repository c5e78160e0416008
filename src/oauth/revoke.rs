//! Ends a grant at its provider, by the provider's rule.

use oauth_manager_actors::ports::oauth::{ProviderFailure, RevocationRequest, Revoked};
use tokio::time::Instant;
use url::Url;

use super::{
    classify::{self, ErrorAnswer, Step, Verdict},
    declaration::RevokeRule,
    engine::Engine,
    registration::Registration,
    settings::ClientAuth,
    transport::Answer,
};

/// What a provider says about a token it no longer knows: the aim is reached.
const GONE: [&str; 3] = ["invalid_token", "token_revoked", "invalid_grant"];

impl Engine {
    pub(super) async fn revoke_grant(
        &self,
        registration: &Registration,
        request: RevocationRequest,
    ) -> Result<Revoked, ProviderFailure> {
        let rule = registration.dialect.facts().revoke;
        if let RevokeRule::Unsupported(_) = rule {
            return Ok(Revoked::Unsupported);
        }
        let deadline = self.deadline();
        let endpoints = self.endpoints(registration, &request.metadata, deadline).await?;
        let Some(url) = endpoints.revocation else {
            return Ok(Revoked::Unsupported);
        };
        let refresh = request
            .refresh_token
            .as_ref()
            .map(|token| ("refresh_token", token.expose()));
        let access = ("access_token", request.access_token.expose());
        let auth = match rule {
            RevokeRule::WholeGrant => None,
            _ => Some(endpoints.client_auth),
        };
        // The first decides, the second is a courtesy; see the rules for which is which.
        let (first, second) = match (rule, refresh) {
            (_, None) => (access, None),
            (RevokeRule::EachToken, Some(refresh)) => (access, Some(refresh)),
            (RevokeRule::WholeGrant, Some(refresh)) => (refresh, None),
            (_, Some(refresh)) => (refresh, Some(access)),
        };
        let sent = self
            .revoke_token(registration, url.clone(), auth, first, deadline)
            .await;
        sent.map_err(|verdict| registration.failure(verdict))?;
        if let Some(second) = second {
            let _ = self.revoke_token(registration, url, auth, second, deadline).await;
        }
        Ok(Revoked::Confirmed)
    }

    async fn revoke_token(
        &self,
        registration: &Registration,
        url: Url,
        auth: Option<ClientAuth>,
        (hint, token): (&str, &str),
        deadline: Instant,
    ) -> Result<(), Verdict> {
        let mut parameters = vec![("token", token)];
        if registration.dialect.facts().revoke == RevokeRule::Rfc7009 {
            parameters.push(("token_type_hint", hint));
        }
        let sent = self
            .post_authenticated(registration, url, auth, parameters, deadline)
            .await;
        let answer = sent.map_err(|failure| classify::no_answer(Step::Repeatable, failure))?;
        if answer.status.is_success() || is_gone(&answer) {
            return Ok(());
        }
        Err(classify::token_endpoint(
            &registration.settings.errors,
            registration.dialect.as_ref(),
            Step::Repeatable,
            &answer,
            self.clock.now(),
        ))
    }
}

/// Whether the provider no longer knows the token.
pub(super) fn is_gone(answer: &Answer) -> bool {
    let code = || ErrorAnswer::read(answer).code;
    answer.status == 400 && code().is_some_and(|code| GONE.contains(&code.as_str()))
}
