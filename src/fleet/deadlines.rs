//! When the next agent is due. One entry an agent, corrected when it comes up and not when it changes.
//!
//! A beat moves its agent's deadline further away: the entry stays where it is, and is filed again when its time has come. So an
//! agent costs one entry a period, however many beats it sends, and a fleet that beats in step costs no long turn. The first
//! entry is never too late, and may be too early.

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
    /// The agent whose entry is the first, and when: no agent is due before.
    pub(super) fn first(&self) -> Option<(Moment, Place)> {
        self.entries.peek().map(|Reverse(entry)| *entry)
    }

    /// The agent is due at this moment now.
    pub(super) fn set(&mut self, place: Place, due: Option<Moment>) {
        if self.filed.len() <= place.number() {
            self.filed.resize(place.number() + 1, None);
        }
        let filed = &mut self.filed[place.number()];
        if let Some(at) = due.filter(|at| filed.is_none_or(|filed| *at < filed)) {
            *filed = Some(at);
            self.entries.push(Reverse((at, place)));
        }
        if self.entries.len() > self.filed.len() * 2 + LEFT_BEHIND_MAX {
            self.file_all_again();
        }
    }

    /// Takes out an agent that is due at `now` or before; `due` is when an agent is due. Looks at `most` entries at most, and
    /// counts them there.
    pub(super) fn take(
        &mut self,
        now: Moment,
        most: &mut usize,
        due: impl Fn(Place) -> Option<Moment>,
    ) -> Option<Place> {
        while let Some((at, place)) = self.first().filter(|(at, _)| *at <= now) {
            *most = most.checked_sub(1)?;
            self.entries.pop();
            let filed = &mut self.filed[place.number()];
            if *filed != Some(at) {
                continue; // left behind by a nearer one
            }
            *filed = due(place);
            match *filed {
                Some(due) if due > now => self.entries.push(Reverse((due, place))),
                Some(_) => {
                    *filed = None;
                    return Some(place);
                }
                None => {}
            }
        }
        None
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

    /// Takes what is due at this moment, of agents that are due then.
    fn take(deadlines: &mut Deadlines, now: u64, due: [Option<u64>; 2]) -> Vec<usize> {
        let due = |place: Place| due[place.number()].map(at);
        let mut most = 100;
        std::iter::from_fn(|| deadlines.take(at(now), &mut most, due))
            .map(Place::number)
            .collect()
    }

    fn filed(due: [Option<u64>; 2]) -> Deadlines {
        let mut deadlines = Deadlines::default();
        for (number, due) in due.into_iter().enumerate() {
            deadlines.set(Place::of(number), due.map(at));
        }
        deadlines
    }

    fn first(deadlines: &Deadlines) -> Option<(u64, usize)> {
        let first = deadlines.first();
        first.map(|(at, place)| (at.as_millis(), place.number()))
    }

    #[test]
    fn an_entry_that_has_moved_away_is_filed_again_when_its_time_has_come() {
        let mut deadlines = filed([Some(10), Some(20)]);
        assert_eq!(take(&mut deadlines, 10, [Some(30), Some(20)]), [0; 0]);
        assert_eq!(first(&deadlines), Some((20, 1)));
        assert_eq!(take(&mut deadlines, 20, [Some(30), Some(20)]), [1]);
        assert_eq!(first(&deadlines), Some((30, 0)));
    }

    #[test]
    fn a_nearer_deadline_counts_at_once_and_its_old_entry_no_more() {
        let mut deadlines = filed([Some(50), None]);
        deadlines.set(Place::of(0), Some(at(10)));
        assert_eq!(take(&mut deadlines, 10, [Some(10), None]), [0]);
        assert_eq!(take(&mut deadlines, 50, [Some(10), None]), [0; 0]);
        assert_eq!(first(&deadlines), None);
    }

    #[test]
    fn of_many_entries_at_one_moment_so_many_are_looked_at_as_are_asked_for() {
        let mut deadlines = Deadlines::default();
        for number in 0..100 {
            deadlines.set(Place::of(number), Some(at(10)));
        }
        let mut turns = 0;
        while first(&deadlines).is_some_and(|(at, _)| at == 10) {
            let mut most = 30;
            assert_eq!(deadlines.take(at(10), &mut most, |_| Some(at(20))), None);
            turns += 1;
        }
        assert_eq!(turns, 4);
    }

    #[test]
    fn entries_that_are_left_behind_are_cleared_away() {
        let mut deadlines = Deadlines::default();
        for millis in (0..10 * LEFT_BEHIND_MAX as u64).rev() {
            deadlines.set(Place::of(0), Some(at(millis)));
        }
        assert!(deadlines.entries.len() <= LEFT_BEHIND_MAX + 3);
    }
}
