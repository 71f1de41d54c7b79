//! Sums over a sliding window, and a rate limit. Memory is bounded, whatever the input.

use crate::base::moment::{Moment, millis};
use crate::base::number::COUNT_MAX;
use std::collections::VecDeque;
use std::time::Duration;

/// Amounts that came within the same second share a place.
const PLACE: Duration = Duration::from_secs(1);

/// A sum over a sliding window.
///
/// An amount counts from the moment it came for at least the window's length, and is gone at most a second later.
/// Memory: one place a second in which anything came, at most the window's seconds and one.
#[derive(Clone, Debug)]
pub struct SlidingSum {
    places_max: u64,
    places: VecDeque<(u64, u64)>,
    latest: u64,
}

impl SlidingSum {
    /// An empty window of this length, in whole seconds.
    pub fn new(length: Duration) -> Self {
        Self {
            places_max: millis(length) / millis(PLACE),
            places: VecDeque::new(),
            latest: 0,
        }
    }

    /// Adds what came now. A moment before the latest one is taken as the latest one.
    pub fn add(&mut self, amount: u64, now: Moment) {
        let place = self.place(now);
        self.latest = place;
        self.places.retain(|(at, _)| place - at <= self.places_max);
        if amount == 0 {
            return;
        }
        match self.places.back_mut() {
            Some((at, sum)) if *at == place => *sum = sum.saturating_add(amount).min(COUNT_MAX),
            Some(_) | None => self.places.push_back((place, amount.min(COUNT_MAX))),
        }
    }

    /// The sum, at most [`COUNT_MAX`].
    pub fn sum(&self, now: Moment) -> u64 {
        let place = self.place(now);
        let within = self
            .places
            .iter()
            .filter(|(at, _)| place - at <= self.places_max);
        within
            .fold(0, |sum: u64, (_, amount)| sum.saturating_add(*amount))
            .min(COUNT_MAX)
    }

    fn place(&self, now: Moment) -> u64 {
        (now.as_millis() / millis(PLACE)).max(self.latest)
    }
}

/// A limit on how often something may happen in any second.
#[derive(Clone, Debug)]
pub struct RateLimiter {
    per_second: usize,
    passed: VecDeque<Moment>,
}

impl RateLimiter {
    /// Nothing has happened yet.
    pub fn new(per_second: usize) -> Self {
        Self {
            per_second,
            passed: VecDeque::with_capacity(per_second),
        }
    }

    /// Whether one more event passes the limit now.
    pub fn pass(&mut self, now: Moment) -> bool {
        if self.passed.len() < self.per_second {
            self.passed.push_back(now);
            return true;
        }
        let free = self
            .passed
            .front()
            .is_some_and(|at| now.since(*at) >= Duration::from_secs(1));
        if free {
            self.passed.pop_front();
            self.passed.push_back(now);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn an_amount_counts_for_the_whole_window_and_is_gone_a_second_later() {
        let mut window = SlidingSum::new(HOUR);
        window.add(7, at(999));
        assert_eq!(window.sum(at(3_600_999)), 7, "not a moment too early");
        assert_eq!(window.sum(at(3_601_000)), 0);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_and_brings_nothing_back() {
        let mut window = SlidingSum::new(HOUR);
        window.add(7, at(10_000_000));
        window.add(1, at(5));
        assert_eq!(window.sum(at(0)), 8);
        assert_eq!(window.sum(at(13_600_999)), 8);
        assert_eq!(window.sum(at(13_601_000)), 0);
    }

    #[test]
    fn a_sum_beyond_what_json_can_carry_stays_at_the_largest_number() {
        let mut window = SlidingSum::new(HOUR);
        for second in 0..3600 {
            window.add(COUNT_MAX, at(second * 1000));
        }
        assert_eq!(window.sum(at(3_599_000)), COUNT_MAX);
    }

    #[test]
    fn memory_is_one_place_a_second_however_much_comes() {
        let mut window = SlidingSum::new(Duration::from_secs(300));
        for millis in 0..1_000_000 {
            window.add(1, at(millis));
        }
        assert_eq!(window.places.len(), 301);
    }

    proptest! {
        #[test]
        fn a_sum_lies_between_those_of_the_window_and_of_one_second_more(
            steps in prop::collection::vec((0u64..40_000, 0u64..100), 1..200), ahead in 0u64..700_000,
        ) {
            let (mut now, mut added, mut window) = (0, Vec::new(), SlidingSum::new(Duration::from_secs(300)));
            for (step, amount) in steps {
                now += step;
                added.push((now, amount));
                window.add(amount, at(now));
            }
            now += ahead;
            let within = |age: u64| -> u64 {
                added.iter().filter(|(at, _)| now - at <= age).map(|(_, amount)| amount).sum()
            };
            let sum = window.sum(at(now));
            prop_assert!(within(300_000) <= sum && sum <= within(301_000), "{sum}");
        }

        #[test]
        fn no_second_holds_more_than_the_limit(steps in prop::collection::vec(0u64..60, 1..600)) {
            let (mut now, mut passed, mut rate) = (0u64, Vec::new(), RateLimiter::new(50));
            for step in steps {
                now += step;
                if rate.pass(at(now)) {
                    passed.push(now);
                } else {
                    prop_assert!(passed.iter().filter(|p| now - **p < 1000).count() >= 50);
                }
            }
            prop_assert!(passed.windows(51).all(|w| w[50] - w[0] >= 1000));
        }
    }
}
