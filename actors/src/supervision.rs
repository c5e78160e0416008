//! Restart budgets. ractor restarts nothing by itself, so how often, how soon and when to stop is ours (OTP's
//! intensity and period, with back-off).

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How often something may fail within a period before it is given up, and how long to wait in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Failures within the period that exhaust the budget.
    pub failures_max: usize,
    /// The period.
    pub period: Duration,
    /// First pause; doubled with each further failure of the period.
    pub backoff_min: Duration,
    /// Longest pause.
    pub backoff_max: Duration,
}

impl RestartPolicy {
    /// One connected account: five failures in a minute, then quarantine.
    pub const INTEGRATION: Self = Self {
        failures_max: 5,
        period: Duration::from_secs(60),
        backoff_min: Duration::from_millis(200),
        backoff_max: Duration::from_secs(300),
    };
    /// The permanent actors: three failures in half a minute, then Root stops all.
    pub const PERMANENT: Self = Self {
        failures_max: 3,
        period: Duration::from_secs(30),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(5),
    };
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Start it again after this pause.
    After(Duration),
    /// Give up: something is wrong that a restart does not mend.
    Exhausted,
}

/// The failures of one child.
#[derive(Debug, Clone)]
pub struct RestartBudget {
    policy: RestartPolicy,
    failures: VecDeque<Instant>,
}

impl RestartBudget {
    /// A full budget.
    pub fn new(policy: RestartPolicy) -> Self {
        Self {
            policy,
            failures: VecDeque::new(),
        }
    }

    /// One more failure within the period exhausts it: for something that is tried again after it was given up.
    pub fn put_on_probation(&mut self, now: Instant) {
        self.failures = std::iter::repeat_n(now, self.policy.failures_max.saturating_sub(1)).collect();
    }

    /// Counts a failure. `jitter` in `[0, 1)` spreads the pause over its whole length, so that many children failing of
    /// one cause do not come back as one.
    pub fn failed(&mut self, now: Instant, jitter: f64) -> Restart {
        while self
            .failures
            .front()
            .is_some_and(|first| now.duration_since(*first) > self.policy.period)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        if self.failures.len() >= self.policy.failures_max {
            self.failures.clear();
            return Restart::Exhausted;
        }
        let doublings = u32::try_from(self.failures.len() - 1).unwrap_or(u32::MAX).min(16);
        let ceiling = self
            .policy
            .backoff_min
            .saturating_mul(1 << doublings)
            .min(self.policy.backoff_max);
        Restart::After(ceiling.mul_f64(jitter.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_fifth_failure_within_a_minute_exhausts_the_budget() {
        let mut budget = RestartBudget::new(RestartPolicy::INTEGRATION);
        for _ in 0..4 {
            assert!(matches!(budget.failed(Instant::now(), 0.5), Restart::After(_)));
        }
        assert_eq!(budget.failed(Instant::now(), 0.5), Restart::Exhausted);
    }

    #[tokio::test(start_paused = true)]
    async fn on_probation_one_failure_exhausts_it_until_a_period_has_passed() {
        let mut budget = RestartBudget::new(RestartPolicy::INTEGRATION);
        budget.put_on_probation(Instant::now());
        assert_eq!(budget.failed(Instant::now(), 0.5), Restart::Exhausted);
        budget.put_on_probation(Instant::now());
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(matches!(budget.failed(Instant::now(), 0.5), Restart::After(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_far_apart_never_exhaust_it() {
        let mut budget = RestartBudget::new(RestartPolicy::INTEGRATION);
        for _ in 0..50 {
            assert_eq!(
                budget.failed(Instant::now(), 0.999),
                Restart::After(Duration::from_millis(200).mul_f64(0.999))
            );
            tokio::time::advance(Duration::from_secs(61)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_their_ceiling() {
        let mut budget = RestartBudget::new(RestartPolicy {
            failures_max: 100,
            ..RestartPolicy::INTEGRATION
        });
        let pauses: Vec<_> = (0..20).map(|_| budget.failed(Instant::now(), 1.0)).collect();
        assert_eq!(pauses[0], Restart::After(Duration::from_millis(200)));
        assert_eq!(pauses[3], Restart::After(Duration::from_millis(1600)));
        assert_eq!(pauses[19], Restart::After(Duration::from_secs(300)));
    }
}
