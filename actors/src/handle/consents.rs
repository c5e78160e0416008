//! Consents: what a user agreed to for an account, and taking it back.

use serde::Serialize;
use uuid::Uuid;

use super::{OAuthManager, ServiceResult, features::what_stays};
use crate::{
    domain::{
        caller::RequestContext,
        consent::ConsentView,
        error::ServiceError,
        ids::{IntegrationId, Subject},
        page::{Page, PageRequest},
        scope::ScopeSet,
    },
    integration::message::Change,
    records::store_error,
};

/// What came of taking a consent back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Withdrawn {
    /// The consent as it is now.
    #[serde(flatten)]
    pub consent: ConsentView,
    /// What the provider still grants us of what it was for.
    pub still_granted: ScopeSet,
    /// What that means, and what the user can do.
    pub detail: String,
}

impl OAuthManager {
    /// The consents behind one of this user's accounts; they outlive it.
    ///
    /// # Errors
    /// Not found, or somebody else's.
    pub async fn consents(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        page: PageRequest,
    ) -> ServiceResult<Page<ConsentView>> {
        let records = &self.shared.ports.records;
        let found = records
            .consents(owner, id, &page)
            .await
            .map_err(|error| store_error(&error))?;
        // Consents outlive their integration: only without any is the integration itself asked for.
        if found.items.is_empty() && page.after.is_none() {
            self.integration(owner, id).await?;
        }
        Ok(found)
    }

    /// Takes one consent back: what it was for is off at once, on every node, and every older consent to the same is taken
    /// back with it. One that was taken back before is answered as it is.
    ///
    /// # Errors
    /// Not found, or somebody else's; the database being away.
    pub async fn withdraw(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        consent: Uuid,
        context: RequestContext,
    ) -> ServiceResult<Withdrawn> {
        let present = self.consent(owner, id, consent).await?;
        if present.withdrawn_at.is_some() {
            return Ok(Withdrawn {
                consent: present,
                still_granted: ScopeSet::default(),
                detail: "This consent was taken back before.".into(),
            });
        }
        // Whatever includes what it was for goes with it.
        let provider = self.shared.provider(&id.provider).ok_or(ServiceError::Internal)?;
        let including = present.features.iter().flat_map(|key| provider.including(key));
        let features = including.cloned().collect();
        let change = Change::Withdraw(Box::new(ConsentView { features, ..present }));
        let integration = self.change(owner, id, change, context).await?;
        let consent = self.consent(owner, id, consent).await?;
        let asked = &consent.requested_scopes;
        let still_granted = asked.difference(&provider.uncovered(asked, &integration.scopes));
        Ok(Withdrawn {
            detail: what_stays(&provider.display_name, &still_granted),
            still_granted,
            consent,
        })
    }

    async fn consent(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        consent: Uuid,
    ) -> ServiceResult<ConsentView> {
        let records = &self.shared.ports.records;
        let found = records.consent(owner, id, consent).await;
        let found = found.map_err(|error| store_error(&error))?;
        found.ok_or(ServiceError::not_found("consent"))
    }
}
