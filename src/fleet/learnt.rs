//! The interval of a producer that does not report it: learnt from its beats and from the time to live of its hash.
//!
//! The time to live is four intervals at the moment when it is set, which a reading never hits: a producer that publishes
//! before it writes is read when up to one interval of it has passed. So a reading of t bounds the interval to t/4 to t/3,
//! and the time between two beats decides within these bounds.

use crate::base::moment::millis;
use crate::wire::beat::{INTERVAL_MAX, INTERVAL_MIN};
use crate::wire::keys;
use std::time::Duration;

/// So many readings are taken; the longest counts, it is the least worn.
const READINGS: u8 = 3;
/// Times between two beats that are kept; the longest counts, so that a jittering producer is not taken for a fast one.
const GAPS: usize = 4;
/// Without a time to live so many gaps are needed.
const GAPS_ALONE: u32 = 3;
/// Intervals are rounded to this: a reading comes some milliseconds after the write.
const STEP_MS: u64 = 50;

/// What is known so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Learnt {
    time_to_live: Option<Duration>,
    readings: u8,
    gaps: [Duration; GAPS],
    gaps_seen: u32,
}

impl Learnt {
    /// Takes a reading of the time to live.
    pub(super) fn time_to_live(&mut self, read: Duration) {
        self.time_to_live = self.time_to_live.max(Some(read));
        self.readings = self.readings.saturating_add(1);
    }

    /// Takes the time between two beats that follow each other.
    pub(super) fn gap(&mut self, gap: Duration) {
        self.gaps.rotate_right(1);
        self.gaps[0] = gap;
        self.gaps_seen = self.gaps_seen.saturating_add(1);
    }

    /// Whether another reading would add something.
    pub(super) fn wants_time_to_live(&self) -> bool {
        self.readings < READINGS
    }

    /// The interval, as far as it is known.
    pub(super) fn interval(&self) -> Option<Duration> {
        let gap = self.gaps.iter().max().copied().filter(|gap| !gap.is_zero());
        let interval = match (self.time_to_live, gap) {
            (Some(read), Some(gap)) => gap.min(read / 3).max(keys::interval_of(read)),
            (Some(read), None) => read / 3,
            (None, Some(gap)) if self.gaps_seen >= GAPS_ALONE => gap,
            (None, _) => return None,
        };
        Some(rounded(interval).clamp(INTERVAL_MIN, INTERVAL_MAX))
    }
}

fn rounded(interval: Duration) -> Duration {
    let ms = (millis(interval) + STEP_MS / 2) / STEP_MS * STEP_MS;
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_worn_time_to_live_is_corrected_by_the_beats() {
        let mut learnt = Learnt::default();
        learnt.time_to_live(ms(5990));
        assert_eq!(learnt.interval(), Some(ms(2000)), "at most a third of it");
        learnt.gap(ms(2004));
        assert_eq!(learnt.interval(), Some(ms(2000)));
        learnt.time_to_live(ms(7998));
        assert_eq!(learnt.interval(), Some(ms(2000)));
    }

    #[test]
    fn one_late_beat_makes_no_slow_producer() {
        let mut learnt = Learnt::default();
        learnt.time_to_live(ms(8000));
        for gap in [2000, 9000, 2000] {
            learnt.gap(ms(gap));
        }
        assert_eq!(
            learnt.interval(),
            Some(ms(2650)),
            "a third of the time to live"
        );
    }

    #[test]
    fn a_producer_without_a_hash_is_known_by_its_beats_alone() {
        let mut learnt = Learnt::default();
        learnt.gap(ms(2000));
        learnt.gap(ms(2010));
        assert_eq!(learnt.interval(), None);
        learnt.gap(ms(1990));
        assert_eq!(learnt.interval(), Some(ms(2000)));
    }
}
