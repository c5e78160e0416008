//! The provider simulator: Google, YouTube, Microsoft, Notion and a strict OpenID provider on one loopback listener,
//! each in its own dialect. `dev` runs on it, and the tests judge the service by it over real sockets: it records every
//! request, refuses what the real provider would refuse, and goes wrong on demand.
//!
//! It stands alone. It shares no code with the service's provider engine, so that the two are independent readings of
//! what the providers do, and a mistake in one shows against the other.
//!
//! ```text
//! server      sockets             turn        one request from arrival to answer
//! routes      path -> dialect     fault/gate  what goes wrong, and when
//! google, microsoft, notion, oidc the dialects;  authorize + consent_page  what they share in front of people
//! world       state: ledger (codes, grants, tokens), recorder, fault plan; one lock, never held across an await
//! archive     the ledger on disk, if it is to outlive the simulator
//! control     /_sim: the same controls over HTTP
//! ```

mod account;
mod answer;
mod archive;
mod authorize;
mod client_auth;
mod clock;
mod config;
mod consent_page;
mod control;
mod fault;
mod gate;
mod google;
mod google_errors;
mod id_token;
mod keys;
mod ledger;
mod microsoft;
mod microsoft_errors;
mod microsoft_scopes;
mod mischief;
mod notion;
mod oidc;
mod pkce;
mod probes;
mod provider;
mod random;
mod recorder;
mod request;
mod routes;
mod security_event;
mod server;
mod turn;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

pub use self::account::Account;
pub use self::config::{Client, Consent, RedirectUris, Rotation, Settings, SimulatorConfig};
pub use self::fault::{Fault, FaultRule, ScopeStyle};
pub use self::gate::Gate;
pub use self::id_token::IdTokenFlaw;
pub use self::provider::{Endpoint, Provider};
pub use self::recorder::{Outcome, RecordedRequest};
pub use self::request::Pairs;
pub use self::security_event::SecurityEvent;

use self::archive::Archive;
use self::turn::Shared;
use self::world::World;

/// A running simulator. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    tracker: TaskTracker,
    url: Url,
}

impl Simulator {
    /// Serves on `listener` until [`Self::stop`].
    ///
    /// # Errors
    ///
    /// When the listener has no address, or that makes no URL; when what an earlier run left cannot be read.
    pub fn start(listener: TcpListener, config: SimulatorConfig) -> io::Result<Self> {
        let url = match config.public_url.clone() {
            Some(url) => url,
            None => Url::parse(&format!("http://{}", listener.local_addr()?)).map_err(io::Error::other)?,
        };
        let base = url.as_str().trim_end_matches('/').to_owned();
        let keys = self::keys::Keys::load()?;
        let archive = config.kept_in.clone().map(Archive::at);
        let mut world = World::new(config);
        if let Some(restored) = archive.as_ref().map(Archive::read).transpose()?.flatten() {
            world.restore(restored);
        }
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared::new(base, keys, stop, world, archive));
        let tracker = TaskTracker::new();
        tracker.spawn(server::accept(listener, Arc::clone(&shared), tracker.clone()));
        Ok(Self { shared, tracker, url })
    }

    /// Closes listener and connections, those that hang or wait at a gate included, and waits until they are gone.
    pub async fn stop(self) {
        self.shared.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Where `provider` lives, without a slash at the end: `http://127.0.0.1:8003/google`.
    pub fn provider_url(&self, provider: Provider) -> String {
        format!("{}/{}", self.shared.base, provider.key())
    }
}

// === what the providers know ===

impl Simulator {
    /// Id and secret of the first application registered at `provider`.
    pub fn client(&self, provider: Provider) -> (String, String) {
        let world = self.shared.world();
        world
            .first_client(provider)
            .map(|client| (client.client_id.clone(), client.client_secret.clone()))
            .unwrap_or_default()
    }

    /// The account that a key (`ada`), subject or e-mail means.
    pub fn account(&self, provider: Provider, hint: &str) -> Account {
        (*self.shared.world().account(provider, Some(hint))).clone()
    }

    pub fn accounts(&self, provider: Provider) -> Vec<Account> {
        self.shared
            .world()
            .accounts(provider)
            .iter()
            .map(|account| (**account).clone())
            .collect()
    }

    /// The user removes the application at the provider (everybody does, without an account). Tells how many grants
    /// that ended.
    pub fn revoke(&self, provider: Provider, account: Option<&str>) -> usize {
        self.shared.world().ledger.kill_grants_of(provider, account)
    }

    /// All access tokens at `provider` end now; refresh tokens stay.
    pub fn expire_access_tokens(&self, provider: Provider) {
        let now = self.shared.clock.now();
        self.shared.world().ledger.expire_access_tokens(provider, now);
    }

    /// Does the provider's API still take this access token?
    pub fn access_token_is_live(&self, access_token: &str) -> bool {
        let now = self.shared.clock.now();
        self.shared
            .world()
            .ledger
            .live_access_token(access_token, now)
            .is_some()
    }

    /// Would the provider still take this refresh token?
    pub fn refresh_token_is_live(&self, refresh_token: &str) -> bool {
        let now = self.shared.clock.now();
        let world = self.shared.world();
        world.ledger.refresh_token(refresh_token).is_some()
            && world.ledger.grant_of_token(refresh_token, now).is_some()
    }

    /// Whose refresh token this is, by subject; spent ones and those of dead grants included.
    pub fn subject_of_refresh_token(&self, refresh_token: &str) -> Option<String> {
        let world = self.shared.world();
        let grant = world.ledger.refresh_token(refresh_token)?.grant;
        world
            .ledger
            .grant(grant)
            .map(|grant| grant.account.subject.clone())
    }

    /// Whose access token this is, by subject, and when it ends (in milliseconds since the epoch, if ever), unless the
    /// provider has forgotten it or its grant is dead.
    pub fn access_token_of(&self, access_token: &str) -> Option<(String, Option<i64>)> {
        let world = self.shared.world();
        let (token, grant) = world.ledger.live_access_token(access_token, i64::MIN)?;
        Some((grant.account.subject.clone(), token.expires_at))
    }

    /// Changes settings: `simulator.configure(|settings| settings.consent = Consent::Auto)`.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.world().settings);
    }

    /// The operator's secret is replaced at the provider.
    pub fn set_client_secret(&self, provider: Provider, secret: &str) {
        self.shared.world().set_client_secret(provider, secret);
    }

    /// ID tokens are signed by the other key from now on; both are published.
    pub fn rotate_signing_key(&self) {
        self.shared.world().rotation.rotate();
    }

    /// A signed security event token about this account, as Google would push it.
    pub fn security_event_token(&self, event: &SecurityEvent, account: &Account) -> String {
        let world = self.shared.world();
        let audience = world
            .first_client(Provider::Google)
            .map(|client| client.client_id.clone());
        let rotation = world.rotation;
        drop(world);
        let claims = event.claims(
            &google::issuer(&self.shared.base),
            &audience.unwrap_or_default(),
            &account.subject,
            self.shared.clock.now(),
        );
        self.shared.keys.sign_event(rotation, &claims)
    }

    /// Pushes the simulator's clock forward.
    pub fn advance(&self, by: Duration) {
        self.shared.clock.advance(by);
    }
}

// === what goes wrong ===

impl Simulator {
    /// The next `times` requests to the endpoint meet this fault; 0 stands for all to come.
    pub fn inject(&self, provider: Provider, endpoint: Endpoint, fault: Fault, times: u32) {
        self.inject_rule(FaultRule {
            provider,
            endpoint,
            fault,
            times,
            only_if_sent: None,
            only_for_account: None,
        });
    }

    /// The next request to the endpoint that presents something of this account meets this fault; everybody else is served.
    pub fn inject_for(&self, provider: Provider, endpoint: Endpoint, account: &str, fault: Fault) {
        self.inject_rule(FaultRule {
            provider,
            endpoint,
            fault,
            times: 1,
            only_if_sent: None,
            only_for_account: Some(account.to_owned()),
        });
    }

    pub fn inject_rule(&self, rule: FaultRule) {
        self.shared.world().faults.add(rule);
    }

    /// The next request waits at the gate before anything is done.
    pub fn gate(&self, provider: Provider, endpoint: Endpoint) -> Gate {
        let gate = Gate::new();
        self.inject(provider, endpoint, Fault::Gate(gate.clone()), 1);
        gate
    }

    /// The next request waits at the gate when everything is done but the answer.
    pub fn gate_answer(&self, provider: Provider, endpoint: Endpoint) -> Gate {
        let gate = Gate::new();
        self.inject(provider, endpoint, Fault::GateAnswer(gate.clone()), 1);
        gate
    }

    pub fn clear_faults(&self) {
        self.shared.world().faults.clear();
    }

    /// Faults that have not hit anything yet.
    pub fn pending_faults(&self) -> usize {
        self.shared.world().faults.pending().len()
    }
}

// === what was asked ===

impl Simulator {
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.shared.world().recorder.iter().cloned().collect()
    }

    /// Requests to one endpoint; `Endpoint::Token` covers exchanges and refreshes.
    pub fn requests_to(&self, provider: Provider, endpoint: Endpoint) -> Vec<RecordedRequest> {
        let world = self.shared.world();
        let fits = |one: &&RecordedRequest| one.provider == provider && endpoint.covers(one.endpoint);
        world.recorder.iter().filter(fits).cloned().collect()
    }

    /// Requests to the token endpoint with this `grant_type`.
    pub fn token_requests(&self, provider: Provider, grant_type: &str) -> Vec<RecordedRequest> {
        let mut requests = self.requests_to(provider, Endpoint::Token);
        requests.retain(|request| request.grant_type() == Some(grant_type));
        requests
    }

    /// Requests the simulator refused of its own accord: none, for a client without mistakes.
    pub fn refusals(&self) -> Vec<RecordedRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.refusal.is_some() && request.faults.is_empty());
        requests
    }

    pub fn forget_requests(&self) {
        self.shared.world().recorder.clear();
    }

    /// Waits until `count` requests to the endpoint have been answered (or dropped), those of the past included.
    pub async fn answered(&self, provider: Provider, endpoint: Endpoint, count: usize) {
        let fits = |one: &&RecordedRequest| {
            one.provider == provider && endpoint.covers(one.endpoint) && one.outcome.is_some()
        };
        self.until(|requests| requests.iter().filter(fits).count() >= count)
            .await;
    }

    /// Waits until the record is as `reached` wants it.
    pub async fn until(&self, reached: impl Fn(&[RecordedRequest]) -> bool) {
        let mut changes = self.shared.changes.subscribe();
        while !reached(self.shared.world().recorder.as_slice()) {
            // The sender lives in `self`: this cannot fail.
            let _ = changes.changed().await;
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}
