//! A metric as operators read of it: its name, what kind of number it is, what it means. The names are part of what the
//! service promises, so each is written down once and checked against what is really measured.

/// What kind of number it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// As scraped.
    pub name: &'static str,
    /// What kind of number it is.
    pub kind: MetricKind,
    /// What it means.
    pub help: &'static str,
    /// A histogram's bounds, in seconds.
    pub buckets: &'static [f64],
}

impl Metric {
    /// A counter.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self::of(MetricKind::Counter, name, help, &[])
    }

    /// A gauge.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self::of(MetricKind::Gauge, name, help, &[])
    }

    /// A histogram of seconds.
    pub const fn histogram(name: &'static str, help: &'static str, buckets: &'static [f64]) -> Self {
        Self::of(MetricKind::Histogram, name, help, buckets)
    }

    const fn of(kind: MetricKind, name: &'static str, help: &'static str, buckets: &'static [f64]) -> Self {
        Self {
            name,
            kind,
            help,
            buckets,
        }
    }
}
