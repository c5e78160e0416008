//! How late refreshes began, read from the service's own histogram.

/// `oauth_refresh_lateness_seconds` at one moment: how many were at most so late, by bucket.
#[derive(Debug, Default)]
pub struct Lateness {
    /// Upper bounds in seconds, the last one infinite, and how many lie at or below each.
    buckets: Vec<(f64, u64)>,
}

impl Lateness {
    /// Of all providers together, from a page of metrics.
    pub fn read(page: &str) -> Self {
        let mut buckets: Vec<(f64, u64)> = Vec::new();
        for line in page.lines() {
            let Some(labels) = line.strip_prefix("oauth_refresh_lateness_seconds_bucket{") else {
                continue;
            };
            let (Some(bound), Some(count)) = (bound(labels), line.rsplit(' ').next()) else {
                continue;
            };
            let count = count.parse().unwrap_or(0);
            match buckets
                .iter_mut()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
            {
                Some((_, sum)) => *sum += count,
                None => buckets.push((bound, count)),
            }
        }
        buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        Self { buckets }
    }

    /// How many were measured.
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// How many were later than this; one of the histogram's bounds.
    pub fn later_than(&self, seconds: f64) -> u64 {
        let within = self.buckets.iter().find(|(bound, _)| *bound >= seconds);
        self.count() - within.map_or(0, |(_, count)| *count)
    }

    /// The bucket's bound that at least this share lies below.
    pub fn quantile_at_most(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let bucket = self.buckets.iter().find(|(_, count)| *count >= wanted);
        bucket.map_or(f64::INFINITY, |(bound, _)| *bound)
    }
}

fn bound(labels: &str) -> Option<f64> {
    let text = labels.split_once("le=\"")?.1.split_once('"')?.0;
    if text == "+Inf" {
        return Some(f64::INFINITY);
    }
    text.parse().ok()
}
