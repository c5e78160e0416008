//! What all nodes know of calls to providers. Each question is one statement by the database's clock, and what it answers
//! is a span of time and not a moment: clocks of nodes need not agree.

use std::time::Duration;

use async_trait::async_trait;
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use oauth_manager_actors::{
    domain::{ids::NodeId, provider::BudgetKey, reason::ReasonCode},
    ports::store::{EgressStore, FaultKind, OpenBreaker, ProbeClaim, StoreError, StoreResult},
};

use super::Storage;

/// How often a probe is claimed that was refused by nobody: what was in its way ended between two statements.
const CLAIM_TRIES_MAX: u32 = 3;

const LOOK: &str = "\
SELECT fault, reason,
    greatest(extract(epoch FROM now() - opened_at), 0)::double precision AS open_for,
    greatest(extract(epoch FROM probe_due_at - now()), 0)::double precision AS probe_in
FROM oauth_egress WHERE budget = $1 AND fault IS NOT NULL";

/// An operator's fault stands until the breaker closes; a hold is never shortened. Whose episode it is, is decided under
/// the row's lock: of many who open it at once, one has the news.
const OPEN: &str = "\
INSERT INTO oauth_egress AS e (budget, fault, reason, episode, opened_at, probe_due_at)
VALUES ($1, $2, $3, $5, now(), now() + $4::double precision * interval '1 second')
ON CONFLICT (budget) DO UPDATE SET
    fault = CASE WHEN e.fault = 'operator' THEN e.fault ELSE excluded.fault END,
    reason = CASE WHEN e.fault IS NULL OR (e.fault = 'outage' AND excluded.fault = 'operator')
        THEN excluded.reason ELSE e.reason END,
    episode = CASE WHEN e.fault IS NULL OR (e.fault = 'outage' AND excluded.fault = 'operator')
        THEN excluded.episode ELSE e.episode END,
    opened_at = coalesce(e.opened_at, excluded.opened_at),
    probe_due_at = greatest(e.probe_due_at, excluded.probe_due_at),
    updated_at = now()
RETURNING e.episode = $5 AS is_news";

const CLAIM_PROBE: &str = "\
UPDATE oauth_egress
SET probe_node = $2, probe_claimed_at = now(),
    probe_due_at = now() + $3::double precision * interval '1 second', updated_at = now()
WHERE budget = $1 AND fault IS NOT NULL AND probe_due_at <= now()";

const CLOSE: &str = "\
UPDATE oauth_egress
SET fault = NULL, reason = NULL, opened_at = NULL, probe_due_at = NULL, updated_at = now()
WHERE budget = $1 AND opened_at <= now() - $2::double precision * interval '1 second'";

/// Turns lie one after the other from now on: what nobody took in the past is past.
const TAKE_TURNS: &str = "\
INSERT INTO oauth_egress AS e (budget, next_turn_at)
VALUES ($1, now() + $2::double precision * interval '1 second')
ON CONFLICT (budget) DO UPDATE SET
    next_turn_at = greatest(e.next_turn_at, now()) + $2::double precision * interval '1 second', updated_at = now()
RETURNING greatest(extract(epoch FROM
    next_turn_at - $2::double precision * interval '1 second' - now()), 0)::double precision AS first_in";

#[async_trait]
impl EgressStore for Storage {
    async fn look_at_breaker(&self, budget: &BudgetKey) -> StoreResult<Option<OpenBreaker>> {
        self.within("egress.look", async {
            let row = self.system().await?.query_opt(LOOK, &[&budget.as_str()]).await?;
            row.map(|row| breaker_of(budget, &row)).transpose()
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
        self.within("egress.open", async {
            let client = self.system().await?;
            let params: [&(dyn ToSql + Sync); 5] = [
                &budget.as_str(),
                &fault.as_str(),
                &reason.as_str(),
                &hold.as_secs_f64(),
                &Uuid::now_v7(),
            ];
            let row = client.query_opt(OPEN, &params).await?;
            row.map_or(Ok(false), |row| {
                row.try_get("is_news").map_err(|_| unreadable(budget))
            })
        })
        .await
    }

    async fn claim_probe(
        &self,
        budget: &BudgetKey,
        node: NodeId,
        interval: Duration,
    ) -> StoreResult<ProbeClaim> {
        self.within("egress.claim_probe", async {
            let client = self.system().await?;
            for _ in 0..CLAIM_TRIES_MAX {
                let claimed = client
                    .execute(CLAIM_PROBE, &[&budget.as_str(), &node.0, &interval.as_secs_f64()])
                    .await?;
                if claimed == 1 {
                    return Ok(ProbeClaim::Won);
                }
                let Some(row) = client.query_opt(LOOK, &[&budget.as_str()]).await? else {
                    return Ok(ProbeClaim::Closed);
                };
                let open = breaker_of(budget, &row)?;
                if !open.probe_in.is_zero() {
                    return Ok(ProbeClaim::Wait(open));
                }
            }
            Err(StoreError::Unavailable("a probe is contended for".into()))
        })
        .await
    }

    async fn close_breaker(&self, budget: &BudgetKey, probe_began_ago: Duration) -> StoreResult<()> {
        self.within("egress.close", async {
            let client = self.system().await?;
            client
                .execute(CLOSE, &[&budget.as_str(), &probe_began_ago.as_secs_f64()])
                .await
                .map(drop)
        })
        .await
    }

    async fn take_turns(&self, budget: &BudgetKey, rate: f64, calls: u32) -> StoreResult<Duration> {
        self.within("egress.take_turns", async {
            let client = self.system().await?;
            let length = f64::from(calls) / rate;
            let row = client.query_opt(TAKE_TURNS, &[&budget.as_str(), &length]).await?;
            row.ok_or_else(|| unreadable(budget))
                .and_then(|row| span(budget, &row, "first_in"))
        })
        .await
    }
}

fn breaker_of(budget: &BudgetKey, row: &Row) -> StoreResult<OpenBreaker> {
    let text = |column: &str| row.try_get::<_, String>(column).map_err(|_| unreadable(budget));
    let fault = match text("fault")?.as_str() {
        "operator" => FaultKind::Operator,
        "outage" => FaultKind::Outage,
        _ => return Err(unreadable(budget)),
    };
    Ok(OpenBreaker {
        fault,
        reason: ReasonCode::new(text("reason")?),
        open_for: span(budget, row, "open_for")?,
        probe_in: span(budget, row, "probe_in")?,
    })
}

fn span(budget: &BudgetKey, row: &Row, column: &str) -> StoreResult<Duration> {
    let seconds: f64 = row.try_get(column).map_err(|_| unreadable(budget))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| unreadable(budget))
}

fn unreadable(budget: &BudgetKey) -> StoreError {
    StoreError::Inconsistent {
        table: "oauth_egress",
        id: budget.to_string(),
        detail: "a row cannot be read".into(),
    }
}
