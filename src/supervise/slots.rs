//! The timetable of beats: slots of one interval, counted from the sidecar's start.
//!
//! The timetable is fixed: a late tick does not move the next one. The monitor derives freshness from slots (`fleet::detector`).

use crate::base::moment::{Moment, millis};
use std::time::Duration;

/// Maps moments to slots and back.
#[derive(Clone, Copy, Debug)]
pub struct SlotClock {
    started: Moment,
    interval: Duration,
    last: u64,
}

impl SlotClock {
    /// Slot 0 begins at `started`. `interval` is at least one millisecond.
    pub fn new(started: Moment, interval: Duration) -> Self {
        Self {
            started,
            interval: interval.max(Duration::from_millis(1)),
            last: 0,
        }
    }

    /// The moment slot 0 began.
    pub fn started(&self) -> Moment {
        self.started
    }

    /// The slot that a moment lies in: whole intervals since the start.
    pub fn slot_of(&self, now: Moment) -> u64 {
        millis(now.since(self.started)) / millis(self.interval)
    }

    /// The moment a slot begins.
    pub fn moment_of(&self, slot: u64) -> Moment {
        self.started + self.interval * u32::try_from(slot).unwrap_or(u32::MAX)
    }

    /// A beat is sent now; returns its slot.
    pub fn beat(&mut self, now: Moment) -> u64 {
        self.last = self.slot_of(now);
        self.last
    }

    /// The slot of the last beat.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// How long after the beginning of the last beat's slot this is.
    pub fn age(&self, now: Moment) -> Duration {
        now.since(self.moment_of(self.last))
    }

    /// When the next beat is due: at the beginning of the slot after the last beat's.
    pub fn deadline(&self) -> Moment {
        self.moment_of(self.last + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    #[test]
    fn a_late_beat_does_not_move_the_next_one() {
        let mut clock = SlotClock::new(at(500), Duration::from_secs(1));
        assert_eq!(clock.deadline(), at(1500));
        assert_eq!(clock.beat(at(1900)), 1);
        assert_eq!(clock.age(at(1900)), Duration::from_millis(400));
        assert_eq!(clock.deadline(), at(2500));
    }

    #[test]
    fn a_beat_after_missed_slots_takes_the_present_one() {
        let mut clock = SlotClock::new(at(0), Duration::from_secs(1));
        assert_eq!(clock.beat(at(7_300)), 7);
        assert_eq!(clock.deadline(), at(8_000));
    }

    #[test]
    fn a_slot_begins_at_its_moment() {
        let clock = SlotClock::new(at(250), Duration::from_millis(100));
        for slot in [0, 1, 9, 100_000] {
            assert_eq!(clock.slot_of(clock.moment_of(slot)), slot);
        }
        assert_eq!(clock.slot_of(at(0)), 0, "before the start");
    }
}
