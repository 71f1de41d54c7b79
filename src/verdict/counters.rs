//! The counters of a tree, as of one sample.

use crate::base::moment::Moment;
use crate::verdict::sample::{Process, Sample};
use crate::verdict::thresholds;
use std::collections::BTreeMap;

/// The processes of one sample, by number and start time.
#[derive(Clone, Debug)]
pub(super) struct Counters {
    pub(super) at: Moment,
    pub(super) root: (u32, u64),
    pub(super) processes: BTreeMap<(u32, u64), Process>,
}

impl Counters {
    /// None when the root has ended.
    pub(super) fn of(sample: &Sample) -> Option<Self> {
        let root = sample.root()?;
        let key = |p: &Process| (p.pid, p.started);
        let processes = sample.processes.iter();
        Some(Self {
            at: sample.at,
            root: key(root),
            processes: processes.map(|p| (key(p), p.clone())).collect(),
        })
    }

    pub(super) fn root(&self) -> Option<&Process> {
        self.processes.get(&self.root)
    }

    /// Whether it runs the same command line as its parent.
    pub(super) fn is_copy(&self, process: &Process) -> bool {
        let parent = self.processes.values().find(|p| p.pid == process.parent);
        parent.is_some_and(|parent| parent.command == process.command)
    }

    /// Whether a process read or wrote, or its memory changed, beside computing.
    pub(super) fn has_effect_since(&self, before: &Self, pid: u32) -> bool {
        let of = |c: &Self| c.processes.values().find(|p| p.pid == pid).cloned();
        let (Some(then), Some(now)) = (of(before), of(self)) else {
            return true;
        };
        let io = now.io.zip(then.io).map(|(now, then)| now.since(then));
        // Unreadable counters exclude no effect.
        let moved = io.is_none_or(|io| io.read + io.written + io.disk_read + io.disk_written > 0);
        moved || now.memory.abs_diff(then.memory) > thresholds::MEMORY_AT_WORK
    }
}
