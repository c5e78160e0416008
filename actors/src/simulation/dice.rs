//! Chance of a simulation: all of it comes from the seed.

use std::time::Duration;

use crate::{ports::rng::Rng as _, testing::rng::SeededRng};

/// Dice that fall the same way for the same seed.
#[derive(Debug)]
pub(super) struct Dice(SeededRng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    /// A seed for something that throws its own: what it throws does not shift what others throw.
    pub(super) fn seed(&self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(super) fn fork(&self) -> Self {
        Self::new(self.seed())
    }

    pub(super) fn unit(&self) -> f64 {
        self.0.unit()
    }

    pub(super) fn chance(&self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// In `0..end`.
    pub(super) fn below(&self, end: usize) -> usize {
        ((self.unit() * end as f64) as usize).min(end.saturating_sub(1))
    }

    pub(super) fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// To the millisecond, as timers are.
    pub(super) fn between(&self, low: Duration, high: Duration) -> Duration {
        let spread = high.saturating_sub(low).mul_f64(self.unit());
        Duration::from_millis((low + spread).as_millis() as u64)
    }

    /// One of these, each as likely as its weight says.
    pub(super) fn weighted<T: Copy>(&self, from: &[(T, f64)]) -> T {
        let total: f64 = from.iter().map(|(_, weight)| weight).sum();
        let mut left = self.unit() * total;
        for (choice, weight) in from {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        from[0].0
    }
}
