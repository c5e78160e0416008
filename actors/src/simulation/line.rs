//! A node's line to the database: statements that fail, are torn, come late or slowly, and processes that die or stop at
//! them.

use std::time::Duration;

use async_trait::async_trait;

use super::post::{Post, ms};
use crate::{
    ports::store::{StoreError, StoreResult},
    testing::store::{Line, Op, Passage},
};

/// When the database adapter gives up on a statement.
const STATEMENT_DEADLINE: Duration = Duration::from_secs(3);

fn is_of_the_protocol(op: Op) -> bool {
    matches!(
        op,
        Op::Claim
            | Op::CommitRefresh
            | Op::CommitFailure
            | Op::ReplayRefresh
            | Op::Revoke
            | Op::CommitConnect
    )
}

#[async_trait]
impl Line for Post {
    async fn request(&self, op: Op) -> Passage {
        self.land.turn().await;
        self.pulse.beat().await;
        if is_of_the_protocol(op) {
            self.step();
            self.pulse.beat().await;
        }
        if !self.reaches_database() {
            self.cut_off();
            let refused = self.dice.chance(0.5);
            tokio::time::sleep(if refused { ms(5) } else { STATEMENT_DEADLINE }).await;
            self.cut_off();
            self.pulse.beat().await;
            return Passage::Fails;
        }
        let statements = self.land.swarm.statements;
        let mut pause = self.hop();
        if self.land.chaos() {
            if self.dice.chance(statements.fails) {
                self.travel(pause).await;
                self.pulse.beat().await;
                return Passage::Fails;
            }
            if self.dice.chance(statements.late) {
                tokio::time::sleep(STATEMENT_DEADLINE).await;
                self.pulse.beat().await;
                return Passage::Late(self.dice.between(ms(1), ms(5_000)));
            }
            if self.dice.chance(statements.slow) {
                pause = self.dice.between(ms(500), STATEMENT_DEADLINE - ms(100));
            }
        }
        self.travel(pause).await;
        Passage::Arrives
    }

    fn done(&self, op: Op) {
        self.land.observe(op);
    }

    async fn answer(&self, op: Op) -> StoreResult<()> {
        if is_of_the_protocol(op) {
            self.step();
        }
        let pause = self.hop();
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        self.pulse.beat().await;
        let torn = self.land.chaos() && self.dice.chance(self.land.swarm.statements.torn);
        if torn || !self.reaches_database() {
            return Err(StoreError::Unavailable("the answer is lost".into()));
        }
        Ok(())
    }
}
