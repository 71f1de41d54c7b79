//! What opens again and again: one page that reports it instead of forty.

use crate::alerts::matter::Place;
use crate::base::moment::Moment;
use crate::wire::notification::Subject;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Openings within this time count together.
const WITHIN: Duration = Duration::from_secs(3600);
/// So many of them are flapping.
pub(super) const OPENINGS: usize = 4;
/// Places that are remembered; beyond it the one that was quiet longest is forgotten.
const PLACES_MAX: usize = 100_000;

/// How often each place opened lately.
#[derive(Debug, Default)]
pub(super) struct Flaps(BTreeMap<(Place, Subject), VecDeque<Moment>>);

impl Flaps {
    /// Counts one opening and returns how many there were within the last hour.
    pub(super) fn opened(&mut self, place: (Place, Subject), now: Moment) -> usize {
        if self.0.len() >= PLACES_MAX && !self.0.contains_key(&place) {
            self.forget(now);
        }
        let openings = self.0.entry(place).or_default();
        openings.push_back(now);
        while openings.len() > 2 * OPENINGS
            || openings.front().is_some_and(|at| *at + WITHIN <= now)
        {
            openings.pop_front();
        }
        openings.len()
    }

    fn forget(&mut self, now: Moment) {
        let last = |openings: &VecDeque<Moment>| openings.back().copied();
        self.0
            .retain(|_, openings| last(openings).is_some_and(|at| at + WITHIN > now));
        let quiet = self.0.iter().min_by_key(|(_, openings)| last(openings));
        if let Some(place) = quiet.map(|(place, _)| place.clone())
            && self.0.len() >= PLACES_MAX
        {
            self.0.remove(&place);
        }
    }
}
