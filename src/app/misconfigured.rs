//! A configuration from which the service cannot be built: starting again does not help.

/// What is wrong, and with which key. One line for the operator.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Misconfigured(anyhow::Error);

impl Misconfigured {
    /// The whole chain of what was found.
    pub(super) fn new(found: anyhow::Error) -> Self {
        Self(found)
    }
}
