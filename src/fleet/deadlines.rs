//! When the next agent is due. One entry an agent, corrected when it comes up and not when it changes.
//!
//! A beat moves its agent's deadline further away: the entry stays where it is, and is filed again when it is the first.
//! So an agent costs one entry a period, however many beats it sends. The first entry is always right.

use crate::base::moment::Moment;
use crate::fleet::agents::Place;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Entries that nearer deadlines have left behind, before all are filed again.
const LEFT_BEHIND_MAX: usize = 1024;

/// The deadlines of all agents.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    entries: BinaryHeap<Reverse<(Moment, Place)>>,
    /// Where each agent has its valid entry, by place.
    filed: Vec<Option<Moment>>,
}

impl Deadlines {
    /// The agent that is due first, and when.
    pub(super) fn first(&self) -> Option<(Moment, Place)> {
        self.entries.peek().map(|Reverse(entry)| *entry)
    }

    /// The agent is due at this moment now. Call [`Deadlines::correct`] after the last change.
    pub(super) fn set(&mut self, place: Place, due: Option<Moment>) {
        if self.filed.len() <= place.number() {
            self.filed.resize(place.number() + 1, None);
        }
        let filed = &mut self.filed[place.number()];
        if let Some(at) = due.filter(|at| filed.is_none_or(|filed| *at < filed)) {
            *filed = Some(at);
            self.entries.push(Reverse((at, place)));
        }
    }

    /// Whether the first entry is of this agent: then its change may have made the entry wrong.
    pub(super) fn is_first(&self, place: Place) -> bool {
        self.first().is_some_and(|(_, first)| first == place)
    }

    /// Files entries again until the first one is right; `due` is when an agent is due.
    pub(super) fn correct(&mut self, due: impl Fn(Place) -> Option<Moment>) {
        if self.entries.len() > self.filed.len() * 2 + LEFT_BEHIND_MAX {
            self.file_all_again();
        }
        while let Some((at, place)) = self.first() {
            let filed = &mut self.filed[place.number()];
            let right = due(place).filter(|_| *filed == Some(at));
            if right == Some(at) {
                return;
            }
            self.entries.pop();
            if *filed == Some(at) {
                *filed = right;
                self.entries.extend(right.map(|at| Reverse((at, place))));
            }
        }
    }

    /// Takes out an agent that is due at `now` or before.
    pub(super) fn take(&mut self, now: Moment) -> Option<Place> {
        let (_, place) = self.first().filter(|(at, _)| *at <= now)?;
        self.entries.pop();
        self.filed[place.number()] = None;
        Some(place)
    }

    fn file_all_again(&mut self) {
        let filed = self.filed.iter().enumerate();
        let entry =
            |(number, at): (usize, &Option<Moment>)| Some(Reverse(((*at)?, Place::of(number))));
        self.entries = filed.filter_map(entry).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Moment {
        Moment::from_millis(millis)
    }

    /// Deadlines of two agents, and what they are due at.
    fn filed(due: [Option<u64>; 2]) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (number, due) in due.into_iter().enumerate() {
            deadlines.set(Place::of(number), due.map(at));
        }
        deadlines
    }

    fn correct(deadlines: &mut Deadlines, due: [Option<u64>; 2]) -> Option<(u64, usize)> {
        deadlines.correct(|place| due[place.number()].map(at));
        let first = deadlines.first();
        first.map(|(at, place)| (at.as_millis(), place.number()))
    }

    #[test]
    fn an_entry_that_has_moved_away_is_filed_again_when_it_is_the_first() {
        let mut deadlines = filed([Some(10), Some(20)]);
        assert_eq!(correct(&mut deadlines, [Some(30), Some(20)]), Some((20, 1)));
        assert_eq!(deadlines.take(at(20)), Some(Place::of(1)));
        assert_eq!(correct(&mut deadlines, [Some(30), None]), Some((30, 0)));
    }

    #[test]
    fn a_nearer_deadline_counts_at_once_and_its_old_entry_no_more() {
        let mut deadlines = filed([Some(50), None]);
        deadlines.set(Place::of(0), Some(at(10)));
        assert_eq!(deadlines.take(at(10)), Some(Place::of(0)));
        assert_eq!(correct(&mut deadlines, [None, None]), None);
    }

    #[test]
    fn entries_that_are_left_behind_are_cleared_away() {
        let mut deadlines = Deadlines::default();
        for millis in (0..10 * LEFT_BEHIND_MAX as u64).rev() {
            deadlines.set(Place::of(0), Some(at(millis)));
            deadlines.correct(|_| Some(at(millis)));
        }
        assert!(deadlines.entries.len() <= LEFT_BEHIND_MAX + 3);
    }
}
