//! The order of the agents by id: their places in runs, which snapshots share. It takes some four bytes an agent, where a map by
//! id takes sixty.
//!
//! The ids stand at the places, so the caller says which agents come before the one that it looks for.

use super::Place;
use std::sync::Arc;

/// Places in a run: so many are moved when a newcomer comes, and copied when a snapshot holds them.
const RUN: usize = 512;

/// Places by the ids of their agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Order {
    /// None is empty.
    runs: Vec<Arc<Vec<Place>>>,
}

impl Order {
    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.runs.iter().map(|run| run.len()).sum()
    }

    /// The places behind those that come before.
    pub(super) fn behind(&self, is_before: impl Fn(Place) -> bool) -> impl Iterator<Item = Place> {
        let (run, within) = self.seek(is_before);
        let runs = self.runs.get(run..).unwrap_or_default();
        runs.iter().flat_map(|run| run.iter()).skip(within).copied()
    }

    /// Adds a place behind those that come before.
    pub(super) fn insert(&mut self, place: Place, is_before: impl Fn(Place) -> bool) {
        let (mut number, mut within) = self.seek(is_before);
        let full = self.runs.get_mut(number).filter(|run| run.len() == RUN);
        if let Some(run) = full {
            // Ids that come in order leave full runs behind them.
            let kept = if within == RUN { RUN } else { RUN / 2 };
            let rest = Arc::make_mut(run).split_off(kept);
            self.runs.insert(number + 1, Arc::new(rest));
            if within >= kept {
                (number, within) = (number + 1, within - kept);
            }
        }
        match self.runs.get_mut(number) {
            Some(run) => Arc::make_mut(run).insert(within, place),
            None => self.runs.push(Arc::new(vec![place])),
        }
    }

    /// Takes out the first place behind those that come before.
    pub(super) fn remove(&mut self, is_before: impl Fn(Place) -> bool) {
        let (mut number, mut within) = self.seek(is_before);
        if self.runs.get(number).is_some_and(|run| within == run.len()) {
            (number, within) = (number + 1, 0);
        }
        let Some(run) = self.runs.get_mut(number) else {
            return;
        };
        Arc::make_mut(run).remove(within);
        if run.is_empty() {
            self.runs.remove(number);
            return;
        }
        self.join(number);
        if let Some(before) = number.checked_sub(1) {
            self.join(before);
        }
    }

    /// Joins a run with the next one where both are short: the places of a few old agents take the room of a few.
    fn join(&mut self, number: usize) {
        let pair = self.runs.get(number).zip(self.runs.get(number + 1));
        if pair.is_some_and(|(run, next)| run.len() + next.len() <= RUN / 2) {
            let next = self.runs.remove(number + 1);
            Arc::make_mut(&mut self.runs[number]).extend(next.iter());
        }
    }

    /// Behind those that come before: the number of the run, and where in it, its end included.
    fn seek(&self, is_before: impl Fn(Place) -> bool) -> (usize, usize) {
        let starts_before = |run: &Arc<Vec<Place>>| run.first().is_some_and(|at| is_before(*at));
        let behind = self.runs.partition_point(starts_before);
        let number = behind.saturating_sub(1);
        let run = self.runs.get(number);
        let within = run.map_or(0, |run| run.partition_point(|place| is_before(*place)));
        (number, within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The agent at a place has the id of its number; they come in the order that `mixed` makes.
    fn filled(count: usize, mixed: impl Fn(usize) -> usize) -> Order {
        let mut order = Order::default();
        for number in (0..count).map(mixed) {
            order.insert(Place::of(number), |place| place < Place::of(number));
        }
        order
    }

    fn numbers(order: &Order) -> Vec<usize> {
        order.behind(|_| false).map(Place::number).collect()
    }

    #[test]
    fn places_stand_in_order_however_they_came() {
        const COUNT: usize = 5 * RUN;
        for order in [
            filled(COUNT, |n| n),
            filled(COUNT, |n| COUNT - 1 - n),
            filled(COUNT, |n| n * 7 % COUNT),
        ] {
            assert_eq!(order.len(), COUNT);
            assert!(numbers(&order).into_iter().eq(0..COUNT));
            for from in [0, 1, RUN - 1, RUN, RUN + 1, COUNT - 1, COUNT] {
                let behind = order.behind(|place| place < Place::of(from));
                assert!(behind.map(Place::number).eq(from..COUNT), "from {from}");
            }
        }
    }

    #[test]
    fn ids_that_come_in_order_fill_the_runs() {
        assert_eq!(filled(5 * RUN, |n| n).runs.len(), 5);
    }

    #[test]
    fn runs_of_a_few_that_are_left_are_joined() {
        const COUNT: usize = 20 * RUN;
        let mut order = filled(COUNT, |n| n);
        for number in (0..COUNT).filter(|n| n % RUN != 3) {
            order.remove(|place| place < Place::of(number));
        }
        assert!(numbers(&order).into_iter().eq((3..COUNT).step_by(RUN)));
        assert_eq!(order.runs.len(), 1);
        for number in (3..COUNT).step_by(RUN) {
            order.remove(|place| place < Place::of(number));
        }
        assert_eq!((order.len(), order.runs.len()), (0, 0));
    }
}
