//! Consents: who agreed to what, and what came of it. They outlive the integration they describe.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;
use uuid::Uuid;

use super::{
    Timestamp,
    feature::FeatureKey,
    ids::{IntegrationId, ProviderKey, Subject},
    scope::ScopeSet,
};

/// Version of the words a user is shown before leaving for a provider. Counts up when their meaning changes.
pub const WORDING_VERSION: &str = "1.0";

/// A consent on its way into storage, written in the transaction of the connection it allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewConsent {
    /// What was asked for.
    pub requested_scopes: ScopeSet,
    /// What the provider granted.
    pub granted_scopes: ScopeSet,
    /// What was to be switched on.
    pub features: BTreeSet<FeatureKey>,
    /// Version of the wording shown.
    pub wording_version: String,
    /// SHA-256 of the wording shown, in hexadecimal.
    pub wording_hash: String,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
    /// Until when it holds; `None`: until taken back.
    pub expires_at: Option<Timestamp>,
}

/// A consent as shown to its user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConsentView {
    /// Its row.
    pub id: Uuid,
    /// What it was for.
    pub integration_id: IntegrationId,
    /// Provider key.
    pub provider: ProviderKey,
    /// Whose.
    pub user: Subject,
    /// What was to be switched on.
    pub features: BTreeSet<FeatureKey>,
    /// What was asked for.
    pub requested_scopes: ScopeSet,
    /// What the provider granted.
    pub granted_scopes: ScopeSet,
    /// Version of the wording shown.
    pub wording_version: String,
    /// SHA-256 of the wording shown.
    pub wording_hash: String,
    /// When.
    pub granted_at: Timestamp,
    /// Until when it holds.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub withdrawn_at: Option<Timestamp>,
    /// From where.
    pub ip: Option<IpAddr>,
    /// With what.
    pub user_agent: Option<String>,
}
