//! A whole system on fakes: ports, settings, actors, and the steps of a user, a browser and a service.

mod service;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use url::Url;
use uuid::Uuid;

pub use self::service::{token_of, wanted};
use super::{
    clock::TestClock, oauth::ScriptedProvider, provider::provider, rng::SeededRng, spool::MemorySpool,
    store::MemoryStore, vault::TransparentVault,
};
use crate::{
    domain::{
        authorization::{
            AuthorizationRequest, CallbackBrowser, CallbackOutcome, CallbackParams, CallbackResult,
        },
        caller::{Actor, RequestContext},
        ids::{AuthorizationId, IntegrationId, NodeId, Subject},
        integration::IntegrationView,
        provider::{Provider, RefreshClass},
        scope::ScopeSet,
        secret::{AuthorizationCode, BrowserBinding, Confirmation, ConnectHandle, State},
    },
    handle::{OAuthManager, ServiceResult},
    settings::{Ports, Settings},
    system::{Shutdown, Stopped, start},
};

/// The provider of class `safe`.
pub const SAFE: &str = "google";
/// The provider of class `grace`, ten seconds.
pub const GRACE: &str = "grace";
/// The provider of class `single_use`.
pub const SINGLE_USE: &str = "single";

/// The providers of a universe where nothing else is said: one of each class.
pub fn one_of_each_class() -> Vec<Provider> {
    let class = |key, refresh_class| Provider {
        refresh_class,
        ..provider(key)
    };
    vec![
        class(SAFE, RefreshClass::Safe),
        class(
            GRACE,
            RefreshClass::Grace {
                window: Duration::from_secs(10),
            },
        ),
        class(SINGLE_USE, RefreshClass::SingleUse),
    ]
}

/// A database, providers, and one running system. Ends with [`end`](Self::end).
#[derive(Debug)]
pub struct Universe {
    /// Time.
    pub clock: TestClock,
    /// The database.
    pub store: MemoryStore,
    /// The providers.
    pub provider: ScriptedProvider,
    /// The vault.
    pub vault: Arc<TransparentVault>,
    /// The disk of this node.
    pub spool: MemorySpool,
    /// The system's façade.
    pub manager: OAuthManager,
    shutdown: Shutdown,
    nodes: AtomicU64,
}

/// Another system on the same database and providers.
#[derive(Debug)]
pub struct Node {
    /// Its disk.
    pub spool: MemorySpool,
    /// The system's façade.
    pub manager: OAuthManager,
    shutdown: Shutdown,
}

impl Node {
    /// Ends it gracefully.
    pub async fn end(self) -> Stopped {
        self.shutdown.graceful().await
    }
}

/// A browser on its way to the provider.
#[derive(Debug, Clone)]
pub struct Departed {
    /// The flow.
    pub authorization_id: AuthorizationId,
    /// At which provider.
    pub provider: String,
    /// The cookie it holds.
    pub browser: BrowserBinding,
    /// Where it is sent.
    pub location: Url,
}

impl Departed {
    /// The state it carries.
    ///
    /// # Panics
    /// If it carries none.
    #[expect(clippy::expect_used, reason = "a test's own mistake")]
    pub fn state(&self) -> State {
        State::new(
            self.location
                .query_pairs()
                .find(|(name, _)| name == "state")
                .expect("a state")
                .1,
        )
    }

    /// What the browser brings back with this code.
    pub fn with_code(&self, code: AuthorizationCode) -> CallbackParams {
        CallbackParams {
            code: Some(code),
            state: Some(self.state()),
            ..CallbackParams::default()
        }
    }

    /// The browser as it comes back: with its cookie, without a session.
    pub fn own_browser(&self) -> CallbackBrowser {
        CallbackBrowser {
            bindings: vec![self.browser.clone()],
            session: None,
        }
    }
}

// === making and ending ===

impl Universe {
    /// One provider of each class, the default settings.
    pub async fn new() -> Self {
        Self::with(one_of_each_class(), |_| {}).await
    }

    /// The default providers, with these settings.
    pub async fn tuned(tune: impl FnOnce(&mut Settings)) -> Self {
        Self::with(one_of_each_class(), tune).await
    }

    /// With these providers and settings.
    pub async fn with(providers: Vec<Provider>, tune: impl FnOnce(&mut Settings)) -> Self {
        let clock = TestClock::new();
        let store = MemoryStore::new(clock);
        let provider = ScriptedProvider::new(clock, providers);
        let vault = Arc::new(TransparentVault::default());
        let spool = MemorySpool::default();
        let node = system(clock, &store, &provider, &vault, &spool, 1, tune).await;
        let nodes = AtomicU64::new(1);
        Self {
            clock,
            store,
            provider,
            vault,
            spool: node.spool,
            manager: node.manager,
            shutdown: node.shutdown,
            nodes,
        }
    }

    /// Another system beside this one.
    pub async fn another_node(&self) -> Node {
        self.node_with_spool(&MemorySpool::default()).await
    }

    /// Another system beside this one, which finds this disk: another run of the node that left it.
    pub async fn node_with_spool(&self, spool: &MemorySpool) -> Node {
        let seed = self.nodes.fetch_add(1, Ordering::Relaxed) + 1;
        system(
            self.clock,
            &self.store,
            &self.provider,
            &self.vault,
            spool,
            seed,
            |_| {},
        )
        .await
    }

    /// Ends when the tree has given up on itself.
    pub async fn failed(&self) {
        self.shutdown.failed().await;
    }

    /// No actor was restarted, and none is in quarantine.
    ///
    /// # Panics
    /// If one was.
    #[expect(clippy::expect_used, reason = "asserts")]
    pub async fn assert_no_actor_failed(&self) {
        for provider in self.manager.providers() {
            let observed = self.manager.observe(&provider.key).await.expect("an observation");
            assert_eq!(
                (observed.restarts, observed.quarantined),
                (0, 0),
                "an actor of {} failed",
                provider.key
            );
        }
    }

    /// Ends gracefully: no actor failed, all in flight ended by itself, every hand-out is written.
    ///
    /// # Panics
    /// If not.
    pub async fn end(self) {
        self.assert_no_actor_failed().await;
        self.end_after_failures().await;
    }

    /// As [`end`](Self::end), after a test that made actors fail.
    ///
    /// # Panics
    /// If something was left in flight or unwritten.
    pub async fn end_after_failures(self) {
        assert_eq!(
            self.stop().await,
            Stopped {
                drained: true,
                audit_written: true
            }
        );
    }

    /// Ends gracefully and tells how it went.
    pub async fn stop(self) -> Stopped {
        self.shutdown.graceful().await
    }
}

#[expect(clippy::expect_used, reason = "a test's own mistake")]
async fn system(
    clock: TestClock,
    store: &MemoryStore,
    provider: &ScriptedProvider,
    vault: &Arc<TransparentVault>,
    spool: &MemorySpool,
    seed: u64,
    tune: impl FnOnce(&mut Settings),
) -> Node {
    let url = "https://oauth.example.com".parse().expect("a URL");
    let mut settings = Settings::new(NodeId(Uuid::now_v7()), url);
    // Tests force one refresh after the other; what bounds that is a test of its own.
    settings.forced_refresh_interval = Duration::ZERO;
    tune(&mut settings);
    let store = Arc::new(store.clone());
    let ports = Ports {
        integrations: store.clone(),
        authorizations: store.clone(),
        records: store.clone(),
        overview: store.clone(),
        clients: store.clone(),
        egress: store.clone(),
        users: store.clone(),
        sessions: store,
        oauth: Arc::new(provider.clone()),
        spool: Arc::new(spool.clone()),
        vault: vault.clone(),
        clock: Arc::new(clock),
        rng: Arc::new(SeededRng::new(seed)),
    };
    let (manager, shutdown) = start(ports, settings).await.expect("the tree starts");
    Node {
        spool: spool.clone(),
        manager,
        shutdown,
    }
}

// === a user and a browser ===

/// A user of this name.
///
/// # Panics
/// If it cannot be one.
#[expect(clippy::expect_used, reason = "a test's own mistake")]
pub fn user(name: &str) -> Subject {
    name.parse().expect("a subject")
}

/// What a user asks for who asks for the provider's default features, with an application to come back to.
///
/// # Panics
/// If there can be no provider of this key.
#[expect(clippy::expect_used, reason = "a test's own mistake")]
pub fn wanting(provider: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        provider: provider.parse().expect("a provider key"),
        features: Vec::new(),
        scopes: ScopeSet::default(),
        return_to: Some("https://app.example.com/done".parse().expect("a URL")),
        integration_id: None,
        login_hint: None,
    }
}

#[expect(
    clippy::expect_used,
    clippy::panic,
    reason = "steps that a test takes for granted"
)]
impl Universe {
    /// Begins a flow and opens its link.
    ///
    /// # Panics
    /// If that is refused.
    pub async fn depart(&self, owner: &str, request: AuthorizationRequest) -> Departed {
        let provider = request.provider.to_string();
        let context = by_user(owner);
        let begun = self
            .manager
            .begin_authorization(user(owner), request, context)
            .await
            .expect("a flow");
        let handle = begun
            .authorization_url
            .path_segments()
            .and_then(|mut path| path.next_back());
        let handle = ConnectHandle::new(handle.expect("a handle"));
        let redirect = self
            .manager
            .open_connect_link(handle, Vec::new(), by_browser())
            .await
            .expect("a link that opens");
        Departed {
            authorization_id: begun.authorization_id,
            provider,
            browser: redirect.browser,
            location: redirect.location,
        }
    }

    /// The browser comes back.
    pub async fn come_back(
        &self,
        departed: &Departed,
        params: CallbackParams,
        browser: CallbackBrowser,
    ) -> ServiceResult<CallbackOutcome> {
        let provider = departed.provider.parse().expect("a provider key");
        self.manager
            .callback(provider, params, browser, by_browser())
            .await
    }

    /// Agrees at the provider as this account and comes back: what the application must confirm with.
    ///
    /// # Panics
    /// If anything else comes of it.
    pub async fn agree(&self, departed: &Departed, account: &str) -> Confirmation {
        let code = self
            .provider
            .consent(&departed.provider, &departed.location, account);
        let outcome = self
            .come_back(departed, departed.with_code(code), departed.own_browser())
            .await;
        match outcome.expect("an outcome").result {
            CallbackResult::ConfirmationRequired(confirmation) => confirmation,
            other => panic!("not a confirmation: {other:?}"),
        }
    }

    /// Goes through a whole flow.
    ///
    /// # Errors
    /// As the confirmation's.
    pub async fn connect_as(
        &self,
        owner: &str,
        request: AuthorizationRequest,
        account: &str,
    ) -> ServiceResult<IntegrationView> {
        let departed = self.depart(owner, request).await;
        let confirmation = self.agree(&departed, account).await;
        let id = departed.authorization_id;
        self.manager
            .confirm_authorization(user(owner), id, confirmation, by_user(owner))
            .await
    }

    /// Connects the user's account of the same name.
    ///
    /// # Panics
    /// If it does not come to that.
    pub async fn connect(&self, owner: &str, provider: &str) -> IntegrationId {
        self.connect_as(owner, wanting(provider), owner)
            .await
            .expect("a connection")
            .id
    }
}

/// A request of this user's.
pub fn by_user(name: &str) -> RequestContext {
    RequestContext {
        actor: Actor::User(user(name)),
        ..RequestContext::system()
    }
}

/// A request of a browser nobody knows.
pub fn by_browser() -> RequestContext {
    RequestContext {
        actor: Actor::Browser,
        ..RequestContext::system()
    }
}
