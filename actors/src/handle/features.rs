//! Features: how each stands for a user, and switching them on and off.

use serde::Serialize;
use url::Url;

use super::{OAuthManager, ServiceResult, to};
use crate::{
    authorization,
    domain::{
        Timestamp,
        account::Account,
        authorization::{AuthorizationRequest, BegunAuthorization},
        caller::RequestContext,
        consent::{Lapse, WordingVersion},
        error::ServiceError,
        feature::{FeatureKey, FeatureNotes, FeatureSpec, FeatureStatus},
        ids::{IntegrationId, ProviderKey, Subject},
        integration::{IntegrationView, Status, StoredIntegration},
        page::{PAGE_LIMIT_MAX, PageRequest},
        provider::Provider,
        scope::ScopeSet,
    },
    integration::message::{Change, IntegrationMsg, SwitchAsk, WishPermit},
    records::store_error,
};

/// One feature, and how it stands for one user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureView {
    /// Which.
    pub key: FeatureKey,
    /// At which provider.
    pub provider: ProviderKey,
    /// A few words.
    pub display_name: String,
    /// One sentence for the user.
    pub description: String,
    /// Version of the words a user agrees to.
    pub wording_version: WordingVersion,
    /// What else there is to know of it.
    #[serde(flatten)]
    pub notes: FeatureNotes,
    /// Of the accounts below, the one that serves best decides.
    pub status: FeatureStatus,
    /// The user's accounts at the provider, and how the feature stands for each.
    pub accounts: Vec<FeatureAccount>,
}

/// How a feature stands for one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeatureAccount {
    /// Which.
    pub integration_id: IntegrationId,
    /// The account at the provider.
    pub account: Account,
    /// How it stands.
    pub status: FeatureStatus,
    /// What the provider has not granted of it, whether it is switched on or not.
    pub missing_scopes: ScopeSet,
    /// Until when what the user agreed to holds; `None`: until taken back.
    pub consent_expires_at: Option<Timestamp>,
    /// Why it does not hold when it stands at `consent_required`.
    pub consent_lapse: Option<Lapse>,
}

/// What came of switching a feature on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SwitchedOn {
    /// It is on.
    On(IntegrationView),
    /// The provider has to grant more first: the user opens this link.
    NeedsConsent(BegunAuthorization),
}

/// What came of switching a feature off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchedOff {
    /// The account as it is now.
    #[serde(flatten)]
    pub integration: IntegrationView,
    /// What the provider still grants us of the feature.
    pub still_granted: ScopeSet,
    /// What that means, and what the user can do.
    pub detail: String,
}

impl OAuthManager {
    /// Every feature of every configured provider, and how it stands for this user.
    ///
    /// # Errors
    /// The database being away.
    pub async fn features(&self, owner: &Subject) -> ServiceResult<Vec<FeatureView>> {
        let mut accounts = Vec::new();
        let mut page = PageRequest {
            limit: PAGE_LIMIT_MAX,
            after: None,
        };
        loop {
            let rows = self.shared.ports.integrations.list(owner, &page).await;
            let rows = rows.map_err(|error| store_error(&error))?;
            accounts.extend(rows.items);
            match rows.next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        let now = self.shared.now();
        let providers = self
            .shared
            .providers
            .iter()
            .filter(|provider| provider.configured);
        Ok(providers
            .flat_map(|provider| {
                let of_feature = |feature| view(provider, feature, &accounts, now);
                provider.features.iter().map(of_feature)
            })
            .collect())
    }

    /// Switches a feature of an account on; where the provider has not granted enough for it, begins a flow that asks for
    /// the rest and leaves everything as it is.
    ///
    /// # Errors
    /// Not found, or somebody else's; not a feature of its provider; the database being away.
    pub async fn switch_on(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        feature: &FeatureKey,
        return_to: Option<Url>,
        context: RequestContext,
    ) -> ServiceResult<SwitchedOn> {
        let spec = self.feature_of(id, feature)?;
        let stored = self.stored(owner, id).await?;
        stored.may_have(spec)?;
        if stored.standing.status != Status::ReauthRequired && spec.missing_scopes(&stored.scopes).is_empty()
        {
            let included = self.provider_of(id)?.included_in(feature);
            let changes = included.cloned().map(Change::On).collect();
            let view = self.change_all(owner, id, changes, context).await?;
            return Ok(SwitchedOn::On(view));
        }
        let request = AuthorizationRequest {
            provider: id.provider.clone(),
            features: vec![feature.clone()],
            scopes: ScopeSet::default(),
            return_to,
            integration_id: Some(id.clone()),
            login_hint: None,
        };
        let owner = owner.clone();
        let begun =
            self.run(|shared, _| async move {
                authorization::begin::begin(&shared, owner, request, context).await
            })
            .await?;
        Ok(SwitchedOn::NeedsConsent(begun))
    }

    /// Switches a feature of an account off: no service receives a token for it any more, on any node. What the provider
    /// granted stays granted; the answer says so.
    ///
    /// # Errors
    /// As [`switch_on`](Self::switch_on).
    pub async fn switch_off(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        feature: &FeatureKey,
        context: RequestContext,
    ) -> ServiceResult<SwitchedOff> {
        let provider = self.provider_of(id)?;
        let scopes = self.feature_of(id, feature)?.required_scopes();
        let including = provider.including(feature).into_iter();
        let changes = including.cloned().map(Change::Off).collect();
        let integration = self.change_all(owner, id, changes, context).await?;
        let still_granted = scopes.difference(&provider.uncovered(&scopes, &integration.scopes));
        Ok(SwitchedOff {
            detail: what_stays(&provider.display_name, &still_granted),
            still_granted,
            integration,
        })
    }

    /// One after another, each with its own record. What has been changed stays so if a later one fails.
    async fn change_all(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        changes: Vec<Change>,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        let mut view = Err(ServiceError::Internal);
        for change in changes {
            view = Ok(self.change(owner, id, change, context.clone()).await?);
        }
        view
    }

    pub(super) async fn change(
        &self,
        owner: &Subject,
        id: &IntegrationId,
        change: Change,
        context: RequestContext,
    ) -> ServiceResult<IntegrationView> {
        self.ask_twice(|reply| {
            let ask = Box::new(SwitchAsk {
                owner: owner.clone(),
                change: change.clone(),
                context: context.clone(),
                permit: WishPermit::take(&self.shared.wishes)?,
                reply,
            });
            Ok(to(id, IntegrationMsg::Switch(ask)))
        })
        .await
    }

    async fn stored(&self, owner: &Subject, id: &IntegrationId) -> ServiceResult<StoredIntegration> {
        let found = self.shared.ports.integrations.find(owner, id).await;
        let found = found.map_err(|error| store_error(&error))?;
        found
            .filter(|stored| stored.standing.status != Status::Revoked)
            .ok_or(ServiceError::not_found("integration"))
    }

    fn provider_of(&self, id: &IntegrationId) -> ServiceResult<&Provider> {
        let provider = self.shared.provider(&id.provider);
        Ok(provider.ok_or(ServiceError::not_found("integration"))?)
    }

    fn feature_of(&self, id: &IntegrationId, feature: &FeatureKey) -> ServiceResult<&FeatureSpec> {
        let provider = self.provider_of(id)?;
        provider
            .feature(feature)
            .ok_or_else(|| ServiceError::InvalidRequest {
                detail: format!("{} has no feature {feature}", provider.display_name),
                known: provider
                    .features
                    .iter()
                    .map(|feature| feature.key.to_string())
                    .collect(),
            })
    }
}

fn view(
    provider: &Provider,
    feature: &FeatureSpec,
    accounts: &[StoredIntegration],
    now: Timestamp,
) -> FeatureView {
    let of_account = |stored: &StoredIntegration| {
        let standing = IntegrationView::of(stored, Some(provider), now)
            .features
            .into_iter()
            .find(|state| state.key == feature.key);
        FeatureAccount {
            integration_id: stored.id.clone(),
            account: stored.account.clone(),
            status: standing
                .as_ref()
                .map_or(FeatureStatus::Inactive, |state| state.status),
            consent_expires_at: standing.as_ref().and_then(|state| state.consent_expires_at),
            consent_lapse: standing.and_then(|state| state.consent_lapse),
            missing_scopes: feature.missing_scopes(&stored.scopes),
        }
    };
    let accounts: Vec<_> = accounts
        .iter()
        .filter(|stored| stored.id.provider == provider.key)
        .map(of_account)
        .collect();
    let best = accounts
        .iter()
        .map(|account| account.status)
        .max_by_key(|status| status.rank());
    FeatureView {
        key: feature.key.clone(),
        provider: provider.key.clone(),
        display_name: feature.display_name.clone(),
        description: feature.description.clone(),
        wording_version: feature.wording_version,
        notes: feature.notes.clone(),
        status: best.unwrap_or(FeatureStatus::Inactive),
        accounts,
    }
}

pub(super) fn what_stays(provider: &str, still_granted: &ScopeSet) -> String {
    if still_granted.is_empty() {
        return format!("The feature is off. {provider} had not granted anything for it.");
    }
    format!(
        "The feature is off: no service receives a token for it. {provider} still grants us what it needed ({}); to take \
         that back at {provider} too, disconnect the account, which ends its other features as well.",
        still_granted.join(" ")
    )
}
