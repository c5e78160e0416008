//! A node's way out to the providers: what becomes of its calls.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use url::Url;

use super::{
    checker::{Answer, Heard},
    history::Account,
    land::{Land, Sky},
    post::{Post, ms},
    swarm::Call,
};
use crate::{
    domain::{ids::ProviderKey, provider::Provider, reason::ReasonCode, token::TokenAnswer},
    ports::{
        clock::Clock as _,
        oauth::{
            AuthorizationUrlRequest, CallbackIssuer, ExchangeRequest, Exchanged, FailureKind, OAuth,
            ProviderFailure, RefreshRequest, RevocationRequest, Revoked,
        },
    },
    shared::{after, until},
    testing::universe::SAFE,
};

/// When the provider engine gives up on a call, but for what the provider's class asks for: less than half the lease.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// A refusal that no table knows.
pub(super) const ODD: &str = "odd_error";
/// A refusal that only the user can lift.
pub(super) const WANTS_USER: &str = "interaction_required";

fn failure(provider: &ProviderKey, kind: FailureKind, reason: &str) -> ProviderFailure {
    ProviderFailure::new(provider.clone(), kind, ReasonCode::new(reason))
}

impl Post {
    fn deadline(&self, provider: &ProviderKey) -> Duration {
        let declared = self.land.provider.providers().iter();
        let class = declared
            .filter(|one| one.key == *provider)
            .map(|one| one.refresh_class);
        class
            .map(|class| class.deadline(CALL_DEADLINE))
            .next()
            .unwrap_or(CALL_DEADLINE)
    }

    fn fate(&self, sky: Sky) -> Call {
        match sky {
            _ if !self.land.chaos() => Call::Answered,
            Sky::Down => *self.dice.pick(&[Call::Vanished, Call::Busy]),
            Sky::Clear | Sky::Throttling(_) | Sky::ClientRefused => {
                self.dice.weighted(&self.land.swarm.calls)
            }
        }
    }

    /// Presents the token and brings back whatever of the answer reaches this node.
    async fn present(
        &self,
        provider: &ProviderKey,
        account: Account,
        request: RefreshRequest,
        fate: Call,
    ) -> Result<TokenAnswer, ProviderFailure> {
        let (sent_at, token) = (self.now(), request.refresh_token.expose().to_owned());
        self.travel(self.dice.between(ms(1), ms(100))).await;
        let arrived_at = self.land.now();
        self.step();
        self.land
            .checker()
            .presented((self.place, self.index), account, &token, arrived_at);
        let answer = self.land.provider.refresh(provider, request).await;
        let verdict = if answer.is_ok() { "accepts" } else { "refuses" };
        self.provider(account, format!("{verdict} {token}, answer {fate:?}"));
        let lost = answer.is_ok() && matches!(fate, Call::AnswerLost | Call::AnswerGarbled);
        let pause = match fate {
            Call::AnswerLost => self.dice.between(ms(10), self.deadline(provider) - ms(200)),
            Call::Slow => self.deadline(provider) - ms(200),
            _ => self.dice.between(ms(1), ms(500)),
        };
        tokio::time::sleep(pause).await;
        if !lost {
            // Where the sender died, the answer was on its way to nobody; where it stands still, it waits.
            self.pulse.beat().await;
        }
        let fared = match &answer {
            Err(_) => Answer::Refusal,
            Ok(_) if lost => Answer::Lost(self.land.now()),
            Ok(_) if fate == Call::AnswerOfAnother => Answer::Useless,
            Ok(_) => Answer::Reached,
        };
        self.land.checker().answered(self.index, account, &token, fared);
        self.pulse.beat().await;
        let mut answer = answer?;
        // Counted from before the request was sent, by the clock there is.
        answer.expires_at = answer
            .expires_at
            .map(|end| after(sent_at, until(arrived_at, end)));
        match fate {
            Call::AnswerLost => Err(failure(provider, FailureKind::OutcomeUnknown, "timeout")),
            Call::AnswerGarbled => Err(failure(provider, FailureKind::OutcomeUnknown, "http_500")),
            // As the provider engine says it: a token that rotates is spent by now.
            Call::AnswerOfAnother if provider.as_str() == SAFE => {
                Err(failure(provider, FailureKind::Refused, "account_mismatch"))
            }
            Call::AnswerOfAnother => Err(failure(provider, FailureKind::Unreadable, "account_mismatch")),
            Call::AnswerSalvaged if answer.refresh_token.is_some() => Err(ProviderFailure {
                salvaged: answer.refresh_token,
                ..failure(provider, FailureKind::Unreadable, "no_access_token")
            }),
            _ => Ok(answer),
        }
    }

    /// The effect that calls has a defect. (Unwinds without a word: thousands of these would fill the output.)
    fn defect(&self, account: Account) {
        self.provider(account, "a defect in the call".into());
        self.land.checker().defect(self.index);
        std::panic::resume_unwind(Box::new("a simulated defect"));
    }

    /// A refusal without anything being done.
    async fn refusal(&self, provider: &ProviderKey, sky: Sky, fate: Call) -> Option<ProviderFailure> {
        let refused = match (sky, fate) {
            (Sky::ClientRefused, _) => failure(provider, FailureKind::Operator, "invalid_client"),
            (Sky::Throttling(wait), _) => ProviderFailure {
                retry_after: Some(wait),
                ..failure(provider, FailureKind::Passing, "rate_limited")
            },
            (_, Call::Busy) => failure(provider, FailureKind::Passing, "temporarily_unavailable"),
            (_, Call::Throttled) => ProviderFailure {
                retry_after: Some(self.dice.between(ms(1_000), ms(60_000))),
                ..failure(provider, FailureKind::Passing, "rate_limited")
            },
            (_, Call::AccountThrottled) => ProviderFailure {
                retry_after: Some(self.dice.between(ms(1_000), ms(60_000))),
                ..failure(provider, FailureKind::AccountThrottled, "rate_limited")
            },
            (_, Call::RefusedOddly) => failure(provider, FailureKind::Refused, ODD),
            (_, Call::WantsUser) => failure(provider, FailureKind::Interaction, WANTS_USER),
            (_, Call::Vanished) => {
                let pause = *self.dice.pick(&[ms(3), ms(300), self.deadline(provider)]);
                tokio::time::sleep(pause).await;
                failure(provider, FailureKind::OutcomeUnknown, "timeout")
            }
            _ => return None,
        };
        tokio::time::sleep(self.dice.between(ms(1), ms(200))).await;
        self.pulse.beat().await;
        Some(refused)
    }

    fn told(&self, account: Account, refused: Option<&ProviderFailure>) {
        let now = self.land.now();
        let heard = match refused {
            None => Heard::Answer,
            Some(failure) => match (failure.kind, failure.retry_after) {
                (FailureKind::Operator, _) => Heard::ClientRefused,
                (FailureKind::Passing, Some(wait)) => Heard::LeaveMeAlone(after(now, wait)),
                (FailureKind::Passing | FailureKind::OutcomeUnknown, _) => Heard::Trouble,
                (FailureKind::Refused, _) => Heard::Odd,
                (FailureKind::Interaction, _) => Heard::WantsUser,
                _ => Heard::Answer,
            },
        };
        self.land.checker().heard(self.index, account, heard, now);
    }
}

#[async_trait]
impl OAuth for Post {
    fn providers(&self) -> &[Arc<Provider>] {
        self.land.provider.providers()
    }

    async fn callback_issuer(
        &self,
        provider: &ProviderKey,
    ) -> Result<Option<CallbackIssuer>, ProviderFailure> {
        self.land.provider.callback_issuer(provider).await
    }

    async fn authorization_url(
        &self,
        provider: &ProviderKey,
        request: AuthorizationUrlRequest,
    ) -> Result<Url, ProviderFailure> {
        self.pulse.beat().await;
        self.land.provider.authorization_url(provider, request).await
    }

    async fn exchange(
        &self,
        provider: &ProviderKey,
        request: ExchangeRequest,
    ) -> Result<Exchanged, ProviderFailure> {
        self.pulse.beat().await;
        let (sent_at, arrived_at) = (self.now(), self.land.now());
        let mut exchanged = self.land.provider.exchange(provider, request).await?;
        let end = exchanged.answer.expires_at;
        exchanged.answer.expires_at = end.map(|end| after(sent_at, until(arrived_at, end)));
        // Whoever gets a code exchanged has been answered, and may have been the probe.
        self.told(Land::account(provider.as_str(), &exchanged.account.id), None);
        self.pulse.beat().await;
        Ok(exchanged)
    }

    async fn refresh(
        &self,
        provider: &ProviderKey,
        request: RefreshRequest,
    ) -> Result<TokenAnswer, ProviderFailure> {
        self.pulse.beat().await;
        let account = Land::account(provider.as_str(), &request.account.id);
        let (token, now) = (request.refresh_token.expose().to_owned(), self.land.now());
        self.land
            .checker()
            .call_begins(self.index, self.id, account, Some(&token), now);
        let sky = self.land.sky(provider.as_str());
        let fate = self.fate(sky);
        if fate == Call::Defect {
            self.defect(account);
        }
        if let Some(refused) = self.refusal(provider, sky, fate).await {
            self.provider(account, format!("{token}: {}", refused.reason));
            self.told(account, Some(&refused));
            return Err(refused);
        }
        let result = self.present(provider, account, request, fate).await;
        self.told(account, None);
        result
    }

    async fn revoke(
        &self,
        provider: &ProviderKey,
        request: RevocationRequest,
    ) -> Result<Revoked, ProviderFailure> {
        self.pulse.beat().await;
        let sky = self.land.sky(provider.as_str());
        let fate = self.fate(sky);
        let known = self.land.provider.known(provider.as_str(), &request.access_token);
        let account = Land::account(
            provider.as_str(),
            &known.map(|(name, _)| name).unwrap_or_default(),
        );
        let now = self.land.now();
        self.land
            .checker()
            .call_begins(self.index, self.id, account, None, now);
        if let Some(refused) = self.refusal(provider, sky, fate).await {
            self.told(account, Some(&refused));
            return Err(refused);
        }
        self.travel(self.dice.between(ms(1), ms(100))).await;
        let revoked = self.land.provider.revoke(provider, request).await;
        self.provider(account, "revoked".into());
        self.pulse.beat().await;
        self.told(account, None);
        match fate {
            Call::AnswerLost | Call::AnswerGarbled => {
                Err(failure(provider, FailureKind::OutcomeUnknown, "timeout"))
            }
            _ => revoked,
        }
    }
}
