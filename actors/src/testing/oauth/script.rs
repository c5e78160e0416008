//! What calls come to, where a test wants something else than the books' answer.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::{
    domain::{ids::ProviderKey, reason::ReasonCode, token::TokenAnswer},
    ports::oauth::{FailureKind, ProviderFailure},
    testing::gate::Gate,
};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is named like its method of the port")]
pub enum Call {
    AuthorizationUrl,
    Exchange,
    Refresh,
    Revoke,
}

/// What a call comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The provider does what it is asked and answers.
    Answer,
    /// It refuses or fails, and does nothing.
    Fail(FailureKind, &'static str),
    /// The same, said by the account's organisation at the provider.
    FailAt(&'static str, FailureKind, &'static str),
    /// It asks to be left alone for this long.
    RateLimited(Duration),
    /// It does what it is asked, and the answer is lost on the way.
    LostAnswer,
    /// Whoever was about to call panics.
    Defect,
    /// It does what it is asked, and of its answer only the refresh token can be read.
    Garbled,
    /// It does what it is asked, and its answer names scopes that no database keeps: for a reader that lets them pass.
    Unstorable,
}

impl Outcome {
    /// A failure before anything is done.
    pub(super) fn failure(&self, provider: &ProviderKey) -> Option<ProviderFailure> {
        let failure = |kind, reason| ProviderFailure::new(provider.clone(), kind, ReasonCode::new(reason));
        match self {
            Self::Answer | Self::LostAnswer | Self::Garbled | Self::Unstorable => None,
            Self::Defect => std::panic::resume_unwind(Box::new("a test asked for a defect")),
            Self::Fail(kind, reason) => Some(failure(*kind, *reason)),
            Self::FailAt(tenant, kind, reason) => Some(ProviderFailure {
                upstream_tenant: Some((*tenant).into()),
                ..failure(*kind, *reason)
            }),
            Self::RateLimited(wait) => Some(ProviderFailure {
                retry_after: Some(*wait),
                ..failure(FailureKind::Passing, "rate_limited")
            }),
        }
    }

    /// What arrives of the answer to something that was done.
    pub(super) fn answer(
        &self,
        provider: &ProviderKey,
        answer: TokenAnswer,
    ) -> Result<TokenAnswer, ProviderFailure> {
        let failure = |kind, reason| ProviderFailure::new(provider.clone(), kind, ReasonCode::new(reason));
        match self {
            Self::LostAnswer => Err(failure(FailureKind::OutcomeUnknown, "timeout")),
            Self::Garbled => Err(ProviderFailure {
                salvaged: answer.refresh_token,
                ..failure(FailureKind::Unreadable, "no_access_token")
            }),
            Self::Unstorable => Ok(TokenAnswer {
                scopes: Some(["read", "admin\0"].into_iter().collect()),
                ..answer
            }),
            Self::Answer | Self::Fail(..) | Self::FailAt(..) | Self::RateLimited(_) | Self::Defect => {
                Ok(answer)
            }
        }
    }
}

#[derive(Debug, Default)]
struct Lines {
    calls: usize,
    next: VecDeque<Outcome>,
    always: Option<Outcome>,
    gate: Option<Gate>,
}

#[derive(Debug, Default)]
pub(super) struct Script(HashMap<Call, Lines>);

impl Script {
    fn of(&mut self, call: Call) -> &mut Lines {
        self.0.entry(call).or_default()
    }

    pub(super) fn enter(&mut self, call: Call) -> Option<Gate> {
        let lines = self.of(call);
        lines.calls += 1;
        lines.gate.take()
    }

    pub(super) fn outcome(&mut self, call: Call) -> Outcome {
        let lines = self.of(call);
        lines
            .next
            .pop_front()
            .or_else(|| lines.always.clone())
            .unwrap_or(Outcome::Answer)
    }

    pub(super) fn next(&mut self, call: Call, outcome: Outcome) {
        self.of(call).next.push_back(outcome);
    }

    pub(super) fn forget(&mut self, call: Call) {
        self.of(call).next.clear();
    }

    pub(super) fn always(&mut self, call: Call, outcome: Outcome) {
        self.of(call).always = Some(outcome);
    }

    pub(super) fn hold(&mut self, call: Call, gate: Gate) {
        self.of(call).gate = Some(gate);
    }

    pub(super) fn calls(&mut self, call: Call) -> usize {
        self.of(call).calls
    }
}
