//! Durations counted in buckets, as Prometheus has them.

use std::time::Duration;

/// Counts of durations. Cheap while it is empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// Upper bounds in seconds, growing.
    bounds: &'static [f64],
    /// Per bucket, the last one without a bound.
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty one with these upper bounds, in seconds, growing.
    pub const fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: Vec::new(),
            sum: 0.0,
        }
    }

    /// Counts one.
    pub fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        self.counts.resize(self.bounds.len() + 1, 0);
        let bucket = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[bucket] += 1;
        self.sum += seconds;
    }

    /// Bounds and how many were at most that long; then all of them, and their sum in seconds.
    pub fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut count = 0;
        let mut buckets = Vec::new();
        for (place, bound) in self.bounds.iter().enumerate() {
            count += self.counts.get(place).copied().unwrap_or(0);
            buckets.push((*bound, count));
        }
        let all = count + self.counts.get(self.bounds.len()).copied().unwrap_or(0);
        (buckets, all, self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_counts_what_is_at_most_as_long_and_the_last_one_all() {
        let mut histogram = Histogram::new(&[1.0, 2.0, 5.0, 900.0]);
        for millis in [500, 1000, 3000, 5_000_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let (buckets, all, sum) = histogram.read();
        assert_eq!(&buckets[..3], [(1.0, 2), (2.0, 2), (5.0, 3)]);
        assert_eq!((buckets[3], all, sum), ((900.0, 3), 4, 5004.5));
    }
}
