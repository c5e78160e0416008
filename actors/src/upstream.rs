//! One grant at a provider behind several connections: of Google and YouTube under one client id, of one account that two
//! users connected. Where the provider knows only the whole grant, ending one connection there would end them all.

use crate::{
    domain::{account::Account, integration::StoredIntegration, provider::Provider},
    ports::store::{StoreResult, UpstreamGrant},
    shared::Shared,
};

/// The living connections of this account's grant; none where each connection has a grant of its own.
pub(crate) async fn connections(
    shared: &Shared,
    provider: &Provider,
    account: &Account,
    metadata: &serde_json::Value,
) -> StoreResult<Vec<StoredIntegration>> {
    if !provider.shares_grants {
        return Ok(Vec::new());
    }
    // One client there: the same budget.
    let providers = shared
        .providers
        .iter()
        .filter(|other| other.budget == provider.budget);
    let grant = UpstreamGrant {
        providers: providers.map(|provider| provider.key.clone()).collect(),
        issuer: account.issuer.clone(),
        subject: account.subject(metadata).to_owned(),
    };
    let mut found = shared.ports.integrations.sharing(&grant).await?;
    found.retain(StoredIntegration::is_alive);
    Ok(found)
}

/// The others that live on the grant of this connection.
pub(crate) async fn siblings(
    shared: &Shared,
    provider: &Provider,
    stored: &StoredIntegration,
) -> StoreResult<Vec<StoredIntegration>> {
    let mut all = connections(shared, provider, &stored.account, &stored.metadata).await?;
    all.retain(|other| other.id != stored.id);
    Ok(all)
}
