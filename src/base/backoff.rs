//! Exponential back-off with full jitter: how long to wait before the next try.
//!
//! Full jitter spreads a fleet that lost the same store at the same moment over the whole window, so its return is
//! not a second outage.

use std::time::Duration;

/// Grows from `min` to `max`; each wait is drawn from `min` up to the present ceiling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// `max` below `min` counts as `min`.
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max: max.max(min),
            ceiling: min,
        }
    }

    /// The next wait. `random` is from 0 to 1 and comes from outside.
    pub fn next(&mut self, random: f64) -> Duration {
        let wait = self.min + (self.ceiling - self.min).mul_f64(random.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(self.max);
        wait
    }

    /// The last try worked.
    pub fn reset(&mut self) {
        self.ceiling = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_again_after_success() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 7000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 200);
    }

    #[test]
    fn jitter_never_goes_below_the_minimum() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(7));
        for _ in 0..5 {
            assert_eq!(backoff.next(0.0).as_millis(), 200);
        }
    }
}
