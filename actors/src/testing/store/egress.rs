//! What all nodes know of a budget.

use std::time::Duration;

use async_trait::async_trait;

use super::{
    MemoryStore, Op,
    tables::{Budget, OpenBudget},
};
use crate::{
    domain::{Timestamp, ids::NodeId, provider::BudgetKey, reason::ReasonCode},
    ports::store::{EgressStore, FaultKind, OpenBreaker, ProbeClaim, StoreResult},
    shared::{after, before, until},
};

impl OpenBudget {
    fn view(&self, now: Timestamp) -> OpenBreaker {
        OpenBreaker {
            fault: self.fault,
            reason: self.reason.clone(),
            open_for: until(self.opened_at, now),
            probe_in: until(now, self.probe_due_at),
        }
    }
}

#[async_trait]
impl EgressStore for MemoryStore {
    async fn look_at_breaker(&self, budget: &BudgetKey) -> StoreResult<Option<OpenBreaker>> {
        self.run(Op::Egress, |tables, now| {
            let open = tables.budgets.get(budget).and_then(|row| row.open.as_ref());
            Ok(open.map(|open| open.view(now)))
        })
        .await
    }

    async fn open_breaker(
        &self,
        budget: &BudgetKey,
        fault: FaultKind,
        reason: &ReasonCode,
        hold: Duration,
    ) -> StoreResult<bool> {
        self.run(Op::Egress, |tables, now| {
            let row = tables.budgets.entry(budget.clone()).or_default();
            let until = after(now, hold);
            let Some(open) = &mut row.open else {
                row.open = Some(OpenBudget {
                    fault,
                    reason: reason.clone(),
                    opened_at: now,
                    probe_due_at: until,
                });
                return Ok(true);
            };
            let is_news = fault == FaultKind::Operator && open.fault != fault;
            if is_news {
                (open.fault, open.reason) = (fault, reason.clone());
            }
            open.probe_due_at = open.probe_due_at.max(until);
            Ok(is_news)
        })
        .await
    }

    async fn claim_probe(
        &self,
        budget: &BudgetKey,
        _node: NodeId,
        interval: Duration,
    ) -> StoreResult<ProbeClaim> {
        self.run(Op::Egress, |tables, now| {
            let Some(open) = tables.budgets.get_mut(budget).and_then(|row| row.open.as_mut()) else {
                return Ok(ProbeClaim::Closed);
            };
            if open.probe_due_at > now {
                return Ok(ProbeClaim::Wait(open.view(now)));
            }
            open.probe_due_at = after(now, interval);
            Ok(ProbeClaim::Won)
        })
        .await
    }

    async fn close_breaker(&self, budget: &BudgetKey, probe_began_ago: Duration) -> StoreResult<()> {
        self.run(Op::Egress, |tables, now| {
            let began = before(now, probe_began_ago);
            if let Some(row) = tables.budgets.get_mut(budget)
                && row.open.as_ref().is_some_and(|open| open.opened_at <= began)
            {
                row.open = None;
            }
            Ok(())
        })
        .await
    }

    async fn take_turns(&self, budget: &BudgetKey, rate: f64, calls: u32) -> StoreResult<Duration> {
        self.run(Op::Egress, |tables, now| {
            let row: &mut Budget = tables.budgets.entry(budget.clone()).or_default();
            let first = row.next_turn_at.unwrap_or(now).max(now);
            row.next_turn_at = Some(after(first, Duration::from_secs_f64(f64::from(calls) / rate)));
            Ok(until(now, first))
        })
        .await
    }
}
