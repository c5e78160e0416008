//! One node's ports: its line to the database, its way out to the providers, its clock. What happens on the way is
//! thrown here.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use jiff::SignedDuration;
use tokio::sync::Notify;
use url::Url;

use super::{
    checker::Answer,
    dice::Dice,
    history::{Account, Event},
    land::{Land, Sky},
    pulse::{Life, Pulse},
    swarm::Call,
};
use crate::{
    domain::{
        Timestamp,
        ids::{NodeId, ProviderKey},
        provider::Provider,
        reason::ReasonCode,
        token::TokenAnswer,
    },
    ports::{
        clock::Clock,
        oauth::{
            AuthorizationUrlRequest, CallbackIssuer, ExchangeRequest, Exchanged, FailureKind, OAuth,
            ProviderFailure, RefreshRequest, RevocationRequest, Revoked,
        },
        store::{StoreError, StoreResult},
    },
    shared::{after, until},
    testing::store::{Line, Op, Passage},
};

/// When the database adapter gives up on a statement.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(3);
/// When the provider engine gives up on a call, but for what the provider's class asks for: less than half the lease.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The ports of one run of the program.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) me: Weak<Self>,
    pub(super) land: Arc<Land>,
    /// Where it runs: later runs there find its disk.
    pub(super) place: usize,
    pub(super) index: usize,
    pub(super) id: NodeId,
    pub(super) pulse: Pulse,
    /// Cut off from the database, alone.
    pub(super) cut: AtomicBool,
    /// Hears no notifications.
    pub(super) deaf: AtomicBool,
    /// Whether it hears, or reaches the database, has changed.
    pub(super) changed: Notify,
    /// It was killed.
    pub(super) killed: Notify,
    pub(super) skew: SignedDuration,
    pub(super) dice: Dice,
}

impl Clock for Post {
    fn now(&self) -> Timestamp {
        self.land.now().checked_add(self.skew).unwrap_or(Timestamp::MAX)
    }
}

impl Post {
    pub(super) fn tell(&self, what: &'static str) {
        self.land.tell(Event::Node(self.index, what));
    }

    fn provider(&self, account: Account, what: String) {
        self.land.tell(Event::Provider(self.index, account, what));
    }

    /// What was sent is on its way. Its sender may die meanwhile: then it arrives, or not.
    async fn travel(&self, pause: Duration) {
        if pause.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(pause).await;
        }
        if self.pulse.get() == Life::Dead && self.dice.chance(0.5) {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn reaches_database(&self) -> bool {
        !self.cut.load(Ordering::Relaxed) && !self.land.database_away()
    }

    pub(super) fn hears(&self) -> bool {
        self.reaches_database() && !self.deaf.load(Ordering::Relaxed)
    }

    pub(super) fn set_cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
        self.cut_off();
        self.changed.notify_one();
        self.tell(if cut {
            "is cut off from the database"
        } else {
            "reaches the database"
        });
    }

    pub(super) fn set_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
        self.changed.notify_one();
        self.tell(if deaf {
            "hears no notifications"
        } else {
            "hears notifications"
        });
    }

    fn cut_off(&self) {
        self.land.database_trouble();
        let now = self.land.now();
        self.land.checker().node_cut_off(self.place, self.index, now);
    }

    fn hop(&self) -> Duration {
        if self.land.chaos() && self.dice.chance(0.5) {
            self.dice.between(ms(1), ms(20))
        } else {
            Duration::ZERO
        }
    }
}

// === the database ===

fn is_of_the_protocol(op: Op) -> bool {
    matches!(
        op,
        Op::Claim
            | Op::CommitRefresh
            | Op::CommitFailure
            | Op::ReplayRefresh
            | Op::Revoke
            | Op::CommitConnect
    )
}

#[async_trait]
impl Line for Post {
    async fn request(&self, op: Op) -> Passage {
        self.pulse.beat().await;
        if is_of_the_protocol(op) {
            self.step();
            self.pulse.beat().await;
        }
        if !self.reaches_database() {
            self.cut_off();
            let refused = self.dice.chance(0.5);
            tokio::time::sleep(if refused { ms(5) } else { STATEMENT_DEADLINE }).await;
            self.cut_off();
            self.pulse.beat().await;
            return Passage::Fails;
        }
        let statements = self.land.swarm.statements;
        let mut pause = self.hop();
        if self.land.chaos() {
            if self.dice.chance(statements.fails) {
                self.travel(pause).await;
                self.pulse.beat().await;
                return Passage::Fails;
            }
            if self.dice.chance(statements.late) {
                tokio::time::sleep(STATEMENT_DEADLINE).await;
                self.pulse.beat().await;
                return Passage::Late(self.dice.between(ms(1), ms(5_000)));
            }
            if self.dice.chance(statements.slow) {
                pause = self.dice.between(ms(500), STATEMENT_DEADLINE - ms(100));
            }
        }
        self.travel(pause).await;
        Passage::Arrives
    }

    fn done(&self, op: Op) {
        self.land.observe(op);
    }

    async fn answer(&self, op: Op) -> StoreResult<()> {
        if is_of_the_protocol(op) {
            self.step();
        }
        let pause = self.hop();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.pulse.beat().await;
        let torn = self.land.chaos() && self.dice.chance(self.land.swarm.statements.torn);
        if torn || !self.reaches_database() {
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        Ok(())
    }
}

// === the providers ===

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
            Call::AnswerSalvaged if answer.refresh_token.is_some() => Err(ProviderFailure {
                salvaged: answer.refresh_token,
                ..failure(provider, FailureKind::Unreadable, "no_access_token")
            }),
            _ => Ok(answer),
        }
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
        let client_refused = refused.is_some_and(|failure| failure.kind == FailureKind::Operator);
        let now = self.land.now();
        self.land
            .checker()
            .client_refused(self.index, account.provider, client_refused, now);
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
