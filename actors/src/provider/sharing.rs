//! How calls went, and telling the other nodes and the operator of what follows from it.

use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    breaker::{News, OpenCause, Verdict},
    egress::{Egress, Inner, Permit},
    suspicion::Belief,
};
use crate::{
    measure,
    ports::{
        oauth::{FailureKind, ProviderFailure},
        store::{FaultKind, StoreError},
    },
};

/// What the other nodes are to know.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Open {
        cause: OpenCause,
        /// No call before this.
        until: Instant,
        /// Whether the operator has to be told if nobody was.
        is_news: bool,
    },
    Close {
        probe_began: Instant,
    },
}

/// What a call was about.
#[derive(Debug, Clone, Copy)]
enum Source {
    /// A grant, perhaps of an account that counts for itself.
    Grant(Option<Uuid>),
    /// A flow.
    Flow,
}

impl Source {
    fn account(self) -> Option<Uuid> {
        match self {
            Self::Grant(account) => account,
            Self::Flow => None,
        }
    }
}

impl Permit {
    /// Says how the call went. The result comes back as it is to be understood: an odd refusal is not believed to be one
    /// account's fault while it may be ours.
    pub(crate) fn report<T>(
        self,
        account: Option<Uuid>,
        result: Result<T, ProviderFailure>,
    ) -> Result<T, ProviderFailure> {
        self.report_of(Source::Grant(account), result)
    }

    /// Says how a code exchange went.
    pub(crate) fn report_flow<T>(self, result: Result<T, ProviderFailure>) -> Result<T, ProviderFailure> {
        self.report_of(Source::Flow, result)
    }

    fn report_of<T>(
        mut self,
        source: Source,
        mut result: Result<T, ProviderFailure>,
    ) -> Result<T, ProviderFailure> {
        let account = source.account();
        self.reported = true;
        let egress = Arc::clone(&self.egress);
        let now = Instant::now();
        let mut inner = egress.lock();
        let verdict = match &mut result {
            Ok(_) => {
                inner.suspicion.served(account);
                Verdict::Answered
            }
            Err(failure) => verdict(&mut inner, now, self.is_probe, source, failure, &egress),
        };
        match &verdict {
            Verdict::Answered => inner.ramp.up(),
            Verdict::Nothing => {}
            Verdict::Outage { .. } | Verdict::Operator(_) => inner.ramp.down(),
        }
        let news = inner.breaker.ended(now, self.is_probe, account, verdict);
        if let Some(news) = news {
            egress.note(&mut inner, now, self.began, news);
            egress.show(&inner);
            drop(inner);
            let sharing = Arc::clone(&egress);
            egress.effects.spawn(async move { sharing.share().await });
        }
        result
    }
}

/// What a failure says about the provider; and a refusal that is not this account's is made what it is.
///
/// Anybody can begin a flow and make its code up, so what is said of one says nothing of anybody else, unless the provider
/// does not know our client.
fn verdict(
    inner: &mut Inner,
    now: Instant,
    is_probe: bool,
    source: Source,
    failure: &mut ProviderFailure,
    egress: &Egress,
) -> Verdict {
    let account = source.account();
    let is_flow = matches!(source, Source::Flow);
    match failure.kind {
        FailureKind::Operator => Verdict::Operator(failure.reason.clone()),
        FailureKind::Passing | FailureKind::OutcomeUnknown if is_flow && !is_probe => Verdict::Nothing,
        FailureKind::Passing | FailureKind::OutcomeUnknown => Verdict::Outage {
            reason: failure.reason.clone(),
            retry_after: failure.retry_after,
        },
        _ if account.is_none() && is_probe && inner.breaker.is_operators() => Verdict::Nothing,
        FailureKind::Refused | FailureKind::BadRequest | FailureKind::Tenant => {
            let Some(account) = account else {
                return Verdict::Answered;
            };
            let tenant = failure.upstream_tenant.clone();
            let belief = inner.suspicion.refused(now, account, tenant, &failure.reason);
            match belief {
                Belief::Operator => failure.kind = FailureKind::Operator,
                // A probe that is refused oddly says nothing for our registration while that is in doubt.
                _ if is_probe && inner.breaker.is_operators() => failure.kind = FailureKind::Operator,
                Belief::Unclear if failure.kind == FailureKind::Refused => {
                    failure.kind = FailureKind::Unclear;
                }
                Belief::Account | Belief::Unclear => {}
            }
            if failure.kind == FailureKind::Operator {
                Verdict::Operator(failure.reason.clone())
            } else {
                Verdict::Answered
            }
        }
        FailureKind::DeadGrant => {
            if account.is_some() && inner.suspicion.dead_grant() {
                tracing::error!(
                    budget = %egress.budget,
                    "many grants in a row are dead and none was refreshed: if the client id was exchanged for another \
                     application's, put the former back before more people are asked to reconnect"
                );
                egress.alarm();
            }
            Verdict::Answered
        }
        FailureKind::AccountThrottled
        | FailureKind::Interaction
        | FailureKind::Admin
        | FailureKind::Unreadable
        | FailureKind::Unclear => Verdict::Answered,
    }
}

impl Egress {
    /// Keeps what is to be told; a newer state takes the place of an older one.
    fn note(&self, inner: &mut Inner, now: Instant, began: Instant, news: News) {
        inner.version += 1;
        let change = match news {
            News::Opened { cause, hold } => Change::Open {
                cause,
                until: now + hold,
                is_news: true,
            },
            News::Held { cause, hold } => Change::Open {
                cause,
                until: now + hold,
                is_news: false,
            },
            News::Closed => {
                inner.ramp.restart();
                inner.changes.clear();
                tracing::info!(budget = %self.budget, "the provider answers again");
                Change::Close { probe_began: began }
            }
        };
        let number = inner.version;
        inner.changes.push((number, change));
    }

    /// Tells the database what this node found out. What cannot be told now is told before the next probe.
    pub(super) async fn share(&self) {
        if std::mem::replace(&mut self.lock().sharing, true) {
            return;
        }
        while let Some((number, change)) = self.next_change() {
            let told = self.tell(&change).await;
            let mut inner = self.lock();
            match &told {
                // A newer state may have taken its place meanwhile.
                Ok(_) => inner.changes.retain(|(other, _)| *other != number),
                Err(error) => {
                    tracing::debug!(budget = %self.budget, %error, "other nodes are not told yet");
                    inner.sharing = false;
                    // The alarm does not wait for the database, and is not repeated when it is back.
                    for (_, kept) in &mut inner.changes {
                        if let Change::Open { is_news, .. } = kept {
                            *is_news = false;
                        }
                    }
                }
            }
            drop(inner);
            self.announce(&change, told.as_ref().copied().unwrap_or(true));
            if told.is_err() {
                return;
            }
        }
    }

    fn next_change(&self) -> Option<(u64, Change)> {
        let mut inner = self.lock();
        let next = inner.changes.first().cloned();
        inner.sharing = next.is_some();
        next
    }

    async fn tell(&self, change: &Change) -> Result<bool, StoreError> {
        match change {
            Change::Open { cause, until, .. } => {
                let fault = match cause {
                    OpenCause::Operator(_) => FaultKind::Operator,
                    OpenCause::Outage(_) => FaultKind::Outage,
                };
                let hold = until.saturating_duration_since(Instant::now());
                self.store
                    .open_breaker(&self.budget, fault, cause.reason(), hold)
                    .await
            }
            Change::Close { probe_began } => {
                let ago = probe_began.elapsed();
                self.store.close_breaker(&self.budget, ago).await.map(|()| false)
            }
        }
    }

    /// One line and one alarm per episode over all nodes: whoever told the database first.
    fn announce(&self, change: &Change, is_first: bool) {
        let Change::Open {
            cause, is_news: true, ..
        } = change
        else {
            return;
        };
        match cause {
            OpenCause::Operator(reason) if is_first => {
                tracing::error!(
                    budget = %self.budget, providers = ?self.providers, oauth.error = %reason,
                    "the provider refuses this service's registration: check its client id and secret; no account is \
                     touched, and calls resume by themselves"
                );
                self.alarm();
            }
            OpenCause::Outage(reason) if is_first => tracing::warn!(
                budget = %self.budget, providers = ?self.providers, oauth.error = %reason,
                "the provider has trouble: calls to it pause and are probed; valid tokens are still served"
            ),
            OpenCause::Operator(_) | OpenCause::Outage(_) => {}
        }
    }

    pub(super) fn alarm(&self) {
        for provider in &self.providers {
            measure::operator_alarm(provider);
        }
    }

    pub(super) fn show(&self, inner: &Inner) {
        for provider in &self.providers {
            measure::breaker(provider, inner.breaker.opened().is_some());
        }
    }
}
