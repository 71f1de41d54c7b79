//! Tells a fresh agent from a silent one: freshness points after Chen, Toueg and Aguilera.
//!
//! Intuition: a bus that comes every 30 s is late with respect to its timetable, not to the bus before it. A sidecar
//! numbers its timetable: `slot` counts whole intervals since its start. The smallest `arrival - slot x interval` seen
//! lately is the best guess of where that timetable lies on our clock; from it follows when each later slot is due. So
//! a beat that was held up in a queue for two minutes refreshes nothing, and a fast beat makes no later one look late.
//!
//! Beats that stay late by the same time are no backlog, which comes faster than it was sent: their machine stood still and
//! its clock with it, or the way is longer. They have a timetable of their own.
//!
//! A producer without slots (written from the seed) is measured from its last arrival.
//!
//! Deliberately absent: accrual (phi). At one beat in 30 s its model suspects an agent after a single lost message.

use crate::base::moment::{Moment, millis};
use std::time::Duration;

/// Beats per half of the window whose smallest offset counts: 16 to 32 beats, as long as a route keeps its delay.
const WINDOW_HALF: u32 = 16;
/// A slot this far ahead of the timetable, or before its last one, contradicts it: one wrong number must not make later
/// beats look old.
const SLOTS_AHEAD_MAX: u64 = 2;
/// A producer may count its slots from the beginning of Unix time. What lies beyond this is no slot.
const COUNTED_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
/// The shortest slack: below it scheduling noise of a loaded machine looks like loss.
const SLACK_MIN: Duration = Duration::from_millis(100);
/// Bounds of the gap in the observation that is tolerated.
const GAP_TOLERATED_MIN: Duration = Duration::from_millis(200);
const GAP_TOLERATED_MAX: Duration = Duration::from_secs(2);
/// Of two late beats the second one may have made up for this part of an interval: a backlog makes up for all of it.
const LATENESS_KEPT: u32 = 4;
/// Beats that may be lost before silence means failure.
const BEATS_TO_FAIL: u32 = 3;
/// Another interval that one beat names, and of which the store knows nothing, counts up to so many times the last one: a
/// producer may become slower, and one wrong number must not hide for hours that its agent died.
const LONGER_MAX: u32 = 6;

/// Where in time a beat belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// From a sidecar: the number of the slot, the interval that it counts, and how long after its beginning it was sent.
    Slot(u64, Duration, Duration),
    /// From a producer without slots.
    Arrival,
}

/// What became of a beat's stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// The agent is fresher than before.
    Renewed,
    /// A slot that was known already: content may be new, time is not.
    Known,
    /// A slot that contradicts the timetable; accepted only when the next one agrees.
    Implausible,
}

/// Whether a sidecar can have counted so many slots.
fn is_countable(slot: u64, interval: Duration) -> bool {
    slot.saturating_mul(millis(interval)) <= millis(COUNTED_MAX)
}

/// Silence so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No beat is overdue.
    None,
    /// At least one beat is overdue: the state `missing`.
    Missing,
    /// Three beats are overdue: the state `failed`, once verified.
    Failed,
}

/// The freshness of one agent.
#[derive(Clone, Debug)]
pub struct Detector {
    interval: Duration,
    /// Another interval that one beat has named: it counts when it is named again. Boxed: few agents have one.
    proposed: Option<Box<Proposed>>,
    /// When the freshest beat was due on our clock.
    fresh_at: Moment,
    /// Nothing is concluded from silence before one whole period of observation after this.
    observed_from: Moment,
    timetable: Option<Timetable>,
    /// The last beat carried a number that is no slot.
    is_uncounted: bool,
    /// When the last late beat came, which may be the first of a timetable of its own: its agent has failed only when the next
    /// ones did not come either.
    late_at: Moment,
}

#[derive(Clone, Copy, Debug)]
struct Proposed {
    interval: Duration,
    stored: Stored,
}

/// Which interval the beat names that the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Unknown,
    Same,
    Another,
}

#[derive(Clone, Debug)]
struct Timetable {
    slot: u64,
    offset: MinimumWindow,
    /// The timetable of the last beat that contradicts this one. Boxed: few agents have one.
    rival: Option<Box<Rival>>,
    /// The offset of the last beat, if it was late.
    late: Option<i64>,
}

#[derive(Clone, Copy, Debug)]
struct Rival {
    slot: u64,
    offset: i64,
}

/// The smallest value among the last 16 to 32.
#[derive(Clone, Debug)]
struct MinimumWindow {
    before: i64,
    now: i64,
    filled: u32,
}

impl Detector {
    /// An agent first known at `now`, with one beat every `interval`.
    pub fn new(interval: Duration, now: Moment) -> Self {
        Self {
            interval,
            proposed: None,
            fresh_at: now,
            observed_from: now,
            timetable: None,
            is_uncounted: false,
            late_at: Moment::default(),
        }
    }

    /// An agent without a beat yet: it has until the end of one period of observation.
    pub fn unconfirmed(interval: Duration, now: Moment) -> Self {
        let mut detector = Self::new(interval, now);
        detector.fresh_at = now - (interval * BEATS_TO_FAIL + detector.slack());
        detector
    }

    /// A beat that was written at `arrival`.
    pub fn beat(&mut self, stamp: Stamp, arrival: Moment) -> Freshness {
        match stamp {
            Stamp::Arrival => {
                self.fresh_at = self.fresh_at.max(arrival);
                Freshness::Renewed
            }
            Stamp::Slot(slot, interval, _) if !is_countable(slot, interval) => {
                self.uncounted(arrival)
            }
            Stamp::Slot(_, interval, _) if !self.takes_interval(interval) => {
                self.fresh_at = self.fresh_at.max(arrival);
                Freshness::Renewed
            }
            Stamp::Slot(slot, interval, age) => self.slot(slot, age.min(interval), arrival),
        }
    }

    /// A number that is no slot costs the beat that carries it. A producer that has no other numbers is measured from its arrivals.
    fn uncounted(&mut self, arrival: Moment) -> Freshness {
        let again = std::mem::replace(&mut self.is_uncounted, true);
        if self.timetable.is_some() && !again {
            return Freshness::Implausible;
        }
        self.timetable = None;
        self.fresh_at = self.fresh_at.max(arrival);
        Freshness::Renewed
    }

    /// The store holds a beat with this interval: it decides about one that was named once, and a longer one than ours makes
    /// no agent late.
    pub fn stored_interval(&mut self, interval: Duration) {
        match &mut self.proposed {
            Some(proposed) if proposed.interval == interval => proposed.stored = Stored::Same,
            Some(proposed) => proposed.stored = Stored::Another,
            None if interval > self.interval => {
                let stored = Stored::Same;
                self.proposed = Some(Box::new(Proposed { interval, stored }));
            }
            None => {}
        }
    }

    /// Takes an interval that was measured here.
    pub fn set_interval(&mut self, interval: Duration) {
        self.proposed = None;
        if self.interval != interval {
            self.interval = interval;
            self.timetable = None;
        }
    }

    /// Whether a beat with this interval belongs to the timetable, perhaps to a new one: slots count intervals. Another
    /// interval counts when it is named twice: one wrong number must make no agent late, nor hide that it is.
    fn takes_interval(&mut self, interval: Duration) -> bool {
        let again = (self.proposed.as_ref()).is_some_and(|one| one.interval == interval);
        if again || self.interval == interval {
            self.set_interval(interval);
            return true;
        }
        self.proposed = Some(Box::new(Proposed {
            interval,
            stored: Stored::Unknown,
        }));
        false
    }

    /// How long after the freshest beat the next one is due. A longer interval that was named once makes no agent late, as far
    /// as the store holds it too; it counts for that one beat, for the producer names it again if it is true.
    fn next_within(&self) -> Duration {
        let longer = match &self.proposed {
            Some(one) => match one.stored {
                Stored::Unknown => one.interval.min(self.interval * LONGER_MAX),
                Stored::Same => one.interval,
                Stored::Another => self.interval,
            },
            None => self.interval,
        };
        longer.max(self.interval)
    }

    /// The next beat starts a timetable of its own: another producer counts its slots from another moment.
    pub fn restart_timetable(&mut self) {
        self.timetable = None;
    }

    /// The observer was blind before `now`: silence up to here proves nothing.
    pub fn observe_from(&mut self, now: Moment) {
        self.observed_from = self.observed_from.max(now);
    }

    /// Whether [`Self::observe_from`] with this moment would change nothing.
    pub fn is_observed_from(&self, since: Moment) -> bool {
        since <= self.observed_from
    }

    /// What the silence up to `now` means.
    pub fn silence(&self, now: Moment) -> Silence {
        if now >= self.failed_at() {
            Silence::Failed
        } else if now >= self.missing_at() {
            Silence::Missing
        } else {
            Silence::None
        }
    }

    /// Whether a beat is overdue by the clock alone, however short a time was observed.
    pub fn is_stale(&self, now: Moment) -> bool {
        now >= self.fresh_at + self.interval + self.slack()
    }

    /// One beat after it was due: interval + slack after the freshest one.
    pub fn missing_at(&self) -> Moment {
        self.due(self.next_within(), 0)
    }

    /// When the store is asked for a beat that the channel did not bring: half a slack before [`Self::missing_at`], so that
    /// a beat that only the channel lost makes no agent look missing.
    pub fn question_at(&self) -> Moment {
        self.due(self.interval, 0) - self.slack() / 2
    }

    /// Three intervals + slack after the freshest beat was due, and two after the last one that came late.
    pub fn failed_at(&self) -> Moment {
        let late = self.late_at + self.interval * (BEATS_TO_FAIL - 1) + self.slack();
        self.due(self.next_within(), BEATS_TO_FAIL - 1).max(late)
    }

    /// Beats that should have come and did not.
    pub fn missed(&self, now: Moment) -> u64 {
        millis(now.since(self.fresh_at + self.slack())) / millis(self.interval).max(1)
    }

    /// How long ago the freshest beat was due.
    pub fn age(&self, now: Moment) -> Duration {
        now.since(self.fresh_at)
    }

    /// Time between beats.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// A sixth of the interval, 100 ms at least: 5 s at 30 s.
    pub fn slack(&self) -> Duration {
        slack(self.interval)
    }

    /// The longest gap in the observation that is no cause to wait: half an interval, 200 ms to 2 s. Beats that were held
    /// up for so long come in time all the same.
    pub fn gap_tolerated(&self) -> Duration {
        (self.interval / 2).clamp(GAP_TOLERATED_MIN, GAP_TOLERATED_MAX)
    }

    /// The end of the slack of a beat that comes within `next`, or of so many more after it.
    fn due(&self, next: Duration, more: u32) -> Moment {
        let first = next + slack(next);
        (self.fresh_at + first + self.interval * more).max(self.observed_from + first)
    }

    /// A beat that was sent so long after the beginning of its slot.
    fn slot(&mut self, slot: u64, age: Duration, came: Moment) -> Freshness {
        self.is_uncounted = false;
        let interval = self.interval;
        let arrival = came - age; // of one sent at the beginning
        let offset = signed(arrival).saturating_sub(signed_product(slot, interval));
        let Some(timetable) = &mut self.timetable else {
            return self.begin_timetable(slot, offset, arrival);
        };
        let late_by = offset.saturating_sub(timetable.offset.min());
        let is_late = late_by > signed_span(slack(interval) / 2);
        if slot == timetable.slot {
            timetable.offset.lower(offset);
            if is_late {
                self.late_at = came;
            }
            return Freshness::Known;
        }
        let last = (timetable.slot, timetable.offset.min());
        if !follows(last, slot, arrival, interval) {
            // One beat alone is no better known than the next: the later one counts.
            let agrees = timetable.offset.is_single()
                || timetable.rival.as_ref().is_some_and(|rival| {
                    follows((rival.slot, rival.offset), slot, arrival, interval)
                });
            if agrees {
                return self.begin_timetable(slot, offset, arrival);
            }
            timetable.rival = Some(Box::new(Rival { slot, offset }));
            return Freshness::Implausible;
        }
        let stays =
            |before: i64| offset >= before.saturating_sub(signed_span(interval / LATENESS_KEPT));
        if is_late && timetable.late.is_some_and(stays) {
            return self.begin_timetable(slot, offset, arrival);
        }
        timetable.late = is_late.then_some(offset);
        if is_late {
            self.late_at = came;
        }
        timetable.rival = None;
        timetable.slot = slot;
        timetable.offset.push(offset);
        let due = timetable
            .offset
            .min()
            .saturating_add(signed_product(slot, interval));
        let due = Moment::from_millis(due.max(0).unsigned_abs());
        self.fresh_at = self.fresh_at.max(due.min(arrival));
        Freshness::Renewed
    }

    fn begin_timetable(&mut self, slot: u64, offset: i64, arrival: Moment) -> Freshness {
        self.timetable = Some(Timetable {
            slot,
            offset: MinimumWindow::new(offset),
            rival: None,
            late: None,
        });
        self.fresh_at = self.fresh_at.max(arrival);
        Freshness::Renewed
    }
}

fn slack(interval: Duration) -> Duration {
    (interval / 6).max(SLACK_MIN)
}

/// Whether a slot may follow the last one of a timetable with this offset.
fn follows((last, offset): (u64, i64), slot: u64, arrival: Moment, interval: Duration) -> bool {
    let since = signed(arrival).saturating_sub(offset).max(0).unsigned_abs();
    let due_now = since / millis(interval).max(1);
    slot >= last && slot <= due_now.saturating_add(SLOTS_AHEAD_MAX)
}

impl MinimumWindow {
    fn new(value: i64) -> Self {
        Self {
            before: i64::MAX,
            now: value,
            filled: 1,
        }
    }

    fn push(&mut self, value: i64) {
        if self.filled == WINDOW_HALF {
            *self = Self {
                before: self.now,
                now: value,
                filled: 1,
            };
        } else {
            self.now = self.now.min(value);
            self.filled += 1;
        }
    }

    fn lower(&mut self, value: i64) {
        self.now = self.now.min(value);
    }

    fn min(&self) -> i64 {
        self.before.min(self.now)
    }

    /// Whether one beat alone was taken.
    fn is_single(&self) -> bool {
        self.filled == 1 && self.before == i64::MAX
    }
}

fn signed(moment: Moment) -> i64 {
    i64::try_from(moment.as_millis()).unwrap_or(i64::MAX)
}

fn signed_span(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

fn signed_product(slot: u64, interval: Duration) -> i64 {
    i64::try_from(slot.saturating_mul(millis(interval))).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    fn slot(number: u64) -> Stamp {
        Stamp::Slot(number, INTERVAL, Duration::ZERO)
    }

    fn beating(until_slot: u64) -> Detector {
        let mut detector = Detector::new(INTERVAL, at(0));
        for n in 0..=until_slot {
            detector.beat(slot(n), at(n * 30));
        }
        detector
    }

    #[test]
    fn silence_is_missing_at_35_seconds_and_failed_at_95() {
        let d = beating(4);
        let after = |s: u64| d.silence(at(120 + s));
        assert_eq!(
            [after(34), after(35), after(94), after(95)],
            [
                Silence::None,
                Silence::Missing,
                Silence::Missing,
                Silence::Failed
            ]
        );
    }

    #[test]
    fn missed_beats_are_beats_not_sweeps() {
        let d = beating(4);
        let missed: Vec<u64> = [34, 35, 64, 65, 95].map(|s| d.missed(at(120 + s))).into();
        assert_eq!(missed, [0, 1, 1, 2, 3]);
    }

    #[test]
    fn two_lost_beats_and_a_slow_third_are_no_failure() {
        let mut d = beating(4);
        assert_eq!(d.silence(at(120 + 90)), Silence::Missing);
        d.beat(slot(7), at(120 + 92));
        assert_eq!(d.silence(at(120 + 92)), Silence::None);
    }

    #[test]
    fn a_backlog_that_arrives_late_does_not_rejuvenate() {
        let mut d = beating(4);
        d.beat(slot(5), at(300));
        assert_eq!(
            [d.silence(at(300)), d.silence(at(300 + 65))],
            [Silence::Missing, Silence::Failed],
            "slot 5 was due at 150 s"
        );
    }

    #[test]
    fn a_backlog_of_many_beats_does_not_rejuvenate_however_it_is_spread() {
        for spacing in [0, 1, 10, 20] {
            let mut d = beating(4);
            for n in 5..10 {
                d.beat(slot(n), at(400 + (n - 5) * spacing));
            }
            let arrived = at(400 + 4 * spacing);
            let after = |s: u64| d.silence(arrived + Duration::from_secs(s));
            assert_eq!(
                [after(0), after(65)],
                [Silence::Missing, Silence::Failed],
                "each {spacing} s"
            );
        }
    }

    #[test]
    fn a_machine_that_stood_still_with_its_clock_is_in_time_again_with_its_second_beat() {
        for stood in [8, 20, 60, 1000] {
            let mut d = beating(4);
            for n in 5..7 {
                d.beat(slot(n), at(n * 30 + stood));
            }
            let last = at(180 + stood);
            assert_eq!(d.missing_at(), last + Duration::from_secs(35), "{stood} s");
        }
    }

    #[test]
    fn an_agent_whose_machine_stood_still_for_less_than_a_failure_does_not_fail_before_its_next_beat()
     {
        let mut d = beating(4);
        d.beat(slot(5), at(200));
        assert_eq!(
            d.silence(at(259)),
            Silence::Missing,
            "slot 5 was due at 150 s"
        );
        assert_eq!(d.silence(at(265)), Silence::Failed);
    }

    /// Its clock stood, so it goes on in the slot that it was in: the two intervals count from when the beat came.
    #[test]
    fn a_late_beat_from_the_middle_of_a_slot_gives_as_long_as_any_other() {
        let mut d = beating(4);
        d.beat(Stamp::Slot(4, INTERVAL, Duration::from_secs(20)), at(300));
        assert_eq!(d.silence(at(364)), Silence::Missing);
        assert_eq!(d.silence(at(365)), Silence::Failed);
    }

    #[test]
    fn a_beat_held_up_once_does_not_make_the_next_deadline_later() {
        let mut d = beating(4);
        d.beat(slot(5), at(158));
        assert_eq!(d.missing_at(), at(150 + 35));
    }

    #[test]
    fn a_sidecar_that_was_paused_is_fresh_with_its_next_slot() {
        let mut d = beating(4);
        assert_eq!(d.beat(slot(10), at(300)), Freshness::Renewed);
        assert_eq!(d.silence(at(301)), Silence::None);
    }

    #[test]
    fn one_poisoned_slot_does_not_lock_the_agent_out() {
        let mut d = beating(4);
        assert_eq!(d.beat(slot(1 << 50), at(140)), Freshness::Implausible);
        assert_eq!(d.beat(slot(5), at(150)), Freshness::Renewed);
    }

    #[test]
    fn a_number_that_is_no_slot_costs_its_beat() {
        let mut d = beating(4);
        assert_eq!(d.beat(slot(u64::MAX), at(140)), Freshness::Implausible);
        assert_eq!(d.beat(slot(5), at(150)), Freshness::Renewed);
        assert_eq!(d.beat(slot(u64::MAX), at(170)), Freshness::Implausible);
        assert_eq!(d.silence(at(180)), Silence::None);
    }

    #[test]
    fn a_producer_whose_numbers_are_no_slots_is_measured_from_its_arrivals() {
        let mut d = Detector::new(Duration::from_secs(30), at(0));
        for n in 0..20 {
            assert_eq!(d.beat(slot((1 << 50) + n), at(n * 30)), Freshness::Renewed);
        }
        assert_eq!(d.silence(at(19 * 30 + 34)), Silence::None);
        assert_eq!(d.silence(at(19 * 30 + 95)), Silence::Failed);
    }

    #[test]
    fn a_timetable_that_really_jumped_is_believed_when_the_next_slot_agrees() {
        let mut d = beating(4);
        assert_eq!(d.beat(slot(1000), at(150)), Freshness::Implausible);
        assert_eq!(d.beat(slot(1001), at(180)), Freshness::Renewed);
        assert_eq!(d.silence(at(200)), Silence::None);
    }

    #[test]
    fn another_interval_starts_another_timetable_when_it_is_named_again() {
        let mut d = beating(4);
        let short = INTERVAL / 30;
        d.beat(Stamp::Slot(5, short, Duration::ZERO), at(121));
        assert_eq!(d.missing_at(), at(121 + 35), "one beat alone names it");
        d.beat(Stamp::Slot(6, short, Duration::ZERO), at(122));
        assert_eq!(d.missing_at(), at(123) + d.slack());
    }

    #[test]
    fn a_longer_interval_counts_unless_the_store_holds_another_one() {
        let mut d = beating(4);
        let long = INTERVAL * 10;
        d.beat(Stamp::Slot(1, long, Duration::ZERO), at(121));
        let asked = at(121 + 35) - d.slack() / 2;
        assert_eq!((d.question_at(), d.missing_at()), (asked, at(121 + 210)));
        d.stored_interval(INTERVAL);
        assert_eq!(d.missing_at(), at(121 + 35));
        d.stored_interval(long);
        assert_eq!(d.missing_at(), at(121 + 350));
        d.beat(Stamp::Slot(2, long, Duration::ZERO), at(421));
        assert_eq!(d.failed_at(), at(421 + 950));
    }

    #[test]
    fn one_beat_that_names_the_longest_interval_hides_a_death_for_one_interval_of_it_at_most() {
        let longest = Stamp::Slot(5, Duration::from_secs(3600), Duration::ZERO);
        let mut d = beating(4);
        d.beat(longest, at(121));
        assert_eq!(
            d.failed_at(),
            at(121 + 180 + 30 + 60),
            "only the channel brought it"
        );
        d.stored_interval(Duration::from_secs(3600));
        assert_eq!(
            d.failed_at(),
            at(121 + 3600 + 600 + 60),
            "the store holds it"
        );
        d.stored_interval(INTERVAL);
        assert_eq!(d.failed_at(), at(121 + 95), "the store holds an honest one");
    }

    #[test]
    fn a_wrong_interval_costs_the_beat_that_carried_it() {
        let mut d = beating(4);
        d.beat(Stamp::Slot(5, INTERVAL / 30, Duration::ZERO), at(121));
        d.beat(slot(5), at(150));
        assert_eq!(d.missing_at(), at(150 + 35));
    }

    #[test]
    fn a_beat_in_the_middle_of_a_slot_makes_the_next_one_due_no_later() {
        let mut d = Detector::new(INTERVAL, at(0));
        d.beat(Stamp::Slot(7, INTERVAL, Duration::from_secs(20)), at(20));
        assert_eq!(d.missing_at(), at(35));
        d.beat(slot(8), at(30));
        assert_eq!(d.missing_at(), at(65));
    }

    #[test]
    fn a_poisoned_first_slot_costs_the_beat_that_carried_it() {
        for poison in [0, 1 << 15] {
            let mut d = Detector::new(INTERVAL, at(0));
            d.beat(slot(poison), at(0));
            for n in 100..110 {
                let arrival = at((n - 99) * 30);
                assert_eq!(d.beat(slot(n), arrival), Freshness::Renewed);
                assert_eq!(d.age(arrival), Duration::ZERO);
            }
        }
    }

    #[test]
    fn a_timetable_that_went_back_is_believed_when_the_next_slot_agrees() {
        let mut d = beating(40);
        assert_eq!(d.beat(slot(1), at(1230)), Freshness::Implausible);
        assert_eq!(d.beat(slot(2), at(1260)), Freshness::Renewed);
        assert_eq!(d.age(at(1260)), Duration::ZERO);
    }

    #[test]
    fn an_observer_that_could_not_see_waits_one_period_before_it_judges() {
        let mut d = beating(4);
        d.observe_from(at(600));
        assert_eq!(d.silence(at(634)), Silence::None);
        assert_eq!(d.silence(at(635)), Silence::Failed);
    }

    #[test]
    fn a_producer_without_slots_is_judged_from_its_last_arrival() {
        let mut d = Detector::new(INTERVAL, at(0));
        d.beat(Stamp::Arrival, at(40));
        assert_eq!((d.missing_at(), d.failed_at()), (at(75), at(135)));
    }

    #[test]
    fn slack_is_a_sixth_of_the_interval_and_never_below_100_ms() {
        let slack = |ms| {
            Detector::new(Duration::from_millis(ms), at(0))
                .slack()
                .as_millis()
        };
        assert_eq!([slack(100), slack(1000), slack(30_000)], [100, 166, 5000]);
    }

    #[test]
    fn extreme_numbers_do_not_overflow() {
        let mut d = Detector::new(
            crate::wire::beat::INTERVAL_MAX,
            Moment::from_millis(u64::MAX),
        );
        d.beat(slot(u64::MAX), Moment::from_millis(u64::MAX));
        d.beat(slot(0), Moment::from_millis(0));
        assert_eq!(d.missed(Moment::from_millis(0)), 0);
    }
}
