//! Notes: evidence that is published beside any verdict. Memory that keeps growing, children that are never reaped.

use crate::base::duration::format_duration;
use crate::base::moment::Moment;
use crate::verdict::explain::describe_bytes;
use crate::verdict::finding::observed;
use crate::verdict::sample::{RunState, Sample};
use crate::verdict::thresholds;
use crate::wire::activity::Evidence;
use std::collections::VecDeque;

/// The memory of the tree over the last samples.
#[derive(Clone, Debug, Default)]
pub(super) struct MemoryGrowth(VecDeque<(Moment, u64)>);

impl MemoryGrowth {
    /// Takes a sample. Returns a note while memory grows in every sample.
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
        // A program that has loaded its data stays as large as it is.
        let half = self.0.get(thresholds::MEMORY_SAMPLES / 2)?.1;
        let steadily = self.0.iter().is_sorted_by_key(|(_, size)| *size) && half < *large;
        let complete = self.0.len() == thresholds::MEMORY_SAMPLES && steadily;
        (complete && grown >= thresholds::MEMORY_GROWN).then(|| {
            let time = format_duration(now.since(*then));
            let (grown, large) = (describe_bytes(grown), describe_bytes(*large));
            observed("memory", format!("grew by {grown} in {time}, {large} now"))
        })
    }
}

/// Children that have ended and are not reaped.
pub(super) fn zombies(sample: &Sample) -> Option<Evidence> {
    let ended = sample
        .processes
        .iter()
        .filter(|p| p.state == RunState::Zombie)
        .count();
    let value = format!("{ended} have ended and are not reaped");
    (ended >= thresholds::ZOMBIES).then(|| observed("zombies", value))
}
