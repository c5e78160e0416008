//! How many refreshes of one provider this node has begun and not ended, waiting for leave included: what the Scheduler
//! looks at before it takes more.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The count. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load(Arc<AtomicUsize>);

/// One refresh; over when dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<AtomicUsize>);

impl Load {
    /// A refresh begins.
    pub(crate) fn begin(&self) -> UnderWay {
        self.0.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(&self.0))
    }

    /// How many there are.
    pub(crate) fn under_way(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
