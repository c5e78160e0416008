//! A provider that follows a script and keeps strict books: which refresh token was presented, when, how often, and what
//! presenting it twice does to the grant at a provider of its class.

mod books;
mod script;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use url::Url;

use self::books::Books;
pub use self::script::{Call, Outcome};
use super::{clock::TestClock, gate::Gate};
use crate::{
    domain::{
        Timestamp,
        account::Account,
        ids::ProviderKey,
        provider::Provider,
        reason::ReasonCode,
        scope::ScopeSet,
        secret::{AccessToken, AuthorizationCode},
        token::TokenAnswer,
    },
    ports::{
        clock::Clock as _,
        oauth::{
            AuthorizationUrlRequest, CallbackIssuer, ExchangeRequest, Exchanged, FailureKind, OAuth,
            ProviderFailure, RefreshRequest, RevocationRequest, Revoked,
        },
    },
};

/// Providers under one roof. Clones are the same providers.
#[derive(Debug, Clone)]
pub struct ScriptedProvider {
    clock: TestClock,
    providers: Vec<Arc<Provider>>,
    books: Arc<Mutex<HashMap<ProviderKey, Books>>>,
}

impl ScriptedProvider {
    /// Providers of these declarations.
    pub fn new(clock: TestClock, providers: Vec<Provider>) -> Self {
        let books = providers
            .iter()
            .map(|provider| (provider.key.clone(), Books::new(provider.refresh_class)))
            .collect();
        let providers = providers.into_iter().map(Arc::new).collect();
        Self {
            clock,
            providers,
            books: Arc::new(Mutex::new(books)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ProviderKey, Books>> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Panics
    /// If there is no such provider.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    fn at<T>(&self, key: &str, look: impl FnOnce(&mut Books) -> T) -> T {
        let key: ProviderKey = key.parse().expect("a provider key");
        look(self.lock().get_mut(&key).expect("a provider of this universe"))
    }

    /// Counts the call, waits at a gate if one is set, and says what the script has for it.
    async fn enter(&self, key: &ProviderKey, call: Call) -> Result<Outcome, ProviderFailure> {
        let gate = self.at(key.as_str(), |books| books.script.enter(call));
        tokio::task::yield_now().await;
        if let Some(gate) = gate {
            gate.pass().await;
        }
        let outcome = self.at(key.as_str(), |books| books.script.outcome(call));
        match outcome.failure(key) {
            Some(failure) => Err(failure),
            None => Ok(outcome),
        }
    }
}

// === the script ===

impl ScriptedProvider {
    /// What the next call of this kind comes to; after it, the one after, and so on in the order given.
    pub fn next(&self, provider: &str, call: Call, outcome: Outcome) {
        self.at(provider, |books| books.script.next(call, outcome));
    }

    /// What every call of this kind comes to for which nothing else is scripted.
    pub fn always(&self, provider: &str, call: Call, outcome: Outcome) {
        self.at(provider, |books| books.script.always(call, outcome));
    }

    /// What was scripted for calls that were not made is for nobody.
    pub fn forget(&self, provider: &str, call: Call) {
        self.at(provider, |books| books.script.forget(call));
    }

    /// The next call of this kind waits at the gate, having arrived and not yet been answered.
    pub fn hold(&self, provider: &str, call: Call) -> Gate {
        let gate = Gate::new();
        self.at(provider, |books| books.script.hold(call, gate.clone()));
        gate
    }

    /// How long access tokens live from now on; `None`: it does not say.
    pub fn set_token_life(&self, provider: &str, life: Option<Duration>) {
        self.at(provider, |books| books.token_life = life);
    }

    /// How long refresh tokens live from now on, and whether each refresh gives them a new life; `None`: it does not say.
    pub fn set_refresh_token_life(&self, provider: &str, life: Option<(Duration, bool)>) {
        self.at(provider, |books| books.refresh_token_life = life);
    }

    /// What users grant from now on, whatever is asked; `None`: everything.
    pub fn set_granted(&self, provider: &str, granted: Option<ScopeSet>) {
        self.at(provider, |books| books.granted = granted);
    }

    /// What `iss` of a callback must be.
    pub fn set_issuer(&self, provider: &str, issuer: Option<CallbackIssuer>) {
        self.at(provider, |books| books.issuer = issuer);
    }

    /// Whether exchanges give a refresh token.
    pub fn set_gives_refresh_token(&self, provider: &str, gives: bool) {
        self.at(provider, |books| books.gives_refresh_token = gives);
    }
}

// === the user ===

impl ScriptedProvider {
    /// The user of this account agrees on the page at `location`: the code the browser brings back.
    ///
    /// # Panics
    /// If nobody was sent to that page.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub fn consent(&self, provider: &str, location: &Url, account: &str) -> AuthorizationCode {
        let state = location
            .query_pairs()
            .find(|(name, _)| name == "state")
            .expect("a state")
            .1
            .into_owned();
        AuthorizationCode::new(self.at(provider, |books| books.consent(&state, account)))
    }

    /// The user takes it back on the provider's own page.
    pub fn withdraw(&self, provider: &str, account: &str) {
        self.at(provider, |books| books.withdraw(account));
    }
}

// === the books ===

impl ScriptedProvider {
    /// How many calls of this kind arrived.
    pub fn calls(&self, provider: &str, call: Call) -> usize {
        self.at(provider, |books| books.script.calls(call))
    }

    /// Refresh tokens presented again after they were spent: at a provider of class `safe` never an offence.
    pub fn offences(&self, provider: &str) -> Vec<String> {
        self.at(provider, |books| books.offences.clone())
    }

    /// The most often any one refresh token was presented.
    pub fn presentations_max(&self, provider: &str) -> usize {
        self.at(provider, |books| books.presentations_max())
    }

    /// Whether its API would accept this token now.
    pub fn accepts(&self, provider: &str, token: &AccessToken) -> bool {
        let now = self.clock.now();
        self.at(provider, |books| books.accepts(token.expose(), now))
    }
}

// === the books, by token ===

impl ScriptedProvider {
    /// Whose access token this is, and when it really ends; `None`: the provider never gave it.
    pub fn known(&self, provider: &str, token: &AccessToken) -> Option<(String, Option<Timestamp>)> {
        self.at(provider, |books| books.known(token.expose()))
    }

    /// Whether the grant of this refresh token lives.
    pub fn lives(&self, provider: &str, refresh_token: &str) -> bool {
        self.at(provider, |books| books.lives(refresh_token))
    }

    /// Whether the grant of this refresh token was ended by its user on the provider's own page.
    pub fn withdrawn(&self, provider: &str, refresh_token: &str) -> bool {
        self.at(provider, |books| books.withdrawn(refresh_token))
    }
}

#[async_trait]
impl OAuth for ScriptedProvider {
    fn providers(&self) -> &[Arc<Provider>] {
        &self.providers
    }

    async fn callback_issuer(
        &self,
        provider: &ProviderKey,
    ) -> Result<Option<CallbackIssuer>, ProviderFailure> {
        Ok(self.at(provider.as_str(), |books| books.issuer.clone()))
    }

    async fn authorization_url(
        &self,
        provider: &ProviderKey,
        request: AuthorizationUrlRequest,
    ) -> Result<Url, ProviderFailure> {
        self.enter(provider, Call::AuthorizationUrl).await?;
        let mut url = request.redirect_uri.clone();
        url.set_path("/authorize");
        url.query_pairs_mut().append_pair("state", request.state.expose());
        self.at(provider.as_str(), |books| books.depart(request));
        Ok(url)
    }

    async fn exchange(
        &self,
        provider: &ProviderKey,
        request: ExchangeRequest,
    ) -> Result<Exchanged, ProviderFailure> {
        let outcome = self.enter(provider, Call::Exchange).await?;
        let now = self.clock.now();
        let exchanged = self.at(provider.as_str(), |books| books.exchange(&request, now));
        match exchanged {
            Some((answer, account)) => Ok(Exchanged {
                answer: outcome.answer(provider, answer)?,
                account: Account {
                    id: account,
                    issuer: None,
                    name: None,
                    email: None,
                },
                metadata: serde_json::Value::Null,
            }),
            None => Err(dead(provider)),
        }
    }

    async fn refresh(
        &self,
        provider: &ProviderKey,
        request: RefreshRequest,
    ) -> Result<TokenAnswer, ProviderFailure> {
        let outcome = self.enter(provider, Call::Refresh).await?;
        let now = self.clock.now();
        let answer = self.at(provider.as_str(), |books| {
            books.refresh(request.refresh_token.expose(), now)
        });
        outcome.answer(provider, answer.ok_or_else(|| dead(provider))?)
    }

    async fn revoke(
        &self,
        provider: &ProviderKey,
        request: RevocationRequest,
    ) -> Result<Revoked, ProviderFailure> {
        self.enter(provider, Call::Revoke).await?;
        let token = request.refresh_token.as_ref().map_or("", |token| token.expose());
        self.at(provider.as_str(), |books| {
            books.revoke(token, request.access_token.expose());
        });
        Ok(Revoked::Confirmed)
    }
}

fn dead(provider: &ProviderKey) -> ProviderFailure {
    ProviderFailure::new(
        provider.clone(),
        FailureKind::DeadGrant,
        ReasonCode::new("invalid_grant"),
    )
}
