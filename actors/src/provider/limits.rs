//! Limits that move: how many calls at once after an outage, how many of them may be repetitions, and when a call's turn
//! is where calls per second are capped. Pure.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How many calls at once: slow after an outage, doubling with every round of answers. A provider that has just come back
/// is not met by the whole backlog.
#[derive(Debug)]
pub(super) struct Ramp {
    max: usize,
    now: usize,
}

impl Ramp {
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self { max, now: max }
    }

    pub(super) fn allowed(&self) -> usize {
        self.now
    }

    pub(super) fn is_full(&self) -> bool {
        self.now == self.max
    }

    /// The breaker closed.
    pub(super) fn restart(&mut self) {
        self.now = 1;
    }

    /// A call was answered.
    pub(super) fn up(&mut self) {
        self.now = (self.now + 1).min(self.max);
    }

    /// A call met trouble on the way up.
    pub(super) fn down(&mut self) {
        if !self.is_full() {
            self.now = (self.now / 2).max(1);
        }
    }
}

/// Share of calls that may be repetitions: what fails is tried again, and still the provider sees at most 1.1 times the
/// calls (Google's SRE book, "Handling overload").
const RETRY_SHARE: f64 = 0.1;
/// Repetitions that are always allowed, per second: a small installation recovers too.
const RETRIES_PER_SECOND_MIN: f64 = 1.0;
/// The window that is looked at…
const RETRY_WINDOW: Duration = Duration::from_secs(60);
/// …in steps of this.
const RETRY_STEP: Duration = Duration::from_secs(5);

/// The budget of repetitions.
#[derive(Debug, Default)]
pub(super) struct RetryBudget {
    steps: VecDeque<CountedStep>,
}

#[derive(Debug)]
struct CountedStep {
    from: Instant,
    calls: u32,
    retries: u32,
}

impl RetryBudget {
    /// Counts a call.
    pub(super) fn called(&mut self, now: Instant, is_retry: bool) {
        self.forget_before(now);
        if self.steps.back().is_none_or(|step| now >= step.from + RETRY_STEP) {
            self.steps.push_back(CountedStep {
                from: now,
                calls: 0,
                retries: 0,
            });
        }
        if let Some(step) = self.steps.back_mut() {
            step.calls += 1;
            step.retries += u32::from(is_retry);
        }
    }

    /// Repetitions that may go now.
    pub(super) fn left(&mut self, now: Instant) -> u32 {
        self.forget_before(now);
        let calls: u32 = self.steps.iter().map(|step| step.calls).sum();
        let retries: u32 = self.steps.iter().map(|step| step.retries).sum();
        let first_time = f64::from(calls - retries);
        let most = (first_time * RETRY_SHARE).max(RETRIES_PER_SECOND_MIN * RETRY_WINDOW.as_secs_f64());
        (most as u32).saturating_sub(retries)
    }

    fn forget_before(&mut self, now: Instant) {
        while self
            .steps
            .front()
            .is_some_and(|step| now >= step.from + RETRY_WINDOW)
        {
            self.steps.pop_front();
        }
    }
}

/// Turns are bought in blocks of this much time, so that one round trip to the database buys many calls and an unused
/// rest is little.
const BLOCK: Duration = Duration::from_millis(500);
/// A turn may be taken this much too late; later ones are lost, lest what was not used yesterday goes out at once today.
const TURN_TOLERANCE: Duration = Duration::from_millis(100);

/// When calls may go where calls per second are capped. The turns of all nodes lie on one line in the database, one
/// period apart, and each node takes a few ahead: in no time `t` do more than `rate * (t + 0.1 s) + 1` calls go out.
#[derive(Debug)]
pub(super) struct Turns {
    rate: f64,
    ahead: VecDeque<Instant>,
    last: Option<Instant>,
}

/// Whether it is somebody's turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Now,
    At(Instant),
    /// Turns must be taken first: so many.
    Take(u32),
}

impl Turns {
    pub(super) fn new(rate: f64) -> Self {
        Self {
            rate,
            ahead: VecDeque::new(),
            last: None,
        }
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    fn period(&self) -> Duration {
        Duration::from_secs_f64(1.0 / self.rate)
    }

    /// Looks whose turn it is, with so many waiting.
    pub(super) fn look(&mut self, now: Instant, waiting: usize) -> Turn {
        let tolerance = self.period().max(TURN_TOLERANCE);
        while self.ahead.front().is_some_and(|turn| now > *turn + tolerance) {
            self.ahead.pop_front();
        }
        match self.ahead.front() {
            Some(turn) if *turn <= now => Turn::Now,
            Some(turn) => Turn::At(*turn),
            None => {
                let block = (self.rate * BLOCK.as_secs_f64()).ceil().max(1.0) as u32;
                Turn::Take(block.min(u32::try_from(waiting).unwrap_or(u32::MAX)).max(1))
            }
        }
    }

    /// A call takes its turn.
    pub(super) fn used(&mut self) {
        self.last = self.ahead.pop_front();
    }

    /// So many turns are ours, the first of them then.
    pub(super) fn taken(&mut self, first: Instant, calls: u32) {
        let period = self.period();
        self.ahead.extend((0..calls).map(|n| first + period * n));
    }

    /// The database cannot say: a turn by this node's own count.
    pub(super) fn taken_alone(&mut self, now: Instant) {
        let first = self.last.map_or(now, |last| now.max(last + self.period()));
        self.ahead.push_back(first);
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
