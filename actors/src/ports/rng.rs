//! Chance is a port, so that a simulation can replay it.

/// A source of randomness; the real one is the operating system's.
pub trait Rng: Send + Sync {
    /// Fills the buffer; fit for secrets.
    fn fill(&self, buffer: &mut [u8]);

    /// A number in `[0, 1)`, for jitter.
    fn unit(&self) -> f64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // 53 bits: what a double holds exactly.
        (u64::from_le_bytes(bytes) >> 11) as f64 / (1_u64 << 53) as f64
    }
}
