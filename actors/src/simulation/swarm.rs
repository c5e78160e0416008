//! What a seed decides before anything runs: how large the world is, and which faults it has at all, how often. Most
//! worlds have only some kinds (swarm testing): a fault that always comes with ten others hides what it does alone.

use std::time::Duration;

use super::dice::Dice;

/// What becomes of a refresh call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    /// Done and answered.
    Answered,
    /// Refused for now; nothing was done.
    Busy,
    /// Told to leave this provider alone for a while.
    Throttled,
    /// Told to leave this account alone for a while.
    AccountThrottled,
    /// Never arrived, and nobody can tell.
    Vanished,
    /// Done, and the answer is lost at the deadline.
    AnswerLost,
    /// Done, and the answer is a 500.
    AnswerGarbled,
    /// Done, and only the refresh token of the answer can be read.
    AnswerSalvaged,
    /// Done and answered, just before the deadline.
    Slow,
    /// Refused with a code that no table knows; nothing was done.
    RefusedOddly,
    /// The user must act at the provider first; nothing was done.
    WantsUser,
    /// Done, and the answer is about another account.
    AnswerOfAnother,
    /// Whoever was about to call panics.
    Defect,
}

/// What happens in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happening {
    Ask,
    AskMuch,
    Refresh,
    Revoke,
    Reconnect,
    /// Connected again, whereupon the provider ends the old grant, while it is being refreshed.
    Replace,
    Withdraw,
    Kill,
    Pause,
    Stop,
    DatabaseAway,
    DatabaseCut,
    NotificationsCut,
    ProviderDown,
    ProviderThrottles,
    ClientRefused,
    /// An actor panics.
    Defect,
    /// A node's disk has no room.
    DiskFull,
}

/// How likely a statement fares badly.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Statements {
    /// Nothing is done and the sender is told.
    pub(super) fails: f64,
    /// It is done and the answer is lost.
    pub(super) torn: f64,
    /// The sender is told it failed, and later it is done.
    pub(super) late: f64,
    /// It takes seconds.
    pub(super) slow: f64,
}

/// How likely a process dies or stops at a step of the protocol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    pub(super) dies: f64,
    pub(super) stops: f64,
}

/// A world to be.
#[derive(Debug, Clone)]
pub(super) struct Swarm {
    pub(super) nodes: usize,
    pub(super) users: usize,
    pub(super) token_life: Duration,
    pub(super) duration: Duration,
    pub(super) idle_after: Option<Duration>,
    pub(super) poll_interval: Duration,
    /// How far a node's wall clock is off at the most, either way.
    pub(super) skew_max: Duration,
    pub(super) statements: Statements,
    pub(super) steps: Steps,
    pub(super) calls: Vec<(Call, f64)>,
    pub(super) happenings: Vec<(Happening, f64)>,
    /// Mean pause between two happenings.
    pub(super) pause: Duration,
}

const SECOND: Duration = Duration::from_secs(1);

impl Swarm {
    pub(super) fn of(dice: &Dice) -> Self {
        let nodes = dice.weighted(&[(1, 1.0), (2, 3.0), (3, 2.0), (4, 1.0)]);
        let users = if dice.chance(0.03) { 12 } else { 1 + dice.below(2) };
        // Present in about half of the worlds, and then rare in most of these.
        let rate = |most: f64| {
            if dice.chance(0.5) {
                most * dice.unit().powi(2)
            } else {
                0.0
            }
        };
        let statements = Statements {
            fails: rate(0.15),
            torn: rate(0.15),
            late: rate(0.1),
            slow: rate(0.05),
        };
        let steps = Steps {
            dies: rate(0.1),
            stops: rate(0.1),
        };
        let calls = vec![
            (Call::Answered, 1.0),
            (Call::Busy, rate(0.5)),
            (Call::Throttled, rate(0.1)),
            (Call::AccountThrottled, rate(0.2)),
            (Call::Vanished, rate(0.4)),
            (Call::AnswerLost, rate(0.4)),
            (Call::AnswerGarbled, rate(0.2)),
            (Call::AnswerSalvaged, rate(0.3)),
            (Call::Slow, rate(0.3)),
        ];
        let happenings = vec![
            (Happening::Ask, 2.0),
            (Happening::AskMuch, rate(1.0)),
            (Happening::Refresh, rate(1.5)),
            (Happening::Revoke, rate(0.4)),
            (Happening::Reconnect, rate(0.6)),
            (Happening::Replace, rate(0.4)),
            (Happening::Withdraw, rate(0.2)),
            (Happening::Kill, rate(1.0)),
            (Happening::Pause, rate(0.7)),
            (Happening::Stop, rate(0.3)),
            (Happening::DatabaseAway, rate(0.4)),
            (Happening::DatabaseCut, rate(0.4)),
            (Happening::NotificationsCut, rate(0.5)),
            (Happening::ProviderDown, rate(0.3)),
            (Happening::ProviderThrottles, rate(0.3)),
            (Happening::ClientRefused, rate(0.3)),
        ];
        let mut swarm = Self {
            nodes,
            users,
            token_life: dice.between(70 * SECOND, 240 * SECOND),
            duration: dice.between(120 * SECOND, 400 * SECOND),
            idle_after: dice.chance(0.5).then(|| dice.between(10 * SECOND, 120 * SECOND)),
            poll_interval: *dice.pick(&[4 * SECOND, 8 * SECOND]),
            skew_max: if dice.chance(0.3) {
                dice.between(SECOND, 3 * SECOND)
            } else {
                Duration::ZERO
            },
            statements,
            steps,
            calls,
            happenings,
            pause: dice.between(SECOND, 10 * SECOND),
        };
        swarm.calls.extend([
            (Call::RefusedOddly, rate(0.2)),
            (Call::WantsUser, rate(0.05)),
            (Call::AnswerOfAnother, rate(0.1)),
            (Call::Defect, rate(0.1)),
        ]);
        swarm
            .happenings
            .extend([(Happening::Defect, rate(0.5)), (Happening::DiskFull, rate(0.5))]);
        swarm
    }
}
