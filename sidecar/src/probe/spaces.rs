//! Which processes of a tree share their memory.

use super::same;
use heartbeat::verdict::sample::{Process, RunState, Why};
use std::cmp::Ordering;

/// Processes by memory, each group with one thread that stands for it.
#[derive(Debug)]
pub(super) struct Spaces {
    /// In the kernel's order.
    groups: Vec<(u32, Vec<u32>)>,
    failed: Option<Why>,
}

impl Spaces {
    /// Sorted by asking the kernel: n log n questions.
    pub(super) fn of(processes: &[Process]) -> Self {
        let mut spaces = Self {
            groups: Vec::new(),
            failed: None,
        };
        for process in processes.iter().filter(|p| p.state != RunState::Zombie) {
            let Some(through) = process.threads.first().map(|thread| thread.tid) else {
                continue;
            };
            match spaces.place(through) {
                Ok(Ok(at)) => spaces.groups[at].1.push(process.pid),
                Ok(Err(at)) => spaces.groups.insert(at, (through, vec![process.pid])),
                Err(why) => spaces.failed = Some(why),
            }
        }
        spaces
    }

    /// The processes that share memory with this thread.
    pub(super) fn sharers(&self, through: u32) -> Result<Vec<u32>, Why> {
        if let Some(why) = self.failed {
            return Err(why);
        }
        let found = self.groups.iter().find(|(_, pids)| pids.contains(&through));
        match found {
            Some((_, pids)) => Ok(pids.clone()),
            // Known by a thread that is not its first.
            None => match self.place(through)? {
                Ok(at) => Ok(self.groups[at].1.clone()),
                Err(_) => Err(Why::Gone),
            },
        }
    }

    fn place(&self, through: u32) -> Result<Result<usize, usize>, Why> {
        let mut failed = None;
        let found = self.groups.binary_search_by(|(standing, _)| {
            same::memory_order(*standing, through).unwrap_or_else(|why| {
                failed = Some(why);
                Ordering::Equal
            })
        });
        match failed {
            Some(why) => Err(why),
            None => Ok(found),
        }
    }
}
