//! The operating system's randomness.

use oauth_manager_actors::ports::rng::Rng;
use ring::rand::{SecureRandom as _, SystemRandom};

/// The operating system's randomness.
#[derive(Debug, Clone)]
pub struct SystemRng(SystemRandom);

impl Default for SystemRng {
    fn default() -> Self {
        Self(SystemRandom::new())
    }
}

impl Rng for SystemRng {
    /// # Panics
    /// Without randomness there is no secret to make: nothing may go on.
    fn fill(&self, buffer: &mut [u8]) {
        assert!(
            self.0.fill(buffer).is_ok(),
            "the operating system gives no randomness"
        );
    }
}
