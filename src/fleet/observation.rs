//! When the monitor could not observe: time in which nothing could arrive proves nothing about any agent.
//!
//! A gap is a stretch without observation, known afterwards: a tick that came late, or a question that the store answered
//! later than it usually does. How long a gap matters depends on an agent's interval, so that gaps are kept by length
//! and looked up when an agent's deadline comes: a gap costs the same for ten agents and for 100,000. A store that was away comes
//! back for the monitor first: a sidecar waits a little before it tries again.

use crate::base::moment::Moment;
use crate::fleet::detector::Detector;
use std::time::Duration;

/// Lengths by which gaps are distinguished, in milliseconds: from [`Detector::gap_tolerated`]'s least to its greatest value.
const LENGTHS_MS: [u64; 8] = [200, 300, 400, 500, 700, 1000, 1400, 2000];

/// A store that gives no answer for so long may have been given up by its sidecars.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);
/// A sidecar that gave it up is back within this time, or within its interval: it waits for a quarter of that, 0.2 s at least,
/// and then connects and registers. A try whose way leads nowhere, as that to a server that is no more, is 2 s old at most when
/// the next one begins; a second more is for a busy machine.
pub const RETURN_WITHIN: Duration = Duration::from_millis(3500);
/// One on the machine of its store is refused at once while that is away, and waits for 1 s at most.
const START_WITHIN: Duration = Duration::from_secs(2);
/// In a failover that was asked for, the old master takes writes for so long until it follows the new one: Sentinel lets it be
/// for 8 s, and 11 s were measured. What is written there meanwhile is lost.
const MOVED_WITHIN: Duration = Duration::from_secs(15);

/// What was not observed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// Nothing before this was observed.
    from: Moment,
    /// When all sidecars are back at the store: it answered again, and they come one by one.
    returned_by: Option<Moment>,
    /// For each of [`LENGTHS_MS`]: when the last gap of at least that length ended.
    gaps: [Moment; LENGTHS_MS.len()],
}

impl Observation {
    /// The observation begins at `now`. `again`: the store was out of reach, perhaps of its sidecars too.
    pub(super) fn begin(&mut self, now: Moment, again: bool) {
        self.from = self.from.max(now);
        if again {
            self.returned(now);
        }
    }

    /// The store is there again, and its sidecars do not know yet.
    pub(super) fn returned(&mut self, now: Moment) {
        self.returned_by = self.returned_by.max(Some(now + RETURN_WITHIN));
    }

    /// The store was started on this machine.
    pub(super) fn started(&mut self, now: Moment) {
        self.returned_by = self.returned_by.max(Some(now + START_WITHIN));
    }

    /// The store is another server than before, and sidecars may not know.
    pub(super) fn moved(&mut self, now: Moment) {
        self.returned_by = self.returned_by.max(Some(now + MOVED_WITHIN));
    }

    /// A gap of this length ended at `end`.
    pub(super) fn gap(&mut self, length: Duration, end: Moment) {
        let ends = self.gaps.iter_mut().zip(LENGTHS_MS);
        for (last, _) in ends.filter(|(_, ms)| length >= Duration::from_millis(*ms)) {
            *last = (*last).max(end);
        }
    }

    /// The store gave no answer for so long up to `end`.
    pub(super) fn stall(&mut self, length: Duration, end: Moment) {
        self.gap(length, end);
        if length >= GIVEN_UP_AFTER {
            self.returned(end);
        }
    }

    /// Since when an agent of this detector was observed without a gap that matters to it. It may be to come: an interval
    /// that is shorter than the wait of its sidecar is counted from the end of that.
    pub(super) fn since(&self, detector: &Detector) -> Moment {
        let returned = self.returned_by.map(|at| at - detector.interval());
        self.gapless(detector).max(returned.unwrap_or_default())
    }

    fn gapless(&self, detector: &Detector) -> Moment {
        let tolerated = detector.gap_tolerated();
        let ends = self.gaps.iter().zip(LENGTHS_MS).rev();
        let mut matching = ends.skip_while(|(_, ms)| Duration::from_millis(*ms) > tolerated);
        matching
            .next()
            .map_or(self.from, |(end, _)| self.from.max(*end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(1_000_000 + seconds * 1000)
    }

    #[test]
    fn a_gap_matters_to_agents_whose_beats_it_could_have_held_back() {
        let since = |interval_ms: u64, gap_ms: u64| {
            let mut observation = Observation::default();
            observation.begin(at(0), false);
            observation.gap(Duration::from_millis(gap_ms), at(9));
            observation.since(&Detector::new(Duration::from_millis(interval_ms), at(0)))
        };
        assert_eq!(since(500, 300), at(9));
        assert_eq!(since(1000, 300), at(0));
        assert_eq!(since(1000, 500), at(9));
        assert_eq!(since(30_000, 1900), at(0));
        assert_eq!(since(30_000, 2000), at(9));
    }

    #[test]
    fn after_a_failover_a_sidecar_has_the_time_in_which_the_old_master_takes_writes() {
        let since = |interval: u64| {
            let mut observation = Observation::default();
            observation.begin(at(0), true);
            observation.moved(at(0));
            observation.since(&Detector::new(Duration::from_secs(interval), at(0)))
        };
        assert_eq!([since(1), since(5), since(30)], [at(14), at(10), at(0)]);
    }

    #[test]
    fn after_an_outage_a_sidecar_has_the_time_of_its_longest_try() {
        let since = |interval: u64, again: bool, gap: u64| {
            let mut observation = Observation::default();
            observation.begin(at(0), again);
            observation.stall(Duration::from_secs(gap), at(20));
            observation.since(&Detector::new(Duration::from_secs(interval), at(0)))
        };
        let half = Duration::from_millis(500);
        assert_eq!(
            [since(1, false, 0), since(1, true, 0)],
            [at(0), at(2) + half]
        );
        assert_eq!([since(5, true, 0), since(30, true, 0)], [at(0), at(0)]);
        assert_eq!(
            [since(1, false, 2), since(30, false, 2)],
            [at(22) + half, at(20)]
        );
    }

    #[test]
    fn a_store_that_starts_on_this_machine_is_found_soon() {
        let mut observation = Observation::default();
        observation.begin(at(0), false);
        observation.started(at(0));
        let second = Detector::new(Duration::from_secs(1), at(0));
        assert_eq!(observation.since(&second), at(1));
    }
}
