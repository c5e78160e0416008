//! What presenting a refresh token twice means at a provider, and how a refresh is timed by it.

use std::time::Duration;

use serde::Serialize;

/// What a request may take to arrive at a provider: it is not sent again so late that it could miss the grace window.
const TRANSIT_MAX: Duration = Duration::from_secs(1);
/// The shortest lease a grace window makes. A call ends before half of the lease is over, and one that must be faster than
/// this allows would fail more often than a node dies.
const WINDOW_LEASE_MIN: Duration = Duration::from_secs(3);

/// What a lost answer to a refresh means at this provider.
///
/// A lost answer is asked for again by presenting the same refresh token. The attempt that lost it does so itself where the
/// class allows; if its node died, another node does as soon as the claim has run out. For `grace` that must happen within
/// the provider's window, so the window bounds the claim ([`lease`](Self::lease)) and the call
/// ([`deadline`](Self::deadline)): half the window for whoever takes over to notice, claim and present. That survives the
/// death of one node. If the node that takes over dies as well before it has stored the answer, the window is over, and the
/// refresh token is then treated like one of single use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "class", rename_all = "snake_case")]
pub enum RefreshClass {
    /// The same refresh token may be presented again (it does not rotate, or the old one stays good).
    Safe,
    /// It may be presented again within this window. Of windows under six seconds only the attempt itself can make use: they
    /// are over before another node could take over.
    Grace {
        /// How long after the first presentation.
        #[serde(rename = "seconds", serialize_with = "as_seconds")]
        window: Duration,
    },
    /// Presenting it again may revoke the whole grant.
    SingleUse,
}

impl RefreshClass {
    /// As shown in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Grace { .. } => "grace",
            Self::SingleUse => "single_use",
        }
    }

    /// How long a claim on a refresh keeps other nodes off, where it is `usual` for the others.
    pub fn lease(self, usual: Duration) -> Duration {
        self.window_lease().map_or(usual, |lease| lease.min(usual))
    }

    /// How long one call that presents a refresh token may take, where it is `usual` for other calls: less than half the
    /// lease if `usual` is less than half the usual lease.
    pub fn deadline(self, usual: Duration) -> Duration {
        self.window_lease()
            .map_or(usual, |lease| (lease * 9 / 20).min(usual))
    }

    fn window_lease(self) -> Option<Duration> {
        match self {
            Self::Grace { window } => Some(window / 2).filter(|lease| *lease >= WINDOW_LEASE_MIN),
            Self::Safe | Self::SingleUse => None,
        }
    }

    /// Whether the provider takes a refresh token again that may first have been presented so long ago.
    pub fn takes_again(self, first_presented: Duration) -> bool {
        match self {
            Self::Safe => true,
            Self::Grace { window } => first_presented + TRANSIT_MAX < window,
            Self::SingleUse => false,
        }
    }
}

fn as_seconds<S: serde::Serializer>(window: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(window.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    const DEADLINE: Duration = Duration::from_secs(10);

    fn grace(seconds: u64) -> RefreshClass {
        RefreshClass::Grace {
            window: Duration::from_secs(seconds),
        }
    }

    #[test]
    fn a_grace_window_shortens_lease_and_deadline_and_nothing_lengthens_them() {
        assert_eq!(grace(10).lease(LEASE), Duration::from_secs(5));
        assert_eq!(grace(10).deadline(DEADLINE), Duration::from_millis(2250));
        let untouched = [RefreshClass::Safe, RefreshClass::SingleUse, grace(60), grace(5)];
        for class in untouched {
            assert_eq!(
                (class.lease(LEASE), class.deadline(DEADLINE)),
                (LEASE, DEADLINE),
                "{class:?}"
            );
        }
    }

    #[test]
    fn a_call_ends_before_half_of_its_lease_and_a_takeover_within_the_window() {
        for seconds in 1..=120 {
            let class = grace(seconds);
            let (lease, deadline) = (class.lease(LEASE), class.deadline(DEADLINE));
            assert!(deadline * 2 < lease, "{class:?}");
            if seconds >= 6 {
                // A second until somebody looks, and another for the claim.
                assert!(
                    class.takes_again(lease + Duration::from_millis(1_900)),
                    "{class:?}"
                );
            }
        }
    }

    #[test]
    fn what_could_miss_the_window_is_not_sent() {
        assert!(grace(10).takes_again(Duration::from_millis(8_999)));
        assert!(!grace(10).takes_again(Duration::from_secs(9)));
        assert!(!RefreshClass::SingleUse.takes_again(Duration::ZERO));
        assert!(RefreshClass::Safe.takes_again(Duration::from_secs(1 << 40)));
    }
}
