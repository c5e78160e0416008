//! What the code under test counts, on this test's thread.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString, Unit,
};

#[derive(Default)]
struct Counting(Mutex<HashMap<String, Arc<AtomicU64>>>);

/// Counters by name, all labels together.
pub(super) struct Counters {
    counting: &'static Counting,
    _installed: LocalRecorderGuard<'static>,
}

impl Counters {
    /// Counts from now on, until dropped.
    pub(super) fn install() -> Self {
        // The guard borrows it, and a test's few counters may live as long as the process.
        let counting: &'static Counting = Box::leak(Box::default());
        Self {
            counting,
            _installed: metrics::set_default_local_recorder(counting),
        }
    }

    pub(super) fn get(&self, name: &str) -> u64 {
        let counters = self.counting.0.lock().unwrap();
        counters
            .get(name)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut counters = self.0.lock().unwrap();
        Counter::from_arc(Arc::clone(counters.entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
