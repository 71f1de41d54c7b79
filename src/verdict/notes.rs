//! Things worth telling, whatever the verdict: memory that grows and grows, children that nobody waits for.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::finding::observed;
use crate::verdict::sample::{RunState, Sample};
use crate::verdict::signals::bytes;
use crate::verdict::thresholds;
use crate::wire::beat::Evidence;
use std::collections::VecDeque;

/// The memory of the tree over the last looks.
#[derive(Clone, Debug, Default)]
pub(super) struct Growth(VecDeque<(Moment, u64)>);

impl Growth {
    /// SampleHistory that grows look after look.
    pub(super) fn advance(&mut self, sample: &Sample, immediate: bool) -> Option<Evidence> {
        if !immediate {
            let size = sample.processes.iter().map(|p| p.memory).sum();
            self.0.push_back((sample.at, size));
            if self.0.len() > thresholds::MEMORY_SAMPLES {
                self.0.pop_front();
            }
        }
        let ((then, small), (now, large)) = (self.0.front()?, self.0.back()?);
        let grown = large.saturating_sub(*small);
        // What a program has loaded stays as large as it is.
        let half = self.0.get(thresholds::MEMORY_SAMPLES / 2)?.1;
        let steadily = self.0.iter().is_sorted_by_key(|(_, size)| *size) && half < *large;
        let tells = self.0.len() == thresholds::MEMORY_SAMPLES && steadily;
        (tells && grown >= thresholds::MEMORY_GROWN).then(|| {
            let time = format_duration(now.since(*then));
            observed(
                "memory",
                format!("grew by {} in {time}, {} now", bytes(grown), bytes(*large)),
            )
        })
    }
}

/// Children that ended and that nobody waits for.
pub(super) fn zombies(sample: &Sample) -> Option<Evidence> {
    let ended = sample
        .processes
        .iter()
        .filter(|p| p.state == RunState::Zombie)
        .count();
    let value = format!("{ended} ended and nobody waits for them");
    (ended >= thresholds::ZOMBIES).then(|| observed("zombies", value))
}
