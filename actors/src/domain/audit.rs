//! The audit: what happened, to what, by whom, and how it ended. Ids are values; rows outlive what they describe.

use std::net::IpAddr;

use serde::Serialize;
use uuid::Uuid;

use super::{
    Timestamp,
    caller::RequestContext,
    ids::{AuthorizationId, IntegrationId, ProviderKey, Subject},
    reason::ReasonCode,
    scope::ScopeSet,
};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAction {
    /// A connect flow began.
    Authorize,
    /// A callback came, or a confirmation was refused: nothing was connected.
    Callback,
    /// An account was connected.
    Connect,
    /// An account was connected again, with the same identity.
    Reconnect,
    /// A connected account was given more.
    Upgrade,
    /// A feature of a connected account was switched on.
    FeatureEnabled,
    /// A feature of a connected account was switched off: its hand-outs end, the provider's grant stays.
    FeatureDisabled,
    /// A user took back what they had agreed to: what it was for is off.
    ConsentWithdrawn,
    /// Tokens were refreshed, or it was tried.
    Refresh,
    /// An account still works and will not for long: its user was asked to connect again in time.
    Warn,
    /// The user or a service took an account back.
    Revoke,
    /// The tokens of a revoked account are gone, and the provider's part is settled.
    Disconnect,
    /// Access tokens were handed out; `count` says how often in that minute.
    TokenIssued,
    /// A service reported that the provider's interface did not accept a token.
    TokenRejected,
    /// A hand-out was refused.
    Denied,
    /// A session link was made or used.
    Session,
    /// The features of an account were tried out.
    Verify,
    /// Everything about a user was read out.
    Export,
    /// A user is to be erased.
    EraseRequested,
    /// A user was erased.
    Erase,
}

impl AuditAction {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Callback => "callback",
            Self::Connect => "connect",
            Self::Reconnect => "reconnect",
            Self::Upgrade => "upgrade",
            Self::FeatureEnabled => "feature_enabled",
            Self::FeatureDisabled => "feature_disabled",
            Self::ConsentWithdrawn => "consent_withdrawn",
            Self::Refresh => "refresh",
            Self::Warn => "warn",
            Self::Revoke => "revoke",
            Self::Disconnect => "disconnect",
            Self::TokenIssued => "token_issued",
            Self::TokenRejected => "token_rejected",
            Self::Denied => "denied",
            Self::Session => "session",
            Self::Verify => "verify",
            Self::Export => "export",
            Self::EraseRequested => "erase_requested",
            Self::Erase => "erase",
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// Done.
    Success,
    /// Not done.
    Failure,
    /// Refused.
    Denied,
}

impl AuditOutcome {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

/// An audit row on its way into storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// What happened.
    pub action: AuditAction,
    /// How it ended.
    pub outcome: AuditOutcome,
    /// Whose data it concerns, if known.
    pub subject: Option<Subject>,
    /// At which provider.
    pub provider: Option<ProviderKey>,
    /// Which integration.
    pub integration_id: Option<IntegrationId>,
    /// Which flow.
    pub authorization_id: Option<AuthorizationId>,
    /// The scopes concerned.
    pub scopes: ScopeSet,
    /// Why it did not end well; or, of a success, what was odd about it.
    pub error: Option<ReasonCode>,
    /// How often (hand-outs are counted per minute); 1 otherwise.
    pub count: u32,
    /// Who, and through which request.
    pub context: RequestContext,
}

impl AuditEntry {
    /// A row about this, by these circumstances; the rest is filled in by `with_…`.
    pub fn new(action: AuditAction, outcome: AuditOutcome, context: RequestContext) -> Self {
        Self {
            action,
            outcome,
            subject: None,
            provider: None,
            integration_id: None,
            authorization_id: None,
            scopes: ScopeSet::default(),
            error: None,
            count: 1,
            context,
        }
    }

    /// About an integration and its owner.
    pub fn with_integration(mut self, id: &IntegrationId, owner: &Subject) -> Self {
        self.provider = Some(id.provider.clone());
        self.integration_id = Some(id.clone());
        self.subject = Some(owner.clone());
        self
    }

    /// About a flow and its owner.
    pub fn with_authorization(
        mut self,
        id: AuthorizationId,
        provider: &ProviderKey,
        owner: &Subject,
    ) -> Self {
        self.provider = Some(provider.clone());
        self.authorization_id = Some(id);
        self.subject = Some(owner.clone());
        self
    }

    /// Concerning these scopes.
    pub fn with_scopes(mut self, scopes: ScopeSet) -> Self {
        self.scopes = scopes;
        self
    }

    /// For this reason.
    pub fn with_error(mut self, error: ReasonCode) -> Self {
        self.error = Some(error);
        self
    }
}

/// An audit row as shown to its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// Its row.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// What happened.
    pub action: String,
    /// How it ended.
    pub outcome: String,
    /// Who.
    pub actor: String,
    /// At which provider.
    pub provider: Option<ProviderKey>,
    /// Which integration.
    pub integration_id: Option<IntegrationId>,
    /// Which flow.
    pub authorization_id: Option<AuthorizationId>,
    /// The scopes concerned.
    pub scopes: ScopeSet,
    /// Why it did not end well; or, of a success, what was odd about it.
    pub error: Option<ReasonCode>,
    /// How often.
    pub count: u32,
    /// Through which request.
    pub request_id: Option<String>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}
