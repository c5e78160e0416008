//! What the operator may set about the actors, with the defaults of the design.

use std::{sync::Arc, time::Duration};

use url::Url;

use crate::{
    domain::ids::NodeId,
    ports::{
        clock::Clock,
        oauth::OAuth,
        rng::Rng,
        spool::Spool,
        store::{
            AuthorizationStore, ClientStore, EgressStore, IntegrationStore, OverviewStore, RecordStore,
            SessionStore, UserStore,
        },
        vault::Vault,
    },
};

/// The adapters.
#[derive(Clone)]
pub struct Ports {
    /// Integrations and tokens.
    pub integrations: Arc<dyn IntegrationStore>,
    /// Connect flows.
    pub authorizations: Arc<dyn AuthorizationStore>,
    /// Consents and audit.
    pub records: Arc<dyn RecordStore>,
    /// What an operator asks of the whole.
    pub overview: Arc<dyn OverviewStore>,
    /// Service clients.
    pub clients: Arc<dyn ClientStore>,
    /// Browser sessions.
    pub sessions: Arc<dyn SessionStore>,
    /// Everything about one user.
    pub users: Arc<dyn UserStore>,
    /// What all nodes know of calls to providers.
    pub egress: Arc<dyn EgressStore>,
    /// The provider engine.
    pub oauth: Arc<dyn OAuth>,
    /// Where answers wait for the database.
    pub spool: Arc<dyn Spool>,
    /// Sealing.
    pub vault: Arc<dyn Vault>,
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ports")
    }
}

/// Settings of the actor system.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This run of the program.
    pub node: NodeId,
    /// Where browsers reach us; redirect URIs and links are made of it.
    pub public_url: Url,
    /// How long a claim keeps other nodes off. More than twice the provider deadline, so that a call is over before
    /// anyone may take the claim for stale.
    pub lease: Duration,
    /// After how long without a request an integration is put to sleep; `None`: never.
    pub idle_after: Option<Duration>,
    /// How often the Scheduler looks for work that falls due.
    pub poll_interval: Duration,
    /// How long a call from outside waits for its answer.
    pub call_deadline: Duration,
    /// How long a user's or service's wish for a refresh is answered with what the last one came to.
    pub forced_refresh_interval: Duration,
    /// How long a connect flow may take.
    pub authorization_lifetime: Duration,
    /// How long a consent holds; `None`: until it is taken back.
    pub consent_lifetime: Option<Duration>,
    /// How long after a user is erased records of theirs may still come late. More than the minute in which hand-outs are
    /// counted before they are written.
    pub erasure_quiet: Duration,
    /// How often what is over is cleared away, and erasures go on.
    pub housekeeping_interval: Duration,
    /// How long a session link works.
    pub session_link_lifetime: Duration,
    /// How long the application may take to confirm a session, and its browser then to go in.
    pub session_pending_lifetime: Duration,
    /// How long a session lasts.
    pub session_lifetime: Duration,
    /// How often recorded hand-outs are written.
    pub audit_flush_interval: Duration,
    /// How long a provider's breaker stays open before it lets one probe through.
    pub breaker_interval: Duration,
    /// How long a graceful stop waits for what is in flight.
    pub shutdown_grace: Duration,
}

impl Settings {
    /// The defaults of the design, for this node and public URL.
    pub fn new(node: NodeId, public_url: Url) -> Self {
        Self {
            node,
            public_url,
            lease: Duration::from_secs(30),
            idle_after: Some(Duration::from_secs(600)),
            poll_interval: Duration::from_secs(1),
            call_deadline: Duration::from_secs(25),
            forced_refresh_interval: Duration::from_secs(30),
            authorization_lifetime: Duration::from_secs(600),
            consent_lifetime: None,
            erasure_quiet: Duration::from_secs(180),
            housekeeping_interval: Duration::from_secs(60),
            session_link_lifetime: Duration::from_secs(600),
            session_pending_lifetime: Duration::from_secs(600),
            session_lifetime: Duration::from_secs(12 * 3600),
            audit_flush_interval: Duration::from_secs(1),
            breaker_interval: Duration::from_secs(30),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}
