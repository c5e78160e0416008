//! What can be made to go wrong with a call.

use std::collections::HashMap;

use crate::testing::gate::Gate;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named like its method of the ports")]
pub enum Op {
    Load,
    FindIntegration,
    List,
    Directory,
    Dispatch,
    HandBack,
    Claim,
    CommitRefresh,
    ReplayRefresh,
    ReturnClaim,
    CommitFailure,
    ReportRejection,
    ClaimsWanted,
    Reserve,
    CommitConnect,
    SwitchFeature,
    Revoke,
    FinishRevocation,
    PostponeRevocation,
    Create,
    FindFlow,
    Redirect,
    RefuseFlow,
    ConsumeState,
    HoldCode,
    Stage,
    BeginExchange,
    Confirm,
    FinishFlow,
    Purge,
    Consents,
    Audit,
    Append,
    SeedCatalogue,
    Ready,
    Overview,
    Clients,
    Egress,
    Sessions,
    Users,
}

/// The faults of one kind of call.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub(super) calls: usize,
    pub(super) failing: usize,
    pub(super) torn: usize,
    pub(super) before: Option<Gate>,
    pub(super) after: Option<Gate>,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) away: bool,
    by_op: HashMap<Op, Fault>,
}

impl Faults {
    pub(super) fn of(&mut self, op: Op) -> &mut Fault {
        self.by_op.entry(op).or_default()
    }

    pub(super) fn begin(&mut self, op: Op) -> Option<Gate> {
        let fault = self.of(op);
        fault.calls += 1;
        fault.before.take()
    }

    pub(super) fn fails(&mut self, op: Op) -> bool {
        self.away || used(&mut self.of(op).failing)
    }

    pub(super) fn end(&mut self, op: Op) -> (Option<Gate>, bool) {
        let fault = self.of(op);
        (fault.after.take(), used(&mut fault.torn))
    }
}

fn used(times: &mut usize) -> bool {
    let left = *times > 0;
    *times = times.saturating_sub(1);
    left
}
