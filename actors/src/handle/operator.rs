//! What an operator asks: how the parts are, who needs somebody, and why one account is as it is.

use serde::Serialize;

use super::{OAuthManager, ServiceResult};
use crate::{
    audit::AuditQueue,
    domain::{
        Timestamp,
        audit::AuditView,
        error::ServiceError,
        ids::{IntegrationId, ProviderKey, Subject},
        integration::{IntegrationView, Status},
        page::{Page, PageRequest},
        provider::RefreshClass,
        provider_problem::ProviderProblem,
        reason::WhoMustAct,
    },
    explanation::{Circumstances, Explanation, explain},
    ports::store::{Census, Inspected, Wanting},
    provider::{egress_view::EgressView, message::Observation},
    records::store_error,
    shared::Look,
};

/// Rows of the audit shown with an explanation.
const HISTORY_ROWS: u32 = 20;

/// A provider as the way out to it is.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderOverview {
    /// Which.
    pub provider: ProviderKey,
    /// Its name.
    pub display_name: String,
    /// Whether it can be connected.
    pub configured: bool,
    /// What a lost refresh answer means there.
    pub refresh_class: RefreshClass,
    /// Whose move it is, while no calls go out.
    pub who_must_act: Option<WhoMustAct>,
    /// What keeps it from being used, for the operator to mend.
    pub problem: Option<ProviderProblem>,
    /// Which of two configured client secrets the provider takes: `first` or `next`.
    pub client_secret: Option<&'static str>,
    /// Breaker, budget, queue.
    pub egress: EgressView,
}

/// The actors of this node.
#[derive(Debug, Clone, Serialize)]
pub struct ActorsOverview {
    /// This run of the program, as claims name it.
    pub node: String,
    /// Each provider's supervisor.
    pub providers: Vec<ProviderActors>,
    /// Whether questions are routed.
    pub registry: &'static str,
    /// The look for due work.
    pub scheduler: SchedulerView,
    /// Records of hand-outs on their way.
    pub audit: AuditQueue,
    /// Refreshes, look-ups and flows under way.
    pub effects_in_flight: usize,
    /// Whether the system is being stopped.
    pub stopping: bool,
}

/// A provider's supervisor.
#[derive(Debug, Clone, Serialize)]
pub struct ProviderActors {
    /// Which provider.
    pub provider: ProviderKey,
    /// What it tells; absent: it is being restarted, or does not answer.
    #[serde(flatten)]
    pub observation: Option<Observation>,
}

/// The look for due work.
#[derive(Debug, Clone, Serialize)]
pub struct SchedulerView {
    /// When it last looked; absent: not yet.
    pub last_look_at: Option<Timestamp>,
    /// How much it found.
    pub found: Option<usize>,
    /// Whether it could not see: the database was away.
    pub blind: bool,
}

/// An account and why it is as it is.
#[derive(Debug, Clone, Serialize)]
pub struct Explained {
    /// Whose.
    pub user: Subject,
    /// As its owner sees it.
    #[serde(flatten)]
    pub view: IntegrationView,
    /// Why.
    pub explanation: Explanation,
}

/// An account, why it is as it is, and what happened to it.
#[derive(Debug, Clone, Serialize)]
pub struct Account {
    /// The account.
    #[serde(flatten)]
    pub explained: Explained,
    /// Failures of its refresh in a row.
    pub failures: u32,
    /// What was recorded of it, newest first.
    pub history: Vec<AuditView>,
}

/// A key, by its id alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyOverview {
    /// Its id.
    pub id: String,
    /// Whether new data keys are wrapped with it.
    pub active: bool,
    /// Whether this node has it. A key that wraps something and is not configured is missing.
    pub configured: bool,
    /// How many data keys it wraps.
    pub data_keys: u64,
}

/// Which accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those whose move this is.
    pub who: Option<WhoMustAct>,
    /// Only those that stand so.
    pub status: Option<Status>,
}

/// A registration that is not accepted, as a problem.
fn refused(egress: &EgressView) -> Option<ProviderProblem> {
    let is_operators = egress.who_must_act() == Some(WhoMustAct::Operator);
    Some(ProviderProblem {
        what: egress.reason.clone().filter(|_| is_operators)?,
        found: None,
        expected: None,
        since: egress.since?,
    })
}

impl OAuthManager {
    /// The way out to every provider.
    pub fn provider_overviews(&self) -> Vec<ProviderOverview> {
        self.shared
            .providers
            .iter()
            .filter_map(|provider| {
                let egress = self.shared.egress(&provider.key)?.view(self.shared.now());
                let problem = self
                    .shared
                    .ports
                    .oauth
                    .problem(&provider.key)
                    .or_else(|| refused(&egress));
                Some(ProviderOverview {
                    provider: provider.key.clone(),
                    display_name: provider.display_name.clone(),
                    configured: provider.configured,
                    refresh_class: provider.refresh_class,
                    who_must_act: match &problem {
                        Some(_) => Some(WhoMustAct::Operator),
                        None => egress.who_must_act(),
                    },
                    problem,
                    client_secret: self.shared.ports.oauth.client_secret_in_use(&provider.key),
                    egress,
                })
            })
            .collect()
    }

    /// The actors of this node. A supervisor that does not answer is shown as such.
    pub async fn actors_overview(&self) -> ActorsOverview {
        let observations = self.shared.providers.iter().map(async |provider| ProviderActors {
            provider: provider.key.clone(),
            observation: self.observe(&provider.key).await.ok(),
        });
        let look = self.shared.sight.last();
        ActorsOverview {
            node: self.shared.settings.node.0.to_string(),
            providers: futures_util::future::join_all(observations).await,
            registry: if self.registry.get().is_some() {
                "running"
            } else {
                "restarting"
            },
            scheduler: SchedulerView {
                last_look_at: look.map(|look| look.at),
                found: look.and_then(|look| look.found),
                blind: look.is_some_and(|look| look.found.is_none()),
            },
            audit: self.audit_queue(),
            effects_in_flight: self.shared.effects.in_flight(),
            stopping: self.shared.effects.stopping(),
        }
    }

    /// Records of hand-outs on their way.
    pub fn audit_queue(&self) -> AuditQueue {
        self.shared.audit.queue()
    }

    /// When due work was last looked for.
    pub fn last_look(&self) -> Option<Look> {
        self.shared.sight.last()
    }

    /// The whole in numbers.
    ///
    /// # Errors
    /// The database being away.
    pub async fn census(&self) -> ServiceResult<Census> {
        let census = self.shared.ports.overview.census().await;
        census.map_err(|error| store_error(&error))
    }

    /// Accounts that need somebody, or those of the filter, each with why.
    ///
    /// # Errors
    /// The database being away; a cursor that is not ours.
    pub async fn accounts_wanting(
        &self,
        filter: Filter,
        page: PageRequest,
    ) -> ServiceResult<Page<Explained>> {
        let wanting = Wanting {
            who: filter.who,
            status: filter.status,
        };
        let rows = self.shared.ports.overview.wanting(&wanting, &page).await;
        let rows = rows.map_err(|error| store_error(&error))?;
        Ok(rows.map(|row| self.explained(&row)))
    }

    /// One account: why it is as it is, and what happened to it.
    ///
    /// # Errors
    /// Not found; the database being away.
    pub async fn account(&self, id: &IntegrationId) -> ServiceResult<Account> {
        let store = &self.shared.ports.overview;
        let row = store.inspect(id).await.map_err(|error| store_error(&error))?;
        let row = row
            .filter(|row| row.integration.id == *id)
            .ok_or(ServiceError::not_found("integration"))?;
        let owner = &row.integration.owner.subject;
        let history = store.history(owner, id, HISTORY_ROWS).await;
        Ok(Account {
            failures: row.integration.grant.as_ref().map_or(0, |grant| grant.failures),
            explained: self.explained(&row),
            history: history.map_err(|error| store_error(&error))?,
        })
    }

    fn explained(&self, row: &Inspected) -> Explained {
        let provider = row.integration.id.provider.clone();
        let egress = self.shared.egress(&provider);
        let held_off = egress
            .map(|egress| egress.view(self.shared.now()))
            .filter(EgressView::holds_off);
        let circumstances = Circumstances {
            provider: self.shared.provider(&provider).map(AsRef::as_ref),
            held_off: held_off.as_ref(),
            now: self.shared.now(),
        };
        Explained {
            user: row.integration.owner.subject.clone(),
            view: self.view(&row.integration),
            explanation: explain(&row.integration, row.since, &circumstances),
        }
    }

    /// The keys, configured or needed by a row. Looks at every row.
    ///
    /// # Errors
    /// The database being away.
    pub async fn keys(&self) -> ServiceResult<Vec<KeyOverview>> {
        let usage = self.shared.ports.overview.key_usage().await;
        let usage = usage.map_err(|error| store_error(&error))?;
        let configured = self.shared.ports.vault.key_ids();
        let wrapped_by = |id: &str| {
            let found = usage.iter().find(|usage| usage.key_id == id);
            found.map_or(0, |usage| usage.data_keys)
        };
        let mut keys: Vec<_> = configured
            .iter()
            .enumerate()
            .map(|(place, id)| KeyOverview {
                id: id.clone(),
                active: place == 0,
                configured: true,
                data_keys: wrapped_by(id),
            })
            .collect();
        keys.extend(
            usage
                .iter()
                .filter(|usage| !configured.contains(&usage.key_id))
                .map(|usage| KeyOverview {
                    id: usage.key_id.clone(),
                    active: false,
                    configured: false,
                    data_keys: usage.data_keys,
                }),
        );
        Ok(keys)
    }
}
