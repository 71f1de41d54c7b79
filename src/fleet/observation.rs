//! When the monitor could not observe: time in which nothing could arrive proves nothing about any agent.
//!
//! A gap is a stretch without observation, known afterwards: a tick that came late, or a question that the store answered
//! later than it usually does. How long a gap matters depends on an agent's interval, so that gaps are kept by length
//! and looked up when an agent's deadline comes: a gap costs the same for ten agents and for 100,000.

use crate::base::moment::Moment;
use crate::fleet::detector::Detector;
use std::time::Duration;

/// Lengths by which gaps are distinguished, in milliseconds: from [`Detector::gap_tolerated`]'s least to its greatest value.
const LENGTHS_MS: [u64; 8] = [200, 300, 400, 500, 700, 1000, 1400, 2000];

/// What was not observed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Observation {
    /// Nothing before this was observed.
    from: Moment,
    /// For each of [`LENGTHS_MS`]: when the last gap of at least that length ended.
    gaps: [Moment; LENGTHS_MS.len()],
}

impl Observation {
    /// The observation begins (again) at `now`.
    pub(super) fn begin(&mut self, now: Moment) {
        self.from = self.from.max(now);
    }

    /// A gap of this length ended at `end`.
    pub(super) fn gap(&mut self, length: Duration, end: Moment) {
        let ends = self.gaps.iter_mut().zip(LENGTHS_MS);
        for (last, _) in ends.filter(|(_, ms)| length >= Duration::from_millis(*ms)) {
            *last = (*last).max(end);
        }
    }

    /// Since when an agent of this detector was observed without a gap that matters to it.
    pub(super) fn since(&self, detector: &Detector) -> Moment {
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
            observation.begin(at(0));
            observation.gap(Duration::from_millis(gap_ms), at(9));
            observation.since(&Detector::new(Duration::from_millis(interval_ms), at(0)))
        };
        assert_eq!(since(500, 300), at(9));
        assert_eq!(since(1000, 300), at(0));
        assert_eq!(since(1000, 500), at(9));
        assert_eq!(since(30_000, 1900), at(0));
        assert_eq!(since(30_000, 2000), at(9));
    }
}
