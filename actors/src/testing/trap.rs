//! A defect on demand: the handling of a message of some kind panics.

use std::sync::{Mutex, PoisonError};

/// What fails, and how often yet.
#[derive(Debug, Default)]
pub struct Trap(Mutex<Option<(&'static str, usize)>>);

impl Trap {
    /// The next `times` messages of this kind.
    pub fn set(&self, kind: &'static str, times: usize) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((kind, times));
    }

    /// How many are still to fail.
    pub fn left(&self) -> usize {
        let trap = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trap.as_ref().map_or(0, |(_, times)| *times)
    }

    /// A message of this kind is about to be handled.
    ///
    /// # Panics
    /// If it is one of those that are to fail.
    pub fn step_on(&self, kind: &'static str) {
        let springs = match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((wanted, times @ 1..)) if *wanted == kind => {
                *times -= 1;
                true
            }
            _ => false,
        };
        if springs {
            // Without the panic hook's words: a simulation asks for thousands.
            std::panic::resume_unwind(Box::new(format!("a test asked for a failure on {kind}")));
        }
    }
}
